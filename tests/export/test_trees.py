"""Compares the trees from the graph with those from `delinearise` of the readers."""

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_mm.corpora.treebank import delinearise, to_brackets
from t2t_mm.export.trees import bracketed
from t2t_mm.input.tokenizer import text_to_tree

in_graph = tf.function(bracketed, input_signature=[tf.TensorSpec([None], tf.string)] * 2)
symbols = st.sampled_from(["(S", ")S", "(NP", ")NP", "NN", "DT", "(", ")", "", "((X", ")(X", "é", "a b", "(\u00a0x"])
shapes = st.sampled_from(["<%s>", "<%s>", "<%s>", "<%s> x", "<%s", "%s>", "<<%s>>"])
decoded = st.lists(st.builds(lambda shape, symbol: shape % symbol, shapes, symbols), max_size=12).map("".join)
words = st.lists(st.sampled_from(["a", "(b)", "Ü", "c)", "XX", "\\1"]), max_size=5)
sentences = st.builds(lambda parts, space: space.join(parts), words, st.sampled_from([" ", "\t ", "\u3000"]))


def expected(text, sentence):
    return to_brackets(delinearise(text_to_tree(text).split(), sentence.split())[0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(decoded, sentences), min_size=1, max_size=4))
def test_any_symbols_make_the_tree_that_delinearise_makes(pairs):
    found = in_graph(*(list(column) for column in zip(*pairs))).numpy()
    assert [tree.decode() for tree in found] == [expected(*pair) for pair in pairs]


@pytest.mark.parametrize(
    "text,sentence,tree",
    [
        ("<(S><(NP><DT><NN><)NP><)S>", "the dog", "(S (NP (DT the) (NN dog)))"),
        ("<(S><NN>", "dogs bark", "(S (NN dogs) (XX bark))"),
        ("", "hi", "(XX hi)"),
        ("<NN><NN>", "a (", "(TOP (NN a) (NN -LRB-))"),
        ("<(S><(NP><)NP><NN><)S>", "it", "(S (NN it))"),
    ],
)
def test_trees_and_repairs(text, sentence, tree):
    assert in_graph([text], [sentence]).numpy()[0].decode() == tree == expected(text, sentence)
