"""Tests the examples from parallel text and treebanks of a few lines, and that invalid files are named."""

import pytest

from t2t_mm.corpora.example import CorpusError, Report, TooManyBadExamples
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.treebank import Tree, Treebank, delinearise, parse_tree, split_trees, to_indented

TREE = """
( (S
    (NP-SBJ-1 (DT The) (NN cat) )
    (VP (VBD was)
      (VP (VBN seen)
        (NP (-NONE- *-1) )))
    (. .) ))
"""


def pairs(tmp_path, english, german):
    folder = tmp_path / "wmt" / "en-de"
    folder.mkdir(parents=True)
    for split in ("train", "dev"):
        (folder / f"{split}.en").write_bytes(english)
        (folder / f"{split}.de").write_bytes(german)
    return ParallelText(str(tmp_path), "wmt/en-de", "en", "de")


def test_parallel_text(tmp_path):
    source = pairs(tmp_path, "A cat.\n\nA dog\u2028runs.\n".encode(), b"Eine Katze.\nLeer.\nEin Hund rennt.\n")
    report = Report("x")
    assert [(e.inputs, e.targets) for e in source.examples("train", report)] == [
        ("A cat.", "Eine Katze."),
        ("A dog\u2028runs.", "Ein Hund rennt."),
    ]
    assert report.left_out == {f"{tmp_path}/wmt/en-de/train.en:2": "one side is blank"}
    assert len(source.examples("dev", Report("x"))) == 3  # blank lines count in evaluation


def test_unequal_sides_name_both_counts(tmp_path):
    source = pairs(tmp_path, b"a\nb\nc\n", b"a\nb\n")
    with pytest.raises(CorpusError, match="3.*2"):
        source.examples("train", Report("x"))


def test_invalid_utf8_is_reported_with_its_line(tmp_path):
    source, report = pairs(tmp_path, b"a\n\xff\nc\n", b"a\nb\nc\n"), Report("x")
    assert len(source.examples("train", report)) == 2
    (origin,) = report.skipped
    assert origin.endswith("train.en:2")
    with pytest.raises(TooManyBadExamples, match="train.en:2"):
        source.examples("train", Report("x", max_bad=0))


def treebank(tmp_path, text):
    folder = tmp_path / "ptb" / "wsj" / "02"
    folder.mkdir(parents=True)
    (folder / "wsj_0201.mrg").write_text(text)
    return Treebank(str(tmp_path))


def test_treebank_is_cleaned_and_linearised(tmp_path):
    (example,) = treebank(tmp_path, TREE).examples("train", Report("x"))
    assert example.inputs == "The cat was seen ."
    assert example.targets == "(S (NP DT NN )NP (VP VBD (VP VBN )VP )VP . )S"
    _, repaired = delinearise(example.targets.split(), example.inputs.split())
    assert not repaired


def test_constituents_are_training_examples_of_their_own(tmp_path):
    text = "( (S (NP-SBJ (NP (DT the) (NN dog)) (PP (IN in) (NP (NNP Rome)))) (VP (VP (VBD ran) (ADVP (RB off))) ) (. .)) )"
    text += "( (S (VP (VB Run))) )"
    treebank(tmp_path, text)
    source = Treebank(str(tmp_path), splits={split: ["wsj/02/*.mrg"] for split in ("train", "dev")}, constituents=True)
    found = source.examples("train", Report("x", 0))
    whole = "(S (NP (NP DT NN )NP (PP IN (NP NNP )NP )PP )NP (VP (VP VBD (ADVP RB )ADVP )VP )VP . )S"
    assert [(one.inputs, one.targets) for one in found] == [
        ("the dog in Rome ran off .", whole),
        ("the dog", "(NP DT NN )NP"),
        ("in Rome", "(PP IN (NP NNP )NP )PP"),
        ("the dog in Rome", "(NP (NP DT NN )NP (PP IN (NP NNP )NP )PP )NP"),
        ("ran off", "(VP (VP VBD (ADVP RB )ADVP )VP )VP"),
        ("Run", "(S (VP VB )VP )S"),
    ]
    assert len({one.origin for one in found[:5]}) == 1
    assert [one.inputs for one in source.examples("dev", Report("x", 0))] == ["the dog in Rome ran off .", "Run"]


