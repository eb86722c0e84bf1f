"""Constrains the decoding of parses to trees of the input: brackets match, and there is one leaf for each word.

The linearised form (Vinyals et al. 2015) is a Dyck language with leaves, so a stack of open labels and a counter of words
determine which symbols may follow.
"""

import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.input.tokenizer import END_ID, PADDING_ID, UNKNOWN_ID, Tokenizer, tree_to_text

_CLOSING_AT_LEAST = 3  # tokens of a tree besides its leaves: the two brackets of its root, and the end token


class TreeGrammar:
    """The trees that can be written with the symbols of a vocabulary, in at most `max_length` tokens.

    Each symbol of the training trees is a separate piece (`build_vocabulary`), so the vocabulary determines the symbols,
    and a trained run needs no corpus. A label is used if both its brackets are pieces.

    A tree has one root, no constituent without words, and exactly as many leaves as the sentence has words. A TOP root
    with several children, which `linearise` writes as several trees in a row, is not generated.

    Attributes:
      most_words: maximum number of words of a sentence whose tree fits into `max_length` tokens. Where each leaf follows its
        word (`Problem.words_in_trees`), it is the maximum number of words and of their pieces together.

    Raises:
      RunError: the vocabulary lacks brackets or part-of-speech tags.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int):
        symbols = tokenizer.tree_symbols()
        ids = {symbol: piece for piece, symbol in symbols.items()}
        # A label with only one of its brackets could never be closed, or never opened.
        closing = {ids[s]: ids[f"){s[1:]}"] for s in ids if s[0] == "(" and f"){s[1:]}" in ids}
        tags = [piece for symbol, piece in ids.items() if symbol[0] not in "()"]
        if not closing or not tags:
            raise RunError(
                f"The vocabulary has {len(closing)} labels with both brackets and {len(tags)} part-of-speech tags as pieces, "
                "so it cannot represent trees. Build it with bin/build_vocabulary.py for a run whose problems include "
                "parsing, or leave the constraint out."
            )
        self.max_length = max_length
        # The pieces that SentencePiece writes before the first symbol, such as a mark of the beginning of a word.
        self.prefix = tokenizer.processor.EncodeAsIds(tree_to_text(symbols[tags[0]]))[:-1]
        self.most_words = max_length - len(self.prefix) - _CLOSING_AT_LEAST
        # Tables [V]: the id of the closing bracket for each opening one and otherwise -1; whether a piece is a closing
        # bracket; whether it is a tag.
        self.closing_of = [closing.get(piece, -1) for piece in range(tokenizer.size)]
        self.closes = [piece in set(closing.values()) for piece in range(tokenizer.size)]
        self.is_tag = [piece in set(tags) for piece in range(tokenizer.size)]
        # Whether a piece is a symbol or one that the search handles by itself, and not a part of a word; and whether it begins
        # a word, which SentencePiece marks with U+2581.
        self.is_symbol = [piece in symbols or piece in (PADDING_ID, END_ID) for piece in range(tokenizer.size)]
        self.begins_word = [tokenizer.processor.IdToPiece(piece).startswith("\u2581") for piece in range(tokenizer.size)]


class TreeConstraint:
    """A `search.Constraint` that restricts a search to the trees of a grammar.

    A sentence with more than `grammar.most_words` words is parsed without the constraint.

    Args:
      grammar: the grammar.
      words: [B] int32, the number of words of each sentence. It is 0 for a row that only fills the batch, which gets no
        symbols.
      applies: [B] boolean, whether the answer to each row is a tree; None: all are. The answers to other rows are not
        constrained.
      pieces: [B] int32, the number of tokens that each tree has besides its brackets and leaves, or 0.
    """

    def __init__(
        self, grammar: TreeGrammar, words: tf.Tensor, applies: tf.Tensor | None = None, pieces: tf.Tensor | int = 0
    ):  # fmt: skip
        self._grammar, self._words = grammar, words
        free = words + pieces > grammar.most_words
        self._free = (free if applies is None else free | ~applies)[:, None, None]  # [B, 1, 1]
        self._closing_of = tf.constant(grammar.closing_of, tf.int32)
        self._closes, self._is_tag = tf.constant(grammar.closes), tf.constant(grammar.is_tag)

    def initial(self, width: int) -> dict:
        """Returns the state of all hypotheses before their first token.

        Args:
          width: K, the number of hypotheses of each example.

        Returns:
          A dict with "open" [B, K, levels], the closing brackets of the open constituents, the outermost first; "depth"
          [B, K], their number; "left" [B, K], the number of words without a leaf; and "empty" [B, K], whether the innermost
          constituent is still empty.
        """
        # Each level takes two brackets, which limits the depth.
        # The shape of the stack is static, because a loop must not change the shapes of its state.
        levels = self._grammar.max_length // 2 + 1
        left = tf.tile(self._words[:, None], [1, width])
        none = tf.zeros_like(left)
        return {
            "open": tf.tile(none[..., None], [1, 1, levels]), "depth": none, "left": left,
            "empty": tf.zeros_like(left, tf.bool),
        }  # fmt: skip

    def allowed(self, state: dict, position: tf.Tensor) -> tf.Tensor:
        """Returns which tokens are allowed at this position, [B, K, V] boolean."""
        return self._in_trees(state, position) | self._free

    def _in_trees(self, state: dict, position: tf.Tensor) -> tf.Tensor:
        """Returns which tokens are allowed in trees, [B, K, V] boolean."""
        prefix = self._grammar.prefix
        depth, left = state["depth"], state["left"]
        innermost = tf.gather(state["open"], tf.maximum(depth - 1, 0), batch_dims=2)
        # No empty constituents, and the root stays open until every word has its leaf: nothing may follow its closing bracket.
        may_close = (depth > 0) & ~state["empty"] & ((depth > 1) | (left == 0))
        # An opening bracket needs room for itself, one leaf for each remaining word, the closing brackets of all open
        # constituents and its own, and the end token.
        needed = depth + left + self._pieces_left(state) + _CLOSING_AT_LEAST
        may_open = (left > 0) & (needed <= self._grammar.max_length - position)
        # A leaf outside the root would be a tree of its own.
        may_tag = (left > 0) & (depth > 0)
        may_end = (left == 0) & (depth == 0)
        pieces = tf.range(tf.size(self._is_tag))
        found = (may_open[..., None] & (self._closing_of >= 0)) | (may_tag[..., None] & self._is_tag)
        # Only the bracket of the innermost constituent can close; no piece has the number −1.
        found |= pieces == tf.where(may_close, innermost, -1)[..., None]
        found |= may_end[..., None] & (pieces == END_ID)
        if not prefix:
            return found
        # The prefix is the same in every tree, so there is nothing to choose.
        forced = pieces == tf.gather(tf.constant(prefix), tf.minimum(position, len(prefix) - 1))
        return tf.where(position < len(prefix), forced, found)

    def _pieces_left(self, state: dict) -> int | tf.Tensor:
        """Returns the number of pieces of words [B, K] that are still to be written, besides the leaves."""
        return 0

    def merged(self, log_p: tf.Tensor) -> tf.Tensor:
        """Returns the log-probabilities as they are, because every symbol of a tree is different."""
        return log_p

    def advance(self, state: dict, token: tf.Tensor) -> dict:
        """Returns the state after a token [B, K]; see `initial`."""
        closing = tf.gather(self._closing_of, token)
        opens, closes = closing >= 0, tf.gather(self._closes, token)
        levels = state["open"].shape[-1]
        # A closing bracket only lowers `depth`; what is above it in the stack is overwritten later.
        here = (tf.range(levels) == state["depth"][..., None]) & opens[..., None]
        depth = state["depth"] + tf.cast(opens, tf.int32) - tf.cast(closes, tf.int32)
        left = state["left"] - tf.cast(tf.gather(self._is_tag, token), tf.int32)
        return {
            "open": tf.where(here, closing[..., None], state["open"]),
            # The index of a hypothesis that took an impossible token, or is not constrained, must stay within the tables.
            "depth": tf.clip_by_value(depth, 0, levels),
            "left": tf.maximum(left, 0), "empty": opens,
        }  # fmt: skip


class WordTreeConstraint(TreeConstraint):
    """A constraint for trees in which each leaf follows its word (`Problem.words_in_trees`).

    After a bracket or a leaf, the next word may begin; the rest of this word and then its tag must follow. All pieces of words
    count as one token, with the sum of their probabilities: where the model would go on with any word, the next word of the
    sentence follows. Otherwise, a model that copies badly would rather open one bracket after the other.

    Args:
      grammar: the grammar.
      ids: [B, S], the pieces of the sentences, with the end token and padding. A sentence whose pieces and words together are
        more than `grammar.most_words` is parsed without the constraint. A row that only fills the batch has only padding.
      applies: see `TreeConstraint`.
    """

    def __init__(self, grammar: TreeGrammar, ids: tf.Tensor, applies: tf.Tensor | None = None):
        self._begins, self._is_symbol = tf.constant(grammar.begins_word), tf.constant(grammar.is_symbol)
        is_piece = (ids != PADDING_ID) & (ids != END_ID)
        # A sentence could contain the text of a symbol; as a piece of a word, any other token will do.
        ids = tf.where(is_piece & tf.gather(self._is_symbol, ids), UNKNOWN_ID, ids)
        # The first piece begins a word, even if the vocabulary does not mark it.
        begins = is_piece & (tf.gather(self._begins, ids) | (tf.range(tf.shape(ids)[1]) == 0))
        words, self._count = (tf.reduce_sum(tf.cast(one, tf.int32), axis=1) for one in (begins, is_piece))
        super().__init__(grammar, words, applies, self._count)
        # One more column, because the place behind the last piece is read, too.
        self._ids, self._is_piece = (tf.pad(one, [[0, 0], [0, 1]]) for one in (ids, is_piece))
        self._inside = self._is_piece & ~tf.pad(begins, [[0, 0], [0, 1]])

    def initial(self, width: int) -> dict:
        """Returns the state of all hypotheses before their first token.

        It is that of `TreeConstraint` with two more entries [B, K]: "place", the number of pieces of the sentence that have
        been written, and "word", whether the last token is a piece of a word.
        """
        state = super().initial(width)
        return state | {"place": tf.zeros_like(state["left"]), "word": tf.zeros_like(state["left"], tf.bool)}

    def _in_trees(self, state: dict, position: tf.Tensor) -> tf.Tensor:
        in_tree = position >= len(self._grammar.prefix)
        following = tf.gather(self._ids, state["place"], batch_dims=1)
        inside = state["word"] & tf.gather(self._inside, state["place"], batch_dims=1)
        may_begin = ~state["word"] & (state["depth"] > 0) & tf.gather(self._is_piece, state["place"], batch_dims=1)
        found = super()._in_trees(state, position)
        symbols = found & tf.where(self._is_tag, (state["word"] & ~inside)[..., None], ~state["word"][..., None])
        pieces = tf.range(tf.size(self._is_tag)) == tf.where(inside | may_begin, following, -1)[..., None]
        return tf.where(in_tree, symbols | pieces, found)

    def _pieces_left(self, state: dict) -> tf.Tensor:
        return self._count[:, None] - state["place"]

    def merged(self, log_p: tf.Tensor) -> tf.Tensor:
        """Returns log-probabilities in which every piece of a word has that of all such pieces together."""
        nothing = tf.fill(tf.shape(log_p), log_p.dtype.min)
        total = tf.reduce_logsumexp(tf.where(self._is_symbol, nothing, log_p), axis=-1, keepdims=True)
        return tf.where(self._is_symbol | self._free, log_p, total)

    def advance(self, state: dict, token: tf.Tensor) -> dict:
        """Returns the state after a token [B, K]; see `initial`."""
        # A piece before the root belongs to the prefix.
        word = ~tf.gather(self._is_symbol, token) & (state["depth"] > 0)
        place = tf.minimum(state["place"] + tf.cast(word, tf.int32), tf.shape(self._ids)[1] - 1)
        return super().advance(state, token) | {"place": place, "word": word}
