"""Converts decoded symbols to bracketed trees in the graph: `treebank.delinearise` and `to_brackets` as string ops."""

import tensorflow as tf

# The characters at which Python's str.split() splits, which no symbol and no word contains.
_SPACE = r"[\s\x0b\x1c-\x1f\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]+"
# Four of these mark the structure until the brackets are written.
_OPEN, _CLOSE, _LEAF, _LEAF_END = "\x1c", "\x1d", "\x1e", "\x1f"


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits strings [B] like str.split() into ragged [B, words]."""
    return tf.strings.split(tf.strings.regex_replace(texts, _SPACE, " "))


def symbols_of(texts: tf.Tensor) -> tf.RaggedTensor:
    """Returns the symbols, ragged [B, symbols], of decoded texts [B], that is, the content of angle brackets."""
    parts = tf.strings.split(texts, "<")[:, 1:]
    symbols = tf.strings.regex_replace(parts.flat_values, r"(?s)^([^>]+)>.*$", r"\1")
    complete = tf.strings.regex_full_match(parts.flat_values, r"(?s)[^>]+>.*")
    symbols = parts.with_flat_values(tf.where(complete, symbols, ""))
    return split_words(tf.strings.reduce_join(symbols, axis=1, separator=" "))


def bracketed(texts: tf.Tensor, sentences: tf.Tensor) -> tf.Tensor:
    """Returns the trees of `sentences` that the decoded `texts` describe, repaired like `delinearise` does.

    All trees of the batch are built together, one symbol at a time, with a stack of labels.

    Args:
      texts, sentences: [B].

    Returns:
      The trees [B] in the format of `to_brackets`.
    """
    symbols, words = symbols_of(texts).to_tensor(""), split_words(sentences)
    counts = tf.cast(words.row_lengths(), tf.int32)
    # Brackets in words are written as in the Treebank, because they would be read as structure.
    escaped = tf.strings.regex_replace(tf.strings.regex_replace(words.to_tensor(""), r"\(", "-LRB-"), r"\)", "-RRB-")
    # A last column, because `used` may point behind the last word.
    escaped = tf.pad(escaped, [[0, 0], [0, 1]], constant_values="")
    batch, length = tf.shape(symbols)[0], tf.shape(symbols)[1]
    levels = tf.range(length + 1)[None]  # [1, N+1]; level 0 is the root
    # As many closing marks as can ever be needed at once, of which a step takes a prefix.
    closings = tf.strings.reduce_join(tf.fill([length + 1], _CLOSE))

    def step(position, labels, depth, used, began, trees, leaves, text):
        symbol = symbols[:, position]
        first, label = tf.strings.substr(symbol, 0, 1), tf.strings.regex_replace(symbol, r"^[()]", "")
        nameless = tf.logical_or(label == "", symbol == "")
        bracket = tf.logical_or(first == "(", first == ")")
        opens = tf.logical_and(first == "(", tf.logical_not(nameless))
        closes = tf.logical_and(first == ")", tf.logical_not(nameless))
        # Tags beyond the last word are dropped, as are closing brackets without an open constituent of their label.
        tags = tf.logical_and(tf.logical_and(symbol != "", tf.logical_not(bracket)), used < counts)
        # Find the innermost open constituent with this label. Closing it also closes the constituents inside it.
        open_here = tf.logical_and(levels >= 1, levels <= depth[:, None])
        innermost = tf.reduce_max(tf.where(tf.logical_and(open_here, labels == label[:, None]), levels, 0), axis=1)
        closed = tf.where(tf.logical_and(closes, innermost > 0), depth - innermost + 1, 0)
        whole = tf.logical_and(tf.logical_and(closed > 0, innermost == 1), used > began)  # a tree below the root
        leaf = tf.strings.join([_LEAF, symbol, " ", tf.gather(escaped, used, batch_dims=1), _LEAF_END])
        piece = tf.where(opens, tf.strings.join([_OPEN, label]), tf.where(tags, leaf, tf.strings.substr(
            tf.fill([batch], closings), tf.zeros_like(closed), closed
        )))  # fmt: skip
        lone = tf.logical_and(tags, depth == 0)
        began = tf.where(tf.logical_and(opens, depth == 0), used, began)
        depth = depth + tf.cast(opens, tf.int32) - closed
        labels = tf.where(tf.logical_and(opens[:, None], levels == depth[:, None]), label[:, None], labels)
        return (
            position + 1, labels, depth, used + tf.cast(tags, tf.int32), began,
            trees + tf.cast(whole, tf.int32), leaves + tf.cast(lone, tf.int32), tf.strings.join([text, piece]),
        )  # fmt: skip

    none, empty = tf.zeros([batch], tf.int32), tf.fill([batch], "")
    labels = tf.fill([batch, length + 1], "")
    _, _, depth, used, began, trees, leaves, text = tf.while_loop(
        lambda position, *_: position < length, step, (0, labels, none, none, none, none, none, empty)
    )
    # What is still open at the end is closed, as by `delinearise`.
    trees += tf.cast(tf.logical_and(depth > 0, used > began), tf.int32)
    text = tf.strings.join([text, tf.strings.substr(tf.fill([batch], closings), none, depth)])
    return _write(_without_empty(text), trees, leaves, _untagged(words, used), counts - used)


def _untagged(words: tf.RaggedTensor, used: tf.Tensor) -> tf.Tensor:
    """Returns the words after the last tag as leaves XX, [B]."""
    left = words.with_flat_values(
        tf.strings.regex_replace(tf.strings.regex_replace(words.flat_values, r"\(", "-LRB-"), r"\)", "-RRB-")
    )
    numbers = tf.ragged.range(left.row_lengths())
    later = numbers.flat_values >= tf.gather(tf.cast(used, tf.int64), left.value_rowids())
    leaves = tf.where(later, tf.strings.join([_LEAF, "XX ", left.flat_values, _LEAF_END]), "")
    return tf.strings.reduce_join(left.with_flat_values(leaves), axis=1)


def _without_empty(text: tf.Tensor) -> tf.Tensor:
    """Removes constituents without words, from the inside to the outside."""

    def cleaned(text):
        return tf.strings.regex_replace(text, r"\x1c[^\x1c-\x1f]*\x1d", "")

    # Removing one constituent can make the one around it empty, so this is repeated until nothing changes.
    return tf.while_loop(lambda text: tf.reduce_any(cleaned(text) != text), lambda text: [cleaned(text)], [text])[0]


def _write(text, trees, leaves, untagged, num_untagged) -> tf.Tensor:
    """Joins the trees below one root, and converts the marks to brackets.

    A single constituent is the root itself and also gets the untagged words. Otherwise, except for a single leaf, the root
    is TOP.
    """
    single = tf.logical_and(trees == 1, leaves == 0)
    extended = tf.strings.join([tf.strings.regex_replace(text, r"\x1d$", ""), untagged, _CLOSE])
    together = tf.strings.join([text, untagged])
    under_top = tf.strings.join([_OPEN, "TOP", together, _CLOSE])
    alone = trees + leaves + num_untagged == 1
    text = tf.where(single, extended, tf.where(alone, together, under_top))
    brackets = tf.strings.regex_replace(tf.strings.regex_replace(text, r"[\x1c\x1e]", " ("), r"[\x1d\x1f]", ")")
    return tf.strings.regex_replace(brackets, "^ ", "")
