"""Tests that the report of made-up results is complete, well-formed and self-contained, and that the JSON has all numbers."""

import html.parser
import json
import re
import shutil

import numpy as np
import pytest

from t2t_mm.common.command import matching_runs
from t2t_mm.common.errors import RunError
from t2t_mm.lab.tables.report import text
from t2t_mm.lab.tables.report.gather import gather
from t2t_mm.lab.tables.report.write import write
from t2t_mm.lab.tables.reproduce import Study
from t2t_mm.lab.tables.runner import missing
from tests.lab.tables import fixture

VOID = {"meta", "br"}


class Page(html.parser.HTMLParser):
    """Checks that every tag is closed by its like; collects attributes and the text of table cells."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.cells, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "text"} & set(self.open):
            self.cells.append(data)


@pytest.fixture
def written(tmp_path):
    _, planned = fixture.make(str(tmp_path), seeds=2)
    for one in planned:
        if one.run.name in ("joint", "alone"):
            fixture.finish(one, {"joint": 1.0, "alone": 1.2}[one.run.name])
    found = gather(fixture.TABLES, planned, ["parsing"])
    paths = write(str(tmp_path / "out" / "tables"), "python bin/reproduce.py", 12.0, found)
    return [open(path, encoding="utf-8").read() for path in paths]


def test_the_record_has_what_results_have_and_the_means_by_hand(written):
    record = json.loads(written[0])
    assert {"command", "commit", "date", "cores", "processor", "versions", "seed", "minutes", "results"} <= set(record)
    assert record["seed"] == [0, 1] and record["minutes"] == 12.0
    found = record["results"]
    (row,) = found["tables"][1]["rows"]
    (cell,) = row["cells"]
    assert cell["dev"]["values"] == [80.0, 81.0] and cell["dev"]["mean"] == 80.5
    assert cell["dev"]["std"] == pytest.approx(0.5**0.5)
    assert found["runs"]["joint"] == {
        "steps": 4, "best_step": 4.0, "seeds": 2, "minutes": 3.0, "device": "this machine", "parameters": 1234, "gin": "",
        "init_from": "",
    }  # fmt: skip
    assert found["missing"] == {"look": [0, 1], "tuned": [0, 1]}
    assert found["experts"]["encoder"]["shares"]["parsing"] == [0.25, 0.75, 0.0]


def test_runs_on_different_examples_are_not_compared(tmp_path):
    _, planned = fixture.make(str(tmp_path), seeds=1)
    joint, alone = planned[:2]
    fixture.finish(joint, 1.0)
    fixture.finish(alone, 1.2, longest=9)
    with pytest.raises(RunError, match="parsing, dev: joint, seed 0 and alone, seed 0 were scored on different examples"):
        gather(fixture.TABLES, planned, ["parsing"])


def test_joint_is_found_better_on_the_figure_where_it_is(written):
    results = json.loads(written[0])["results"]["tables"][0]["comparisons"]
    by_metric = {result["metric"]: result for result in results}
    perplexity = by_metric["log_perplexity"]
    assert perplexity["difference"] == pytest.approx(-0.2, abs=0.05) and perplexity["beyond_noise"]
    assert perplexity["seeds"] == [2, 2] and perplexity["examples"] == 30
    assert not by_metric["sequence_accuracy"]["beyond_noise"]


def test_classes_are_not_compared_as_sequences_too(tmp_path):
    _, planned = fixture.make(str(tmp_path), seeds=1)
    for one in planned[:2]:
        fixture.finish(one, 1.0, longest=1)
    (results, _) = gather(fixture.TABLES, planned, ["parsing"])["tables"]
    assert [result["metric"] for result in results["comparisons"]] == ["log_perplexity", "token_accuracy"]


def test_the_page_is_well_formed_and_needs_nothing_else(written):
    page = Page()
    page.feed(written[2])
    page.close()
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object"} & page.tags
    assert not {"src", "href", "onload", "onclick"} & {name for name, _ in page.attributes}
    assert "url(" not in written[2] and "@import" not in written[2] and "http" not in written[2]
    assert "Joint &lt;and&gt; alone" in written[2] and "a &lt;b&gt; &amp; c" in written[2]
    assert written[2].count("<svg ") == 3 + 1 + 4  # three figures compared, one learning curve, two mixtures


def numbers(value):
    """Every number in a JSON value, as the reports may print it."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        for form in ("{:.1f}", "{:.2f}", "{:.3f}", "{:.4f}", "{:g}", "{:,}"):
            yield form.format(value)
    elif isinstance(value, str):  # the paper's figures in the findings
        yield from re.findall(r"\d[\d,]*\.\d+", value)


