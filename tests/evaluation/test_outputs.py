"""Tests that an evaluation replaces the results of an earlier one only when it is finished, and never those of others."""

import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.evaluation.outputs import Outputs, outputs


@pytest.mark.parametrize(
    "arguments, path, answers",
    [
        (("run", "test"), "run/evaluation_test.json", "run/answers_test"),
        (("run", "dev", ["coco"]), "run/evaluation_dev_coco.json", "run/answers_dev_coco"),
        (("run", "dev", ["coco", "a"]), "run/evaluation_dev_coco+a.json", "run/answers_dev_coco+a"),
        (("run", "own", ["coco"]), "run/evaluation_own.json", "run/answers_own"),
        (("run", "dev", ["coco"], "e.json", ""), "e.json", None),
        (("run", "dev", [], None, "a"), "run/evaluation_dev.json", "a"),
    ],
)
def test_some_problems_have_files_of_their_own(arguments, path, answers):
    assert outputs(*arguments) == Outputs(path, answers)


def test_names_that_are_too_long_need_the_flags():
    problems = [f"problem_{number}" for number in range(30)]
    with pytest.raises(RunError, match="30 problems are too long for the name of a file. Give --output and --answers."):
        outputs("run", "test", problems)
    assert outputs("run", "test", problems, "e.json", "answers") == Outputs("e.json", "answers")


def test_earlier_results_stay_until_the_evaluation_is_finished(tmp_path):
    made = Outputs(f"{tmp_path}/e.json", f"{tmp_path}/answers")
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "coco.jsonl").write_text("earlier")
    (tmp_path / "answers" / "notes").write_text("mine")
    for _ in range(2):  # the first one is stopped
        made.begin()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["answers"]
        for path in (made.unfinished, made.unfinished.replace(".json", ".md")):
            with open(path, "w") as file:
                file.write("{}")
        (tmp_path / "answers.unfinished").mkdir()
        (tmp_path / "answers.unfinished" / "coco.jsonl").write_text("later")
        assert (tmp_path / "answers" / "coco.jsonl").read_text() == "earlier"
    made.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers"]
    assert (tmp_path / "answers" / "coco.jsonl").read_text() == "later"
    assert (tmp_path / "answers" / "notes").read_text() == "mine"
    made.finish()  # without answers, because nothing could be evaluated


def test_without_answers_no_folder_is_made(tmp_path):
    made = Outputs(f"{tmp_path}/e.json", None)
    made.begin()
    made.finish()
    assert made.unfinished_answers is None and not list(tmp_path.iterdir())
