import hashlib
import re

import pytest
import tensorflow as tf
import tensorflow_text

from t2t_mm.corpora.example import CorpusError, Example
from t2t_mm.input.tokenizer import (
    END_ID,
    PADDING_ID,
    Tokenizer,
    as_tokenized,
    text_to_tree,
    train_vocabulary,
    tree_to_text,
    with_map,
)

TREE = "(S (NP DT NN )NP (VP VBD )VP )S"
SYMBOLS = [f"<{symbol}>" for symbol in TREE.split()]
TEXTS = ["the cat sees a dog", "der Hund schläft", "le chien dort", "where is the cat"] * 5


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("vocabulary") / "vocabulary.model")
    train_vocabulary(TEXTS, SYMBOLS, path, size=320)
    return path


@pytest.mark.parametrize("text", ["the cat schläft", "unseen: Ωζ 東", "WHERE"])
def test_any_text_survives_the_round_trip(path, text):
    tokenizer = Tokenizer(path)
    ids = tokenizer.tokenize(tf.constant(text)).numpy()
    assert ids[-1] == END_ID and PADDING_ID not in ids and ids.max() < tokenizer.size == 320
    assert tokenizer.detokenize([*ids, PADDING_ID, PADDING_ID]) == text


def test_a_tree_symbol_is_one_piece(path):
    tokenizer = Tokenizer(path)
    ids = tokenizer.tokenize(tf.constant(tree_to_text(TREE))).numpy()
    assert len(ids) == len(TREE.split()) + 2  # the sentence's leading space, and the end
    assert text_to_tree(tokenizer.detokenize(ids)) == TREE


def test_a_tag_follows_its_word(path):
    tokenizer, sentence = Tokenizer(path), "the <ca>t sleeps now"
    text = tree_to_text("(S (NP DT NN )NP VBZ RB )S", sentence)
    assert text == "<(S><(NP> the<DT> cat<NN><)NP> sleeps<VBZ> now<RB><)S>"
    assert text_to_tree(text) == "(S (NP DT NN )NP VBZ RB )S"
    # The same pieces as in the sentence, from which a decoder copies them.
    pieces, tree = (tokenizer.processor.EncodeAsIds(one) for one in ("the cat", tree_to_text("(NP DT NN )NP", "the cat")))
    assert [piece for piece in tree[1:] if piece not in tokenizer.tree_symbols()] == pieces


@pytest.mark.parametrize("sentence", ["the", "the cat sat"])
def test_a_tree_with_another_number_of_words_is_named(sentence):
    example = Example(sentence, "(NP DT NN )NP", "wsj.mrg:7")
    with pytest.raises(CorpusError, match=rf"wsj.mrg:7: the sentence has {len(sentence.split())} words, .* has 2 leaves"):
        as_tokenized(example, "tree", words_in_trees=True)
    assert as_tokenized(example, "tree").targets == "<(NP><DT><NN><)NP>"
    assert as_tokenized(Example(sentence, "", "a text to parse"), "tree", words_in_trees=True).targets == ""


def test_words_that_look_like_tags_stay_words(path):
    assert len(Tokenizer(path).tokenize(tf.constant("NN")).numpy()) > 2


def test_same_texts_same_vocabulary(path, tmp_path):
    again = str(tmp_path / "again.model")
    train_vocabulary(TEXTS, SYMBOLS, again, size=320)
    assert Tokenizer(again).fingerprint == Tokenizer(path).fingerprint


def test_a_tokenizer_outlives_another(path):
    first = Tokenizer(path)
    del first
    assert Tokenizer(path).tokenize(tf.constant("the")).shape[0] > 1


@pytest.mark.parametrize("size, message", [(5000, "at most {} are possible; more"), (100, "at least {} are needed for their")])
def test_a_size_that_is_not_possible_is_one_clear_error(tmp_path, size, message):
    path = str(tmp_path / "other.model")
    with pytest.raises(CorpusError, match=rf"other.model: no vocabulary of {size} pieces from these texts: a") as raised:
        train_vocabulary(TEXTS, SYMBOLS, path, size=size)
    (limit,) = map(int, re.findall(r"at (?:most|least) (\d+)", str(raised.value)))
    assert message.format(limit) in str(raised.value) and ".cc" not in str(raised.value)
    assert not list(tmp_path.iterdir())
    train_vocabulary(TEXTS, SYMBOLS, path, size=limit)
    assert Tokenizer(path).size == limit


@pytest.mark.parametrize("content,message", [(None, "there is no vocabulary"), (b"junk", "not a SentencePiece model")])
def test_bad_vocabulary_files_are_named(tmp_path, content, message):
    path = tmp_path / "x.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=f"x.model: {message}"):
        Tokenizer(str(path))


def test_a_vocabulary_that_normalises_nothing_is_loaded_without_a_word(path, tmp_path, capfd):
    """SentencePiece in the graph tells of an empty map at each load; the ids are the same with one."""
    with open(path, "rb") as file:
        content = file.read()
    texts = tf.constant(["the cat schläft", "unseen: Ωζ 東", "ﬁne  ½ “x”\u00a0\u2028.", " two  blanks ", "\ufdd0", ""])
    expected = tensorflow_text.SentencepieceTokenizer(content, add_eos=True).tokenize(texts).to_list()
    assert "precompiled_charsmap is empty" in capfd.readouterr().err
    tokenizer = Tokenizer(path)
    assert tokenizer.tokenize(texts).to_list() == expected
    assert "precompiled_charsmap" not in capfd.readouterr().err
    assert tokenizer.fingerprint == hashlib.sha256(content).hexdigest()
    assert with_map(tokenizer.model) == tokenizer.model, "one map is enough"
    other = str(tmp_path / "nfkc.model")
    train_vocabulary(TEXTS, SYMBOLS, other, size=320, normalization="nmt_nfkc")
    with open(other, "rb") as file:
        assert Tokenizer(other).model == file.read(), "a map that is there stays"


def test_a_map_is_added_to_a_vocabulary_without_one_and_to_no_other(path):
    with open(path, "rb") as file:
        content = file.read()
    found = with_map(content)
    assert found.startswith(content) and len(found) > len(content)
    assert with_map(found) == found, "which is recognised as a map"


HARD = [
    "¾ of a glass … of Café™", "Cafe\u0301 in NFD, naïve nai\u0308ve", "ﬁne ﬂour, ５ ｆｕｌｌ ｗｉｄｔｈ", "x² + H₂O = ½ № 5",
    "10\u00a0000 people \u2028 and \u200b none", "emoji 👩\u200d👧 and 𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "“quotes” ‘single’ – dashes—", "ſharp Å Å ﷺ",
]  # fmt: skip


def test_any_text_can_be_answered(tmp_path):
    train_vocabulary(["some plain words of text"] * 9, [], str(tmp_path / "v.model"), 280)
    tokenizer = Tokenizer(str(tmp_path / "v.model"))
    for text in HARD:
        assert tokenizer.detokenize(tokenizer.tokenize(tf.constant(text)).numpy()) == text
    train_vocabulary(["some plain words of text"] * 9, [], str(tmp_path / "n.model"), 280, normalization="nmt_nfkc")
    other = Tokenizer(str(tmp_path / "n.model"))
    assert other.detokenize(other.tokenize(tf.constant(HARD[0])).numpy()) != HARD[0]