def test_every_number_in_the_tables_is_in_the_json(written):
    record = json.loads(written[0])
    known = set(numbers(record)) | {"95"}  # 95% intervals
    page = Page()
    page.feed(written[2].split("<h2>Learning curves")[0])  # what follows are plots with axes
    shown = {found for cell in page.cells for found in re.findall(r"(?<![\w.])-?\d[\d,]*\.\d+", cell)}
    assert len(shown) > 10 and shown <= known
    body = written[1].split("nats per token")[1]
    assert set(re.findall(r"(?<![\w.])-?\d[\d,]*\.\d+", body)) <= known


def test_the_markdown_shows_dev_test_and_paper(written):
    assert "| parsing | " in written[1] and "[1.5]" in written[1] and "[95]" in written[1]
    assert re.search(r"\| parsing \| 80\.5 ± 0\.7 \(80\.5 ± 0\.7\) \|", written[1])
    assert "These runs are not finished and therefore left out: seeds 0 and 1 of look, tuned." in written[1]
    assert "| joint helps | parsing | log-perplexity | -0." in written[1]


def test_a_cell_without_a_result_is_a_dash():
    empty = {"metric": "bleu", "paper": None, "dev": None, "test": None}
    assert text.cell(empty) == "–" and text.cell({"paper": 26.0}) == "[26]"


def test_scores_of_a_report_spare_the_runs_of_the_same_configuration(tmp_path):
    _, planned = fixture.make(str(tmp_path), seeds=1)
    joint, alone, look, tuned = planned
    fixture.finish(joint, 1.0)
    fixture.finish(alone, 1.2)
    kept = json.loads(json.dumps(gather(fixture.TABLES, planned, ["parsing"])["scores"]))
    before = joint.scores()
    shutil.rmtree(tmp_path / "runs")
    kept["alone"]["0"]["configuration"] = "another"
    assert kept["joint"]["0"]["device"] == "this machine"
    kept["joint"]["0"]["device"] = "NVIDIA H200, with JAX"
    assert [one.keep(kept) for one in planned] == [True, False, False, False]
    assert not joint.keep(kept)  # they are there already
    assert {name: value for name, value in joint.scores().items() if name not in ("configuration", "device")} == before
    again = gather(fixture.TABLES, planned, ["parsing"])
    assert again["runs"]["joint"]["device"] == again["scores"]["joint"]["0"]["device"] == "NVIDIA H200, with JAX"
    # The joint run's weights are gone, and what starts from them is not scored.
    assert [job.name for job in missing(planned)][:3] == ["train joint, seed 0", "train alone, seed 0", "score alone, seed 0"]
    fixture.finish(tuned, 1.0)
    fixture.finish(look, 1.0)
    shutil.rmtree(joint.weights + "/checkpoints")
    assert [job.name for job in missing(planned)] == ["train alone, seed 0", "score alone, seed 0"]


def test_cosines_are_read_from_the_events_of_the_joint_run_and_kept_with_its_scores(tmp_path, monkeypatch):
    _, planned = fixture.make(str(tmp_path), seeds=1)
    fixture.finish(planned[0], 1.0)
    measured = {"parsing": {"imagenet": 0.5}, "imagenet": {"parsing": 0.5}}
    monkeypatch.setattr("t2t_mm.lab.tables.report.gather.cosines", lambda folder: measured if "joint" in folder else {})
    assert gather(fixture.TABLES, planned, ["parsing"])["scores"]["joint"]["0"]["cosines"] == measured


def test_a_name_that_fits_no_run_is_refused(tmp_path):
    study = Study("mini", ["2"], 1, str(tmp_path / "runs"), "bin")
    with pytest.raises(RunError, match=r"No run matches 'alone_of_\*' .*; choose from alone_coco, "):
        study.run(only=["joint", "alone_of_*"])


def test_a_message_does_not_list_hundreds_of_runs():
    names = [f"run_{number}" for number in range(104)]
    with pytest.raises(RunError, match=r"choose from run_0, .*, run_19 and 84 more\.$"):
        matching_runs(["joint"], names)
    assert matching_runs(["run_10*"], names) == ["run_10", "run_100", "run_101", "run_102", "run_103"]


def test_an_older_report_names_the_device_of_a_run_only_once(tmp_path):
    study = Study("mini", ["1"], 1, str(tmp_path / "runs"), "bin")
    scores = {"configuration": study.planned[0].digest, "step": 1}
    results = {"scores": {"joint": {"0": scores}}, "runs": {"joint": {"device": "NVIDIA H200, with JAX"}}}
    (tmp_path / "kept.json").write_text(json.dumps({"results": results}))
    assert study.keep(str(tmp_path / "kept.json")) == ["joint, seed 0"]
    assert study.planned[0].device() == "NVIDIA H200, with JAX"


