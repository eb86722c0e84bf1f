"""Tests that constrained parses are trees for any model, and that the best one is found."""

import itertools
import types

import numpy as np
import pytest
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.treebank import delinearise
from t2t_mm.inference.search import IMPOSSIBLE_SCORE, beam_search, best_of_beam, sample
from t2t_mm.inference.trees import TreeConstraint, TreeGrammar, WordTreeConstraint
from t2t_mm.input.tokenizer import END_ID, PADDING_ID, UNKNOWN_ID, Tokenizer, text_to_tree, train_vocabulary, tree_to_text

TREE = "(S (NP DT NN )NP (VP VBD )VP . )S"
# "<->" becomes a piece by itself, and is no symbol of trees.
TEXTS = ["the a<->b cat", "der c<->d Hund", "le e<->f chien"] * 5


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("vocabulary") / "v.model")
    train_vocabulary(TEXTS, [*(f"<{symbol}>" for symbol in TREE.split()), "<(X>", "cat"], path, size=320)
    return Tokenizer(path)


class Unruly:
    """A decoder that knows nothing of trees: its logits are a table of the position and the token before."""

    def __init__(self, symbols, length, seed, favour=None):
        self.table = np.random.default_rng(seed).normal(size=(length, symbols, symbols)).astype("float32") * 3
        if favour is not None:
            self.table[..., favour] += 30

    def initial_state(self, encoded, source_padding, positions, width):
        return {"nothing": tf.zeros([tf.shape(encoded)[0], width])}

    def extend(self, state, positions):
        return state

    def command(self, name, batch):
        return tf.one_hot(tf.fill([batch], 0), self.table.shape[1])

    def language_in(self, ids, command):
        return tf.one_hot(ids, self.table.shape[1])

    def step(self, x, position, state, ancestors, write):
        return tf.linalg.matmul(x, tf.gather(tf.constant(self.table), position)), state


def given(model, count):
    return model, tf.zeros([count, 1, 1]), tf.zeros([count, 1], tf.bool), ""


def trees_of(tokenizer, ids):
    """The symbols of each output, and whether it ended."""
    return [(text_to_tree(tokenizer.detokenize(row)).split(), END_ID in row) for row in np.asarray(ids)]


def test_symbols_are_what_the_trainer_was_given_in_brackets(tokenizer):
    assert "<->" in {tokenizer.processor.IdToPiece(index) for index in range(tokenizer.size)}
    assert sorted(tokenizer.tree_symbols().values()) == sorted([*TREE.split(), "(X"])
    symbols = tokenizer.tree_symbols()
    assert all(tokenizer.processor.IdToPiece(index) == f"<{symbol}>" for index, symbol in symbols.items())


def test_a_grammar_has_the_labels_with_both_brackets(tokenizer):
    grammar, symbols = TreeGrammar(tokenizer, 20), tokenizer.tree_symbols()
    pairs = {(symbols[index], symbols[other]) for index, other in enumerate(grammar.closing_of) if other >= 0}
    assert pairs == {("(S", ")S"), ("(NP", ")NP"), ("(VP", ")VP")}
    assert {symbols[index] for index in np.flatnonzero(grammar.closes)} == {")S", ")NP", ")VP"}
    assert {symbols[index] for index in np.flatnonzero(grammar.is_tag)} == {"DT", "NN", "VBD", "."}
    # A tree begins as the tokenizer writes it.
    ids = tokenizer.processor.EncodeAsIds(tree_to_text(TREE))
    assert grammar.prefix == ids[: -len(TREE.split())] and len(grammar.prefix) == 1
    assert grammar.most_words == 20 - 1 - 3


def test_a_vocabulary_without_trees_is_one_clear_error(tmp_path):
    train_vocabulary(TEXTS, ["<(S>", "<NN>"], str(tmp_path / "v.model"), size=320)
    with pytest.raises(RunError, match="0 labels with both brackets and 1 part-of-speech tags.*bin/build_vocabulary.py"):
        TreeGrammar(Tokenizer(str(tmp_path / "v.model")), 20)


