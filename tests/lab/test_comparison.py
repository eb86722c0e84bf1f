"""Tests the comparison of two runs with made-up evaluations and events."""

import json
import xml.etree.ElementTree

import pytest
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.lab import comparison, results

PROBLEM = {"wer": 12.5, "log_perplexity": 0.5, "sequence_accuracy": 75.0}


def evaluated(folder, wer, nats, problem="digits", seed=0):
    writer = tf.summary.create_file_writer(str(folder / "events" / "dev_in_training"))
    with writer.as_default():
        for step, value in nats.items():
            tf.summary.scalar(f"{problem}/log_perplexity", value, step=step)
    writer.close()
    record = {
        "results": {problem: PROBLEM | {"wer": wer}}, "baselines": {problem: {"wer": 90.0}}, "step": max(nats),
        "training_minutes": 2.0, "seed": seed,
    }  # fmt: skip
    (folder / "evaluation_test.json").write_text(json.dumps(record))
    return str(folder)


def test_runs_of_a_problem_share_a_table_and_a_plot(tmp_path):
    for name in ("tuned", "alone", "other"):
        (tmp_path / name).mkdir()
    tuned = evaluated(tmp_path / "tuned", 12.5, {20: 1.0, 40: 0.5})
    alone = evaluated(tmp_path / "alone", 80.0, {20: 3.0, 40: 2.5})
    other = evaluated(tmp_path / "other", 1.0, {10: 1.5}, "words")
    runs = comparison.read([tuned, alone, other], "test")
    output = str(tmp_path / "found.json")
    plots = comparison.write_plots(runs, output)
    assert plots == {"digits": "found_digits.svg", "words": "found_words.svg"}
    results.write_results(output, "compare", 0, 4.0, runs, comparison.page, plots=plots)
    lines = (tmp_path / "found.md").read_text().splitlines()
    first, second = (lines[lines.index(f"## {problem}") :] for problem in ("digits", "words"))
    assert "wer: lower is better." in first
    assert "| tuned | 40 | 12.50 | 90.00 | 0.50 | 75.00 | 2.00 |" in first
    assert "| alone | 40 | 80.00 | 90.00 | 0.50 | 75.00 | 2.00 |" in first[: first.index("## words")]
    assert "| other | 10 | 1.00 | 90.00 | 0.50 | 75.00 | 2.00 |" in second and len(second) < len(first)
    assert "![Nats per token on dev by update](found_digits.svg)" in first
    drawn = xml.etree.ElementTree.parse(tmp_path / "found_digits.svg").getroot()
    names = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    heights = [
        [float(point.split(",")[1]) for point in line.get("points").split()]
        for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")
    ]
    assert {"tuned", "alone"} <= set(names) and len(heights) == 2
    assert heights[1][0] < heights[1][1] < heights[0][0] < heights[0][1]  # the y axis of SVG points down


def test_runs_of_one_name_are_told_apart(tmp_path):
    folders = [tmp_path / run / "seed_0" for run in ("joint", "alone")]
    for folder in folders:
        folder.mkdir(parents=True)
    joint, alone = evaluated(folders[0], 12.5, {20: 1.0}), evaluated(folders[1], 80.0, {20: 3.0}, seed=3)
    runs = comparison.read([f"{joint}/", alone], "test")
    lines = comparison.tables(runs)
    assert "| joint/seed_0 | 20 | 12.50 |" in lines and "| alone/seed_0 | 20 | 80.00 |" in lines
    assert [run["seed"] for run in runs.values()] == [0, 3]
    assert "| seed_0 | 20 | 12.50 |" in comparison.tables(comparison.read([f"{joint}/"], "test"))


def test_a_run_without_evaluation_is_named(tmp_path):
    with pytest.raises(RunError, match=r"evaluation_dev.json: no such file. Evaluate the run first: .* --split=dev"):
        comparison.read([str(tmp_path)], "dev")
    with pytest.raises(RunError, match=r"evaluation_own.json: no such file. .* --problem=… --inputs=… --references=…$"):
        comparison.read([str(tmp_path)], "own")


@pytest.mark.parametrize("content", ['{"results":', "{}", "[]"])
def test_a_damaged_evaluation_is_named(tmp_path, content):
    (tmp_path / "evaluation_test.json").write_text(content)
    with pytest.raises(RunError, match=f"{tmp_path}/evaluation_test.json: is damaged .*Evaluate the run again"):
        comparison.read([str(tmp_path)], "test")