def test_what_is_no_report_is_refused(tmp_path):
    (tmp_path / "other.json").write_text('{"results": {}}')
    study = Study("mini", ["1"], 1, str(tmp_path / "runs"), "bin")
    with pytest.raises(RunError, match="other.json: this is not a report of bin/reproduce.py"):
        study.keep(str(tmp_path / "other.json"))
    with pytest.raises(RunError, match="no such report"):
        study.keep(str(tmp_path / "none.json"))


def test_figures_through_english_have_the_decimals_of_their_metric():
    from t2t_mm.lab.tables.report.figures import number

    assert number(0.7, "cider_pivot") == number(0.7, "cider") == "0.700" and number(92.55, "bleu_pivot") == "92.5"


@pytest.mark.parametrize("corpora", ["mini", "real"])
def test_the_page_of_the_findings_says_what_the_names_of_corpora_stand_for(corpora):
    from t2t_mm.lab.tables.report.findings import page

    record = {
        "command": "c", "commit": "1", "date": "today", "cores": 2, "minutes": 1, "seed": 0, "versions": {},
        "results": {"corpora": corpora, "findings": []},
    }  # fmt: skip
    assert ("synthetic mini corpora" in page(record)) == (corpora == "mini")


def test_a_finding_is_only_answered_if_the_interval_excludes_zero(tmp_path):
    from t2t_mm.lab.tables.report.findings import findings, markdown, questions

    def compared(run, other, problem, low, high):
        return {
            "problem": problem, "run": run, "other": other, "metric": "log_perplexity", "difference": (low + high) / 2,
            "low": low, "high": high, "seeds": [5, 3],
        }  # fmt: skip

    found = findings([
        {"comparisons": [
            compared("joint", "alone_wsj_parsing", "wsj_parsing", -0.06, -0.02),
            compared("joint", "alone_wsj_speech", "wsj_speech", -0.02, 0.03),
            compared("parsing_with_imagenet", "alone_wsj_parsing", "wsj_parsing", 0.01, 0.02),
            compared("joint", "alone_wmt_en_de", "wmt_en_de", 0.01, 0.03),
            compared("alone_imagenet", "alone_imagenet_without_mixture", "imagenet", -0.01, 0.01),
            compared("joint", "joint_without_mixture", "coco", -0.03, -0.01),
            compared("joint", "joint_without_mixture", "wmt_en_de", 0.01, 0.03),
            compared("joint", "joint_without_mixture", "wmt_de_en", -0.01, 0.03),
        ]}
    ])  # fmt: skip
    assert [one["question"] for one in found] == [question.text for question in questions()]
    scarce, steeper, plenty, unrelated, block, mixture = found
    verdicts = {one["label"]: one["verdict"] for one in scarce["evidence"]}
    assert verdicts["parsing with 1,000 trees"] == "yes" and verdicts["WSJ speech"] == "undecided"
    assert verdicts["parsing with 100 trees"] == "not measured"
    answers = (scarce["answer"], plenty["answer"], unrelated["answer"], block["answer"], mixture["answer"])
    assert answers == ("yes (apart from what is undecided)", "yes", "no", "undecided", "mixed")
    assert steeper["answer"] == "not measured"
    text = "\n".join(markdown(found))
    assert "- parsing with 1,000 trees: yes; -0.040 nats per token, 95% interval -0.060 to -0.020 (5 and 3 seeds)." in text
    assert "- parsing with 100 trees: not measured yet." in text


def test_sums_of_several_runs_are_measured_too():
    """The four translations lose 0.1, 0.2, 0.3 and 0.4 nats; parsing gains 0.5 with the fewest trees and 0.1 with the most."""
    from t2t_mm.lab.tables.report.findings import findings, markdown

    levels = {
        "joint": 2.0, "joint_100_trees": 1.0, "alone_wsj_parsing_100_trees": 1.5, "joint_5000_trees": 0.9,
        "alone_wsj_parsing_5000_trees": 1.0, "alone_wmt_en_de": 1.9, "alone_wmt_de_en": 1.8, "alone_wmt_en_fr": 1.7,
        "alone_wmt_fr_en": 1.6,
    }  # fmt: skip

    def examples(run, split, problem, figure):
        assert (split, figure) == ("dev", "log_perplexity")
        tokens = np.arange(5.0, 25.0)
        return [((levels[run] + shift) * tokens, tokens) for shift in (-0.01, 0.0, 0.01)] if run in levels else []

    found = findings([], examples)
    (steeper,), plenty = found[1]["evidence"], found[2]["evidence"]
    assert steeper["difference"] == pytest.approx(-0.4) and found[1]["answer"] == "yes"
    assert plenty[-1]["difference"] == pytest.approx(0.25) and found[2]["answer"] == "yes"
    text = "\n".join(markdown(found))
    assert "- mean of the four translations: yes; +0.250 nats per token, 95% interval +0.2" in text
    assert "- the difference with 100 trees minus that with 5,000: yes; -0.400 nats" in text
    del levels["alone_wmt_en_fr"]
    assert findings([], examples)[2]["answer"] == "not measured"


