"""Tests that the references of zero-shot problems describe the same image or recording as the English ones."""

import pytest

from t2t_mm.corpora.example import Report
from t2t_mm.corpora.treebank import delinearise
from t2t_mm.evaluation.baselines import baseline
from t2t_mm.evaluation.evaluate import score
from t2t_mm.mini.corpora import Sizes, make_mini
from t2t_mm.problems import paper, zero_shot

SIZES = Sizes(
    pairs=6, trees=3, images=1, scenes=5, utterances=8, speakers=2, held_out_pairs=4, held_out_trees=2,
    held_out_images=1, held_out_scenes=3, held_out_utterances=4, held_out_speakers=2, image_size=32, more_trees=7, few=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("corpora") / "mini")
    make_mini(path, 3, SIZES, processes=1)
    return path


def examples(problem, split):
    report = Report(problem.name, max_bad=0)
    return problem.source.examples(split, report)


PAIRS = {
    "wmt_de_fr": paper.wmt_de_fr, "wmt_fr_de": zero_shot.wmt_fr_de, "speech_tree": zero_shot.speech_tree,
    **{f"caption_{x}": lambda root, x=x: zero_shot.caption(root, x) for x in ("de", "fr")},
    **{f"speech_{x}": lambda root, x=x: zero_shot.speech(root, x) for x in ("de", "fr")},
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_each_has_a_few_examples_to_train_on_and_its_references_score_best(root, name):
    problem = PAIRS[name](root)
    assert problem.name == name
    train, dev = examples(problem, "train"), examples(problem, "dev")
    assert len(train) == 6 and len(dev) == len(examples(problem, "test")) == (3 if "caption" in name else 4)
    metric = {"caption": "bleu4", "speech_tree": "f1"}.get(name if "tree" in name else name.split("_")[0], "bleu")
    best = score(problem, [example.targets for example in dev], dev)[metric]
    chance = score(problem, baseline(problem, train, dev)[0], dev)[metric]
    assert best == pytest.approx(100) and chance < 90


def test_they_are_of_the_same_pictures_and_sounds_as_the_english(root):
    english = examples(paper.coco(root), "dev")
    for language in ("de", "fr"):
        foreign = examples(zero_shot.caption(root, language), "dev")
        assert [e.inputs.rsplit("/", 1)[1] for e in foreign] == [e.inputs.rsplit("/", 1)[1] for e in english]
        assert all(len(e.references) == 5 for e in foreign)
    spoken = {e.inputs: e.targets for e in examples(paper.wsj_speech(root), "dev")}
    for language in ("de", "fr"):
        assert {e.inputs for e in examples(zero_shot.speech(root, language), "dev")} == set(spoken)
    for example in examples(zero_shot.speech_tree(root), "dev"):
        words = [*spoken[example.inputs].split(), "."]
        tree, repaired = delinearise(example.targets.split(), words)
        assert not repaired and tree.words() == words


def test_more_trees_are_in_sections_that_the_usual_split_leaves_out(root):
    usual = examples(paper.wsj_parsing(root), "train")
    more = paper.wsj_parsing(root, splits={"train": ["wsj/0[0-9]/*.mrg", "wsj/[12]?/*.mrg"]})
    every = [example.inputs for example in examples(more, "train")]
    assert len(usual) == 3 and len(every) == len(set(every)) == 3 + 7 + 2 * 2
    assert {example.inputs for example in usual} < set(every)
