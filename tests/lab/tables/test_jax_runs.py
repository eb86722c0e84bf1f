"""Tests which runs of a study are packed for training with JAX, and what is taken over from it."""

import json
import os

import numpy as np
import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.jax_training.packed import save_trained
from t2t_mm.lab.tables import jax_runs
from t2t_mm.lab.tables.runner import missing
from t2t_mm.lab.tables.runs import SCORES
from t2t_mm.lab.tables.scores import write
from t2t_mm.lab.tables.tables import Run
from tests.lab.tables import fixture

# A chain of three trainings and an evaluation of the last, and a run of its own.
CHAIN = (
    Run("joint", decode=False), Run("more", init_from="joint", decode=False), Run("means", init_from="more", decode=False),
    Run("look", init_from="means", trained=False), Run("alone", decode=False),
)  # fmt: skip


@pytest.fixture
def study(tmp_path):
    """The folder of all runs and the planned runs by name, with one seed."""
    _, planned = fixture.make(str(tmp_path), seeds=1, runs={run.name: run for run in CHAIN})
    return os.path.dirname(os.path.dirname(planned[0].folder)), {one.run.name: one for one in planned}


def keep_scores(*planned):
    for one in planned:
        write(os.path.join(one.folder, SCORES), {"step": 4, "configuration": one.digest})


def packed(study, monkeypatch):
    """The runs that are packed, each with the run that it starts from."""
    found = []

    class Packer:
        def __init__(self, folder, say):
            pass

        def add(self, name, settings, start, configuration):
            assert configuration in [one.digest for one in study[1].values()]
            assert start is None or start in [name for name, _ in found]
            found.append((name, start))

        def save(self):
            pass

    monkeypatch.setattr(jax_runs, "Packer", Packer)
    monkeypatch.setattr(jax_runs, "PackSettings", type("PackSettings", (), {"of": lambda values: values}))
    assert jax_runs.pack_runs(list(study[1].values()), study[0], "packed", lambda line: None) == len(found)
    return [(name.split("/")[0], start and start.split("/")[0]) for name, start in found]


def test_a_chain_is_packed_from_its_beginning(study, monkeypatch):
    joint, more, means, look, alone = study[1].values()
    keep_scores(joint, more, alone)
    assert packed(study, monkeypatch) == [("joint", None), ("more", "joint"), ("means", "more")]


def test_a_run_with_scores_is_packed_if_another_is_evaluated_with_its_weights(study, monkeypatch):
    joint, more, means, look, alone = study[1].values()
    keep_scores(joint, more, means, alone)
    assert packed(study, monkeypatch) == [("joint", None), ("more", "joint"), ("means", "more")]
    keep_scores(look)
    assert packed(study, monkeypatch) == []


def taken_over(study, tmp_path, monkeypatch, *names):
    """The runs whose weights are taken over, each with the run that describes its model."""
    result = {
        "step": 4, "ended": 4, "seed": 0, "training_seconds": 1.0, "parameters": {}, "splits": {}, "curves": {}, "cosines": {},
        "device": "GPU",
    }  # fmt: skip
    for name in names:
        save_trained(str(tmp_path / "trained"), f"{name}/seed_0", [np.zeros(3, np.float32)], result)
    monkeypatch.setattr(jax_runs, "_experiment", lambda planned: type("Of", (), {"describe": lambda self: planned.run.name})())
    found = {}

    def unpack(trained, name, model_dir, experiment, description, configuration):
        checkpoints = os.path.join(model_dir, "checkpoints")
        os.makedirs(os.path.join(checkpoints, "best"), exist_ok=True)
        open(os.path.join(checkpoints, "ckpt-4.index"), "w").close()
        found[name.split("/")[0]] = description
        return result

    monkeypatch.setattr(jax_runs, "unpack", unpack)
    planned = list(study[1].values())
    assert jax_runs.take_over(planned, study[0], str(tmp_path / "trained"), lambda line: None) == len(names)
    return found


def test_weights_are_taken_over_where_something_starts_from_them(study, tmp_path, monkeypatch):
    found = taken_over(study, tmp_path, monkeypatch, "joint", "more", "means", "alone")
    assert found == {"means": "joint"}  # the model of a chain is that of its first run
    assert [job.name for job in missing(list(study[1].values()))] == ["score look, seed 0"]
    with open(os.path.join(study[1]["alone"].folder, SCORES)) as file:
        assert json.load(file)["configuration"] == study[1]["alone"].digest


def test_a_chain_that_ends_here_needs_the_weights_before_it(study, tmp_path, monkeypatch):
    assert taken_over(study, tmp_path, monkeypatch, "joint", "more") == {"more": "joint"}
    left = [job.name for job in missing(list(study[1].values()))]
    assert left == [
        "train means, seed 0",
        "score means, seed 0",
        "score look, seed 0",
        "train alone, seed 0",
        "score alone, seed 0",
    ]


def test_results_of_another_configuration_are_not_taken_over(study, tmp_path, monkeypatch):
    taken_over(study, tmp_path, monkeypatch, "alone")
    path = tmp_path / "trained" / "joint" / "seed_0"
    path.mkdir(parents=True)
    (path / "result.json").write_text('{"step": 4, "configuration": "another"}')
    with pytest.raises(RunError, match="joint/seed_0: was trained with another configuration"):
        jax_runs.take_over(list(study[1].values()), study[0], str(tmp_path / "trained"), lambda line: None)


def test_nothing_else_needs_weights(study, tmp_path, monkeypatch):
    keep_scores(study[1]["look"])
    assert taken_over(study, tmp_path, monkeypatch, "joint", "more", "means", "alone") == {}
    assert missing(list(study[1].values())) == []
    assert jax_runs.take_over(list(study[1].values()), study[0], str(tmp_path / "trained"), lambda line: None) == 0


def test_weights_that_were_left_on_the_other_machine_are_named(study, tmp_path, monkeypatch):
    monkeypatch.setattr(jax_runs, "_experiment", lambda planned: type("Of", (), {"describe": dict})())
    os.makedirs(tmp_path / "trained" / "joint" / "seed_0")
    (tmp_path / "trained" / "joint" / "seed_0" / "result.json").write_text('{"step": 4}')
    with pytest.raises(RunError, match="joint/seed_0/weights.npz: no such file"):
        jax_runs.take_over(list(study[1].values()), study[0], str(tmp_path / "trained"), lambda line: None)
