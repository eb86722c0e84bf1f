"""Tests that losses are read from the event files of a run."""

import os

import pytest
import tensorflow as tf

from t2t_mm.evaluation import curves
from t2t_mm.lab import summary


def write_events(model_dir, steps, loss):
    writer = tf.summary.create_file_writer(os.path.join(model_dir, "events"))
    for step in steps:
        with writer.as_default(step=step):
            tf.summary.scalar("wmt_en_de/loss", loss(step))
            tf.summary.scalar("wmt_en_de/accuracy", 0.5)
            tf.summary.scalar("gradient_norm", 1.0)
    writer.close()


def test_losses_of_each_problem_at_places_spread_evenly(tmp_path):
    write_events(tmp_path, range(100), lambda step: 10.0 - step / 10)
    found = curves.curves(str(tmp_path))
    assert list(found["train"]) == ["wmt_en_de"] and found["dev"] == {}
    few = curves.thinned(found["train"]["wmt_en_de"], points=4)
    assert list(few) == [0, 33, 66, 99] and few[99] == pytest.approx(0.1, abs=1e-5)


def test_resumed_run_counts_once(tmp_path):
    write_events(tmp_path, [1, 2, 3], lambda step: 5.0)
    write_events(tmp_path, [3, 4], lambda step: 4.0)  # the step after the checkpoint is trained again
    assert list(curves.curves(str(tmp_path))["train"]["wmt_en_de"]) == [1, 2, 3, 4]


def test_cosines_are_means_and_symmetric(tmp_path):
    writer = tf.summary.create_file_writer(os.path.join(tmp_path, "events"))
    for step, value in ((10, 0.5), (20, -0.1)):
        with writer.as_default(step=step):
            tf.summary.scalar(f"{curves.COSINE}coco/loss", value)  # whatever the problem is called
            tf.summary.scalar(f"{curves.COSINE}coco/wsj_parsing", value + 0.1)
    writer.close()
    found = curves.cosines(str(tmp_path))
    assert found["coco"] == pytest.approx({"loss": 0.2, "wsj_parsing": 0.3}) and found["loss"] == pytest.approx({"coco": 0.2})
    assert curves.curves(str(tmp_path))["train"] == {}
    page = summary._cosines(found)
    assert page.splitlines()[2:] == [
        "|  | coco | loss | wsj_parsing |", "| --- | ---: | ---: | ---: |", "| coco |  | 0.20 | 0.30 |",
        "| loss | 0.20 |  |  |", "| wsj_parsing | 0.30 |  |  |",
    ]  # fmt: skip


def test_no_events_no_losses(tmp_path):
    assert curves.curves(str(tmp_path)) == {"train": {}, "dev": {}}


def test_cut_off_events_count_up_to_the_cut(tmp_path):
    write_events(tmp_path, [1, 2, 3], lambda step: 5.0)
    (path,) = (tmp_path / "events").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert list(curves.curves(str(tmp_path))["train"]["wmt_en_de"]) == [1, 2, 3]  # the cut is in a later record


def test_page_has_a_column_for_each_step():
    page = summary._losses({"coco": {1: 5.0, 20: 3.25}, "wsj_parsing": {20: 2.0}})
    assert page.splitlines()[0] == "| training loss at step | 1 | 20 |"
    assert page.splitlines()[2:] == ["| coco | 5.00 | 3.25 |", "| wsj_parsing |  | 2.00 |"]