def test_the_use_of_experts_is_told_beside_the_parameters():
    from t2t_mm.lab.tables.report.findings import findings, markdown, use_of_experts
    from t2t_mm.lab.tables.tables import CLASSES_WITHOUT_ATTENTION

    experts = {"encoder": {
        "shares": {"a": [0.5, 0.5, 0.0, 0.0], "b": [0.0, 0.25, 0.25, 0.5]},
        "overlap": {"a": {"a": {"mean": 1.0}, "b": {"mean": 0.25}}, "b": {"a": {"mean": 0.25}, "b": {"mean": 1.0}}},
    }}  # fmt: skip
    runs = {"joint": {"parameters": 5000}, "joint_without_mixture": {"parameters": 2000}}
    said = use_of_experts(experts, runs)
    assert "has 5,000 parameters, and 2,000 without the mixtures" in said
    # exp(entropy) is 2 for a and 2^1.5 for b.
    assert "in the encoder, a problem uses 2.4 of 4 experts; two problems share 25% of their gates" in said
    answered = findings([], None, experts, runs)
    assert said in markdown(answered) and CLASSES_WITHOUT_ATTENTION in markdown(answered)
    assert [bool(one.get("note")) for one in answered] == [False] * 3 + [True] * 3
    assert use_of_experts(experts, {"joint": {"parameters": 1}}) == use_of_experts({}, runs) == ""


def test_pairs_that_were_never_trained_are_compared_with_the_way_through_english():
    from t2t_mm.lab.tables.report.findings import findings, markdown

    def cell(run, metric, *values):
        dev = {"mean": sum(values) / len(values), "seeds": len(values)} if values else None
        return {"run": run, "problem": "p", "metric": metric, "dev": dev, "test": None}

    def tables(*rows):
        columns = ["chance", "command at the start", "with autoencoders", "command at the source"]
        options = [
            {"label": name, "cells": [cell("chance", "bleu", *chance or [0.1]), cell("zero_shot", "bleu", 0.2, 0.4),
                                      cell("zero_shot_autoencoders", "bleu", best), cell("zero_shot_source", "bleu")]}
            for name, best, *chance in rows
        ]  # fmt: skip
        trained = {"label": "WSJ speech (log-perplexity; trained)", "cells": [cell("joint", "log_perplexity", 1.0)] * 4}
        through = [{"label": name, "cells": [cell("zero_shot", "bleu_pivot", 90.0)]} for name, *_ in rows]
        return [
            {"name": "zero_shot_options", "columns": columns, "rows": [*options, trained], "comparisons": []},
            {"name": "zero_shot", "columns": ["through English"], "rows": through, "comparisons": []},
        ]

    (*_, found) = findings(tables(("German → French", 45.0), ("image → German", 9.0), ("speech → tree", 8.9)))
    assert [one["verdict"] for one in found["evidence"]] == ["yes", "partly", "no"] and found["answer"] == "mixed"
    text = "\n".join(markdown([found]))
    assert (
        "- German → French: yes; 45.0 with the best variant (with autoencoders; 1 seed), 0.3 with the joint run, 0.1 with a "
        "trivial answer, 90.0 through English."
    ) in text
    assert findings(tables(("a", 80.0)))[-1]["answer"] == "yes"
    # No better than the most frequent answer.
    assert findings(tables(("a", 80.0, 80.0)))[-1]["answer"] == "no"
    assert all("never" not in one["question"] for one in findings(tables(("a", 80.0))[:1]))


def test_the_findings_compare_runs_that_a_table_compares():
    from t2t_mm.lab.tables.report.findings import questions
    from t2t_mm.lab.tables.tables import declare

    declared = {(c.problem, c.run, c.other) for table in declare()[1] for c in table.comparisons}
    for question in questions():
        assert {(one.problem, one.run, one.other) for one in question.evidence} <= declared, question.text
    evidence = {(one.problem, one.run, one.other) for question in questions() for one in question.evidence}
    assert ("wsj_parsing", "parsing_with_imagenet_100_trees", "alone_wsj_parsing_100_trees") in evidence
