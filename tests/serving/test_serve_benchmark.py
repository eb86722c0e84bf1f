"""Tests the load benchmark as a whole, with its own servers and all of its cases."""

import shutil

import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example
from t2t_mm.lab.benchmarks import serve
from t2t_mm.problem import Problem


class Sentences:
    def examples(self, split, report):
        return [Example(text, "", text) for text in ("a b", "c", "d e f")]


# Answered alike by every version of the store.
PARSING = Problem("wsj_parsing", Sentences(), "language", "tree", "To-Parse-Tree")


def test_every_case_is_measured(store, tmp_path):
    shutil.copytree(store / "1", tmp_path / "7")
    found = serve.run(
        str(tmp_path), [PARSING], examples=4, concurrencies=(2,), seconds=0.3, timeout_seconds=3.0, soak_seconds=6.0,
        soak_workers=2, switch_seconds=0.5, c_api=False,
    )  # fmt: skip
    assert list(found) == [
        "wsj_parsing, concurrency 2, one by one", "wsj_parsing, concurrency 2, batches", "switch to a new version",
        *(case for case in found if case.startswith("one request alone: ")), "soak of 6 s",
    ]  # fmt: skip
    assert "one request alone: dearest" in found
    assert min(found[case]["requests_per_second"] for case in list(found)[:2]) > 0
    soak, switch = found["soak of 6 s"], found["switch to a new version"]
    assert soak["good_lost"] == soak["good_changed"] == switch["good_lost"] == switch["good_changed"] == 0
    assert soak["bad_slow_head"] > 0 and switch["seconds_to_the_new_version"] > 0


def test_first_answers_with_and_without_the_session_configuration(store, tmp_path):
    (tmp_path / "session.config").write_text("graph_options { rewrite_options { disable_meta_optimizer: true } }")
    found = serve._first_answers(str(store / "1"), str(tmp_path / "session.config"))
    for case in ("C API, TensorFlow's defaults", "C API, session.config and environment"):
        assert found[case]["cpu_seconds"] >= found[f"{case}, load"]["cpu_seconds"] > 0 and found[case]["peak_mb"] > 50
        assert found[f"{case}, wmt_en_de"]["resident_mb"] > 0


def test_an_absent_export_is_told(tmp_path):
    with pytest.raises(RunError, match="There is no export in .*Write one with bin/export.py and set serve.run.export_dir"):
        serve.run(str(tmp_path), [PARSING])