@pytest.mark.parametrize("favour", [None, "(NP", ")NP", "DT", "end", "text"])
@pytest.mark.parametrize("how", ["greedy", "beam", "sample"])
def test_every_output_is_a_tree_of_its_words(tokenizer, how, favour):
    """Also of a model that would only open or close brackets, tag, end, or write a text; 0 words are a row that fills."""
    words = [0, 1, 2, 9, 16]
    ids = {symbol: index for index, symbol in tokenizer.tree_symbols().items()} | {"end": END_ID, "text": 300, None: None}
    for length in (20, 47):  # the longest sentence has room for its root alone, and much room
        grammar = TreeGrammar(tokenizer, length)
        assert length > 20 or max(words) == grammar.most_words
        constraint = TreeConstraint(grammar, tf.constant(words))
        model = given(Unruly(tokenizer.size, length, 1, ids[favour]), len(words))
        if how == "sample":
            found, scores = sample(*model, length, temperature=2.0, top_p=0.9, constraint=constraint)
        else:
            found, scores = beam_search(*model, length, {"greedy": 1, "beam": 5}[how], constraint=constraint)
        assert (scores.numpy() > IMPOSSIBLE_SCORE).all()
        for count, (symbols, ended) in zip(words, trees_of(tokenizer, found)):
            sentence = [str(number) for number in range(count)]
            assert ended
            if not count:
                assert symbols == []
                continue
            tree, repaired = delinearise(symbols, sentence)
            assert not repaired and tree.words() == sentence
            depth = np.cumsum([(s[0] == "(") - (s[0] == ")") for s in symbols])
            assert depth[-1] == 0 and (depth[:-1] > 0).all(), "one root"
            assert not any(one[0] == "(" and other[0] == ")" for one, other in zip(symbols, symbols[1:])), "no empty ones"


@pytest.mark.parametrize("favour", [None, "(NP", ")NP", "DT", "end", "text"])
@pytest.mark.parametrize("how", ["greedy", "beam", "sample"])
def test_every_output_with_words_has_those_of_its_sentence_before_their_tags(tokenizer, how, favour):
    """Also words of several pieces, the text of a symbol, and a sentence that has no more room than for its root."""
    sentences = ["", "the", "Hund cat <DT> (x", "the a b cat the cat"]
    ids = {symbol: index for index, symbol in tokenizer.tree_symbols().items()} | {"end": END_ID, "text": 300, None: None}
    pieces = [tokenizer.processor.EncodeAsIds(sentence) for sentence in sentences]
    assert len(pieces[2]) > 6 and ids["DT"] in pieces[2]
    rows = tf.ragged.constant([[*row, END_ID] if row else [] for row in pieces], tf.int32).to_tensor(PADDING_ID)
    needed = max(len(row) + len(sentence.split()) for row, sentence in zip(pieces, sentences))
    for most in (needed, needed + 30):
        grammar = TreeGrammar(tokenizer, most + 4)
        assert grammar.most_words == most
        constraint = WordTreeConstraint(grammar, rows)
        model = given(Unruly(tokenizer.size, most + 4, 1, ids[favour]), len(sentences))
        if how == "sample":
            found, scores = sample(*model, most + 4, temperature=2.0, top_p=0.9, constraint=constraint)
        else:
            found, scores = beam_search(*model, most + 4, {"greedy": 1, "beam": 5}[how], constraint=constraint)
        assert (scores.numpy() > IMPOSSIBLE_SCORE).all()
        for sentence, row, own in zip(sentences, found.numpy().tolist(), pieces):
            assert END_ID in row
            if not sentence:
                assert not set(row) - {END_ID, PADDING_ID, *grammar.prefix}
                continue
            # The symbol in the third sentence is written as an unknown piece.
            known = {**tokenizer.tree_symbols(), END_ID: "", PADDING_ID: ""}
            written = [piece for piece in row[len(grammar.prefix) :] if piece not in known]
            assert written == [UNKNOWN_ID if piece in known else piece for piece in own]
            symbols = [known[piece] for piece in row if known.get(piece)]
            tree, repaired = delinearise(symbols, sentence.split())
            assert not repaired and tree.words() == sentence.split()
            # Each tag directly follows the last piece of its word, and nothing else divides a word.
            starts = [place for place, piece in enumerate(own) if not place or grammar.begins_word[piece]]
            seen = 0
            for before, piece in zip(row[len(grammar.prefix) :], row[len(grammar.prefix) + 1 :]):
                seen += before not in known
                if known.get(piece, "(")[:1] not in ("(", ")", ""):
                    assert before not in known and seen in [*starts[1:], len(own)]
                elif piece in known:
                    assert before in known or before in grammar.prefix