def test_labels_lose_functions_and_indices_but_keep_brackets(tmp_path):
    text = """( (S-IMP (NP-SBJ-1 (NNS dogs)) (NP=2 (NN a)) (NP-TMP=3 (NN b)) (PP-LOC|PRD (IN on))
      (-LRB- -LRB-) (NP (-NONE- *T*-1)) (ADVP (RB so)) (-RRB- -RRB-)))"""
    (example,) = treebank(tmp_path, text).examples("train", Report("x", 0))
    symbols = "(S (NP NNS )NP (NP NN )NP (NP NN )NP (PP IN )PP -LRB- (ADVP RB )ADVP -RRB- )S"
    assert example.targets == symbols and example.inputs == "dogs a b on -LRB- so -RRB-"


def test_an_unbalanced_tree_is_reported_where_it_begins(tmp_path):
    report = Report("x")
    examples = treebank(tmp_path, TREE + "\n( (S (NP (NN dog) )\n").examples("train", report)
    assert len(examples) == 1
    (origin,) = report.skipped
    assert origin.endswith("wsj_0201.mrg:9")


def test_a_tree_of_several_lines_is_whole_or_reported(tmp_path):
    """Its brackets balance without the line that cannot be read, and the words on it would be lost in silence."""
    (tmp_path / "a.mrg").write_bytes(b"( (S (NP (NN a))\n (ADVP (RB \xff))\n (VP (VBD ran))))\n( (S (NN b)))\n")
    report = Report("x")
    found = Treebank(str(tmp_path), "", splits={"dev": ["*.mrg"]}).examples("dev", report)
    assert [tree.inputs for tree in found] == ["b"]
    reasons = {origin.rsplit(":", 1)[1]: reason for origin, reason in report.skipped.items()}
    assert reasons["1"] == "the tree has a line that is not UTF-8" and "not UTF-8: byte 0xff" in reasons["2"]


def test_trees_are_cut_apart_on_one_line_and_on_several():
    """A bracket too many stays with the tree of its own line, and takes no other with it."""
    text = "(A a) (B b)\n(C c)) \n(D d)"
    assert list(split_trees(text)) == [(1, "(A a) "), (1, "(B b)\n"), (2, "(C c)) \n"), (3, "(D d)")]
    assert list(split_trees("\n (A (B b)\n (C c))\n")) == [(2, "(A (B b)\n (C c))\n")]


def test_a_tree_for_reading_has_a_line_for_each_constituent():
    tree = parse_tree("(S (NP (DT the) (NN dog)) (VBD ran) (PP (IN to) (NP (NN me))))")
    assert to_indented(tree) == "(S\n  (NP (DT the) (NN dog))\n  (VBD ran)\n  (PP\n    (IN to)\n    (NP (NN me))))"
    assert to_indented(Tree("NN", ("dog",))) == "(NN dog)"


def test_deep_nesting_does_not_overflow(tmp_path):
    depth = 20000
    text = TREE + "( " + "(S " * depth + "(NN x)" + ")" * depth + " )\n"
    source = treebank(tmp_path, text)
    assert len(source.examples("train", Report("x"))) == 2
    source.constituents = True
    # "The cat" and "was seen" are added; the nested constituents all have the same single word.
    assert len(source.examples("train", Report("x"))) == 4


@pytest.mark.parametrize("source", [Treebank("nowhere"), ParallelText("nowhere", "wmt/en-de", "en", "de")])
def test_a_missing_corpus_says_what_to_do(source):
    with pytest.raises(CorpusError, match="nowhere.*make_mini"):
        source.examples("train", Report("x"))


def sgm(*segments):
    """A test set of (document, segment, text)."""
    lines = [f'<doc docid="{d}">\n<seg id="{s}">{text}</seg>\n</doc>' for d, s, text in segments]
    return ('<srcset setid="x">\n' + "\n".join(lines) + "\n</srcset>").encode()


