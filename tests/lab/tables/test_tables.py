"""Tests which runs the tables share, and that a new problem and a new ablation take one row each."""

import os

import pytest

from t2t_mm.common import config
from t2t_mm.common.errors import RunError
from t2t_mm.experiment import Experiment
from t2t_mm.lab.tables import tables
from t2t_mm.lab.tables.reproduce import CORPORA, Study
from t2t_mm.lab.tables.runs import Setting, plan
from t2t_mm.lab.tables.tables import Run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_every_cell_is_of_a_declared_run_and_the_joint_run_is_shared():
    runs, declared = tables.declare()
    for table in declared:
        assert set(table.run_names()) <= set(runs), table.name
        assert all(len(cells) == len(table.columns) for _, cells in table.rows)
    assert all("joint" in table.run_names() for table in declared if table.name not in ("pairs", "partner_settings"))
    assert len({run.name for run in runs.values()}) == len(runs)


def test_single_training_differs_from_joint_training_by_its_problems_alone(tmp_path):
    runs, _ = tables.declare()
    both = [runs["joint"], runs["alone_wsj_parsing"]]
    joint, alone = plan(both, Setting(str(tmp_path), (CORPORA["mini"],), (), 1))
    assert len(plan(both, Setting(str(tmp_path), (CORPORA["mini"],), (), 3))) == 10  # five of each
    fewer = Run("few", more_seeds=-2)
    assert [len(plan([fewer], Setting(str(tmp_path), (CORPORA["mini"],), (), seeds))) for seeds in (1, 2, 3, 5)] == [1, 2, 1, 3]
    assert joint.steps == alone.steps
    changed = set(alone.configuration.splitlines()) ^ set(joint.configuration.splitlines())
    assert changed == {"experiment.Experiment.only = ['wsj_parsing']"}


def problems_of(run):
    restored = ("autoencoder_en", "autoencoder_de", "autoencoder_fr") if "gin/tables/autoencoders.gin" in run.gin_files else ()
    captions = ("restored_caption_de", "restored_caption_fr") if "gin/tables/caption_texts.gin" in run.gin_files else ()
    return [*(row.name for row in tables.PROBLEMS), *restored, *captions]


@pytest.mark.parametrize("corpora, size", [("mini", None), ("real", "base"), ("real", "paper"), ("real", "mini")])
def test_every_run_is_configured_without_an_unused_binding(corpora, size, tmp_path):
    study = Study(corpora, [], 1, str(tmp_path), "bin", size=size)
    for planned in study.planned:
        config.parse(planned.gin_files, planned.bindings)
        experiment = config.configured(Experiment)()
        assert [p.name for p in experiment.problems] == list(planned.run.only or problems_of(planned.run))
        experiment.model(vocabulary_size=300, commands=("To-Class",), num_classes={"imagenet": 2})
        for group in ("schedule", "optimizer", "objective", "evaluation", "checkpointing", "numerics", "observation"):
            config.value_of(f"loop.train.{group}").scoped_configurable_fn()
        with pytest.raises(config.ConfigError) as unused:  # the loop itself, which has not been called
            config.check_all_used()
        lines = str(unused.value).splitlines()[1:]
        assert all(line.startswith("  t2t_mm.training.loop.train.") for line in lines), lines


def test_a_single_run_of_the_papers_size_has_sixty_experts(tmp_path):
    """Paper, 2.3: 240 for eight problems, 60 for one; a run that goes on from the joint one keeps its model."""

    def experts(size):
        found = {}
        for planned in Study("real", ["2", "3", "4"], 1, str(tmp_path), "bin", size=size).planned:
            config.parse(planned.gin_files, planned.bindings)
            found[planned.run.name] = config.value_of("moe.MixtureOfExperts.num_experts")
        return found

    paper = experts("paper")
    assert {name for name, count in paper.items() if count == 240} == {
        "joint", "parsing_with_imagenet", "joint_without_mixture", "joint_without_attention",
        "joint_mean_instead_of_attention",
    }  # fmt: skip
    assert all(count == 60 for name, count in paper.items() if name.startswith("alone_"))
    assert set(experts("base").values()) == {30}
    runs, _ = tables.declare()
    setting = Setting(str(tmp_path), (CORPORA["mini"],), (), 1, alone=("gin/tables/alone_paper.gin",))
    *_, tuned = plan([runs["joint"], runs["tuned_wmt_de_fr"]], setting)
    assert "gin/tables/alone_paper.gin" not in tuned.gin_files


NINTH = """
from __gin__ import dynamic_registration
from t2t_mm import experiment
from t2t_mm.problems import paper
experiment.Experiment.more = [@paper.wmt_de_fr()]
paper.wmt_de_fr.root = %corpora
"""
WITHOUT_DROPOUT = """
from __gin__ import dynamic_registration
from t2t_mm.layers import convolution
convolution.ConvBlock.dropout = 0.0
"""


def test_a_ninth_problem_and_a_new_ablation_are_a_file_and_a_row_each(tmp_path):
    ninth, ablation = tmp_path / "ninth.gin", tmp_path / "without_dropout.gin"
    ninth.write_text(NINTH)
    ablation.write_text(WITHOUT_DROPOUT)
    declaration = tables.declare(
        [*tables.PROBLEMS, tables.ProblemRow("wmt_de_fr", "WMT DE→FR", ("bleu",))],
        [*tables.VARIANTS, tables.Variant("without_dropout", "without dropout", str(ablation))],
    )
    study = Study("mini", ["2", "4"], 1, str(tmp_path), "bin", [str(ninth)], declaration=declaration)
    names = [planned.run.name for planned in study.planned]
    assert {"alone_wmt_de_fr", "alone_imagenet_without_dropout", "joint_without_dropout"} <= set(names)
    of = {planned.run.name: planned.configuration for planned in study.planned}
    assert "experiment.Experiment.only = ['wmt_de_fr']" in of["alone_wmt_de_fr"]
    assert "@paper.wmt_de_fr()" in of["joint"] and "ConvBlock.dropout = 0.0" in of["joint_without_dropout"]
    two, four = declaration[1][1], declaration[1][3]
    assert two.rows[-1][0] == "WMT DE→FR (BLEU)" and four.columns[-1] == "without dropout: accuracy"
    assert study.problems[-1] == "wmt_de_fr"


def test_a_run_is_not_begun_from_weights_that_are_not_trained(tmp_path):
    study = Study("mini", ["zero_shot_options"], 1, str(tmp_path), "bin")
    for only, needed in (("joint_means", "joint_every_contrast_autoencoders"), ("zero_shot", "joint")):
        with pytest.raises(RunError, match=f"{only}, seed 0 needs the weights of {needed}, seed 0, .* Add --run={needed}."):
            study.run(only=[only])
    assert not os.listdir(tmp_path)


def test_what_the_corpora_do_not_have_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"Unknown table 'zero_shto' \(did you mean zero_shot\?\) for the mini corpora"):
        Study("mini", ["zero_shto"], 1, str(tmp_path), "bin")
    with pytest.raises(RunError, match="Unknown table 'zero_shot' for the real corpora; choose from 1, 2, 3, 4."):
        Study("real", ["zero_shot"], 1, str(tmp_path), "bin")
    with pytest.raises(RunError, match="have the mini size"):
        Study("mini", ["1"], 1, str(tmp_path), "bin", size="paper")
