"""Decoding of parses that are trees: brackets match, and there is one leaf for each word.

The linearised form (Vinyals et al. 2015) is a Dyck language with leaves, so that a stack of open labels and a counter of
words say which symbols may follow.
"""

import tensorflow as tf

from t2t_mm.input.tokenizer import END_ID, Tokenizer, tree_to_text
from t2t_mm.run.errors import RunError

_CLOSING_AT_LEAST = 3  # tokens that a tree has besides its leaves: the brackets of its root, and the end token


class TreeGrammar:
    """The trees that can be written with the symbols of a vocabulary, in at most `max_length` tokens.

    Each symbol of the training trees is a piece of its own (`build_vocabulary`), so that the vocabulary alone says which
    there are, and a trained run needs no corpus. A label counts if both its brackets are pieces.

    A tree has one root, no constituent without words, and exactly as many leaves as the sentence has words. A TOP root
    with several children, which `linearise` writes as several trees in a row, is not generated.

    Attributes:
      most_words: the longest sentence whose tree has room.

    Raises:
      RunError: the vocabulary lacks brackets or part-of-speech tags.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int):
        symbols = tokenizer.tree_symbols()
        ids = {symbol: piece for piece, symbol in symbols.items()}
        closing = {ids[s]: ids[f"){s[1:]}"] for s in ids if s[0] == "(" and f"){s[1:]}" in ids}
        tags = [piece for symbol, piece in ids.items() if symbol[0] not in "()"]
        if not closing or not tags:
            raise RunError(
                f"The vocabulary has {len(closing)} labels with both brackets and {len(tags)} part-of-speech tags as pieces, "
                "so that no tree can be written with it. Build it with bin/build_vocabulary.py for a run whose problems "
                "include parsing, or decode without the constraint."
            )
        self.max_length = max_length
        # What SentencePiece writes before the first symbol, a mark of the beginning of a word, say.
        self.prefix = tokenizer.processor.EncodeAsIds(tree_to_text(symbols[tags[0]]))[:-1]
        self.most_words = max_length - len(self.prefix) - _CLOSING_AT_LEAST
        # [V]: of an opening bracket the id of its closing one, elsewhere -1; which are closing brackets; which are tags.
        self.closing_of = [closing.get(piece, -1) for piece in range(tokenizer.size)]
        self.closes = [piece in set(closing.values()) for piece in range(tokenizer.size)]
        self.is_tag = [piece in set(tags) for piece in range(tokenizer.size)]


class TreeConstraint:
    """Lets a search write trees of a grammar alone, a `search.Constraint`.

    Args:
      words: [B] int32, the number of words of each sentence, at most `grammar.most_words`; 0 for a row that only fills the
        batch, which gets no symbols.
    """

    def __init__(self, grammar: TreeGrammar, words: tf.Tensor):
        self._grammar, self._words = grammar, words
        self._closing_of = tf.constant(grammar.closing_of, tf.int32)
        self._closes, self._is_tag = tf.constant(grammar.closes), tf.constant(grammar.is_tag)

    def initial(self, width: int) -> dict:
        """The state of all hypotheses before their first token.

        Returns:
          open: [B, K, levels], the closing brackets of what is open, the outermost first. depth: [B, K], how many they are.
          left: [B, K], words without a leaf. empty: [B, K], whether the innermost constituent has nothing in it yet.
        """
        # Each level takes two brackets, so that no deeper one has room.
        levels = self._grammar.max_length // 2 + 1
        left = tf.tile(self._words[:, None], [1, width])
        none = tf.zeros_like(left)
        return {
            "open": tf.tile(none[..., None], [1, 1, levels]), "depth": none, "left": left,
            "empty": tf.zeros_like(left, tf.bool),
        }  # fmt: skip

    def allowed(self, state: dict, position: tf.Tensor) -> tf.Tensor:
        """[B, K, V] boolean: which tokens may stand at this position."""
        prefix = self._grammar.prefix
        depth, left = state["depth"], state["left"]
        innermost = tf.gather(state["open"], tf.maximum(depth - 1, 0), batch_dims=2)
        may_close = (depth > 0) & ~state["empty"] & ((depth > 1) | (left == 0))
        # After an opening bracket there must be room for it, one leaf a word, what is open, its own closing, and the end.
        may_open = (left > 0) & (depth + left + _CLOSING_AT_LEAST <= self._grammar.max_length - position)
        may_tag = (left > 0) & (depth > 0)
        may_end = (left == 0) & (depth == 0)
        pieces = tf.range(tf.size(self._is_tag))
        found = (may_open[..., None] & (self._closing_of >= 0)) | (may_tag[..., None] & self._is_tag)
        found |= pieces == tf.where(may_close, innermost, -1)[..., None]
        found |= may_end[..., None] & (pieces == END_ID)
        if not prefix:
            return found
        forced = pieces == tf.gather(tf.constant(prefix), tf.minimum(position, len(prefix) - 1))
        return tf.where(position < len(prefix), forced, found)

    def advance(self, state: dict, token: tf.Tensor) -> dict:
        """The state after a token [B, K]; see `initial`."""
        closing = tf.gather(self._closing_of, token)
        opens, closes = closing >= 0, tf.gather(self._closes, token)
        levels = state["open"].shape[-1]
        here = (tf.range(levels) == state["depth"][..., None]) & opens[..., None]
        depth = state["depth"] + tf.cast(opens, tf.int32) - tf.cast(closes, tf.int32)
        left = state["left"] - tf.cast(tf.gather(self._is_tag, token), tf.int32)
        return {
            "open": tf.where(here, closing[..., None], state["open"]),
            # A hypothesis that took an impossible token must not leave the tables.
            "depth": tf.clip_by_value(depth, 0, levels),
            "left": tf.maximum(left, 0), "empty": opens,
        }  # fmt: skip