def test_segments_are_matched_by_document_and_segment(tmp_path):
    source = pairs(
        tmp_path,
        sgm(("a", 1, "One."), ("a", 2, "Two."), ("b", 1, "Three.")),
        sgm(("b", 1, "Drei."), ("A", 2, "Zwei."), ("a", 1, "Eins.")),
    )
    found = [(e.inputs, e.targets) for e in source.examples("dev", Report("x", 0))]
    assert found == [("One.", "Eins."), ("Two.", "Zwei."), ("Three.", "Drei.")]
    folder = tmp_path / "wmt" / "en-de"
    (folder / "dev.de").write_bytes(sgm(("a", 1, "Eins."), ("a", 2, "Zwei."), ("c", 1, "Drei.")))
    with pytest.raises(CorpusError, match="dev.de: lacks 1 segments of .*dev.en .*segment '1' of document 'b'"):
        source.examples("dev", Report("x"))
    (folder / "dev.de").write_bytes(sgm(("a", 1, "Eins."), ("a", 1, "Uno.")))
    with pytest.raises(CorpusError, match="dev.de: segment '1' of document 'a' occurs twice"):
        source.examples("dev", Report("x"))
    (folder / "dev.de").write_bytes(b"Eins.\nZwei.\nDrei.\n")  # a translation in plain lines, in the source's order
    assert [e.targets for e in source.examples("dev", Report("x", 0))] == ["Eins.", "Zwei.", "Drei."]


def trees(tmp_path, text, report):
    (tmp_path / "ptb").mkdir(exist_ok=True)
    (tmp_path / "ptb" / "a.mrg").write_text(text, encoding="utf-8")
    return Treebank(str(tmp_path), splits={"dev": ["*.mrg"]}).examples("dev", report)


def test_a_bracket_with_nothing_in_it_is_reported(tmp_path):
    report = Report("x")
    text = "( (S (NP (NN )) (VP (VBD ran))))\n( (S (NP) (VP (VBD ran))))\n( (S (NP (NN a)) (VP (VBD ran))))\n"
    assert [tree.inputs for tree in trees(tmp_path, text, report)] == ["a ran"]
    assert ["'NN'" in r or "'NP'" in r for r in report.skipped.values()] == [True, True]
    assert all("has neither a word nor another bracket in it" in reason for reason in report.skipped.values())


def test_remarks_outside_of_trees_are_passed_over(tmp_path):
    text = "*x*x*x*\n;; (a remark\n# one) more\n( (S (NP (NN a))\n(VP (VBD ran)) (: ;)\n ))\n%% last (\n( (S (NN b)))\n"
    text = text.replace("\n(VP", "\n  (VP")
    found = trees(tmp_path, text, Report("x", 0))
    assert [(tree.inputs, tree.origin.rsplit(":", 1)[1]) for tree in found] == [("a ran ;", "4"), ("b", "8")]


def test_a_line_inside_of_a_tree_is_no_remark_whatever_it_begins_with(tmp_path):
    (example,) = trees(tmp_path, "( (S (NP (CD ten) (NN\n% )) (VP (VBD went) (NP (NN\n; )))))\n", Report("x", max_bad=0))
    assert example.inputs == "ten % went ;"


def test_unicode_blanks_stay_inside_their_word(tmp_path):
    (tree,) = trees(tmp_path, "( (S (NP (CD 10\xa0000) (NN a\u2028b)) (VP (VBD ran))))", Report("x", 0))
    assert tree.inputs == "10_000 a_b ran" and tree.targets == "(S (NP CD NN )NP (VP VBD )VP )S"
    report = Report("x")
    with pytest.raises(CorpusError):
        trees(tmp_path, "( (S (NP (CD \xa0)) (VP (VBD ran))))", report)
    assert "only consists of special space" in next(iter(report.skipped.values()))


@pytest.mark.parametrize("root", ["", "TOP", "ROOT", "S1"])
def test_roots_are_alike_whatever_they_are_called(tmp_path, root):
    one, several = trees(tmp_path, f"({root} (S (NN a)))\n({root} (S (NN a)) (. .))", Report("x", 0))
    assert one.targets == "(S NN )S" and several.targets == "(S NN )S ."