def test_all_pieces_of_words_count_as_one(tokenizer):
    """A model that is sure that a word follows, but not which one, goes on with the next word."""
    grammar, symbols = TreeGrammar(tokenizer, 20), tokenizer.tree_symbols()
    ids = tf.constant([tokenizer.processor.EncodeAsIds("the cat") + [END_ID]])
    constraint = WordTreeConstraint(grammar, ids)
    logits = np.random.default_rng(0).normal(size=(1, 1, tokenizer.size)).astype("float32")
    log_p = tf.nn.log_softmax(logits)
    merged, before = (np.exp(x.numpy()[0, 0].astype("float64")) for x in (constraint.merged(log_p), log_p))
    words = [piece for piece in range(tokenizer.size) if piece not in symbols and piece not in (END_ID, PADDING_ID)]
    np.testing.assert_allclose(merged[words], before[words].sum(), rtol=1e-5)
    rest = [piece for piece in range(tokenizer.size) if piece not in words]
    np.testing.assert_array_equal(merged[rest], before[rest])


# Seven tokens: padding, end, two labels and a tag.
OPEN_A, CLOSE_A, OPEN_B, CLOSE_B, TAG = range(2, 7)
TINY = types.SimpleNamespace(
    max_length=8, most_words=5, prefix=[], closing_of=[-1, -1, CLOSE_A, -1, CLOSE_B, -1, -1],
    closes=[token in (CLOSE_A, CLOSE_B) for token in range(7)], is_tag=[token == TAG for token in range(7)],
)  # fmt: skip


def is_tree(tokens, words):
    """By rewriting: a constituent of leaves and constituents becomes a leaf, until one constituent is left."""
    if tokens.count(TAG) != words or tokens[0] not in (OPEN_A, OPEN_B):
        return False
    tokens = list(tokens)
    while len(tokens) > 1:
        for end, token in enumerate(tokens):
            if token in (CLOSE_A, CLOSE_B):
                start = end - 1
                while start >= 0 and tokens[start] == TAG:
                    start -= 1
                if start < 0 or start == end - 1 or tokens[start] != token - 1:
                    return False
                tokens[start : end + 1] = [TAG]
                break
        else:
            return False
    return True


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("words", [1, 2])
def test_a_wide_beam_finds_the_best_tree_of_all(seed, words):
    model = Unruly(7, TINY.max_length, seed)
    log_p = model.table.astype("float64")
    log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    scored = []
    for length in range(3, TINY.max_length):
        for tokens in itertools.product(range(2, 7), repeat=length):
            if is_tree(tokens, words):
                path = [0, *tokens, END_ID]
                scored.append((sum(log_p[t, path[t], path[t + 1]] for t in range(len(path) - 1)), tokens))
    ranked = sorted(scored, reverse=True)
    constraint = TreeConstraint(TINY, tf.constant([words]))
    ids, scores = best_of_beam(*given(model, 1), TINY.max_length, 600, 600, 0.0, constraint=constraint)
    possible = scores[0].numpy() > IMPOSSIBLE_SCORE
    assert possible.sum() == len(ranked) > 5, "all trees that have room, and nothing else"
    np.testing.assert_allclose(scores[0].numpy()[possible], [score for score, _ in ranked], atol=1e-3)
    best = ranked[0][1]
    assert ids[0, 0].numpy().tolist() == [*best, END_ID, *[PADDING_ID] * (TINY.max_length - len(best) - 1)]
