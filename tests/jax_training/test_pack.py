import dataclasses
import functools
import json
import os

import keras
import numpy as np
import pytest
from PIL import Image

from t2t_mm.common.errors import RunError
from t2t_mm.jax_training.packed import (  # fmt: skip
    ENDED,
    PackedExamples,
    check_configuration,
    digest_of,
    load_runs,
    save_trained,
)
from tests.training import tiny_run

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="packing needs TensorFlow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from t2t_mm.input.vocabulary import build_vocabulary

    path = str(tmp_path_factory.mktemp("pack"))
    build_vocabulary(list(tiny_run.PROBLEMS), os.path.join(path, "vocabulary.model"), size=310)
    return path


def settings(folder, **changed):
    from t2t_mm.experiment import Experiment
    from t2t_mm.input.buckets import BatchSettings
    from t2t_mm.jax_training.pack import PackSettings
    from t2t_mm.training.schedule import InverseSquareRoot

    batches = BatchSettings(positions=128, shuffle=8, max_length=64, factors={tiny_run.PROBLEMS[0].name: 2.0})
    vocabulary = os.path.join(folder, "vocabulary.model")
    experiment = Experiment(tiny_run.PROBLEMS, vocabulary, tiny_run.tiny_model, batches)
    given = {"experiment": experiment, "steps": 4, "schedule": functools.partial(InverseSquareRoot, 1e-2, 2), **changed}
    return PackSettings.of(given | {"model_dir": "not used"})


@pytest.fixture(scope="module")
def packed(folder):
    from t2t_mm.jax_training.pack import Packer

    lines = []
    packer = Packer(os.path.join(folder, "packed"), lines.append)
    packer.add("joint/seed_0", settings(folder))
    packer.add_seed("joint/seed_1", 1, "joint/seed_0")
    packer.save()
    return os.path.join(folder, "packed"), lines


def test_the_packed_run_has_the_numbers_of_the_settings(folder, packed):
    first, second = load_runs(packed[0])
    assert (first.name, first.seed, second.name, second.seed) == ("joint/seed_0", 0, "joint/seed_1", 1)
    assert first.group == second.group and first.slots == second.slots
    assert first.steps == len(first.rates) == 4
    np.testing.assert_allclose(first.rates[:3], [5e-3, 1e-2, 1e-2 * (2 / 3) ** 0.5], rtol=1e-4)
    assert [slot.problem for slot in first.slots] == [problem.name for problem in tiny_run.PROBLEMS]
    assert [slot.budget for slot in first.slots] == [256, 128]
    experiment = settings(folder).experiment
    model = experiment.build_model(experiment.describe())
    assert first.model == json.loads(json.dumps(model.get_config())) | {"name": first.model["name"]}
    assert len(first.factors) == len(model.trainable_variables) and set(first.factors) == {1.0}


def test_the_arrays_are_the_tokens_of_the_corpus(folder, packed):
    from t2t_mm.corpora.example import Report
    from t2t_mm.input.pipeline import load_examples
    from t2t_mm.input.tokenizer import Tokenizer

    tokenizer = Tokenizer(os.path.join(folder, "vocabulary.model"))
    for problem, slot in zip(tiny_run.PROBLEMS, load_runs(packed[0])[0].slots):
        examples = load_examples(problem, "train", Report(problem.name))
        found = PackedExamples.load(packed[0], slot.arrays["train"])
        assert len(found) == len(examples)
        rows = found.padded_inputs(np.arange(3), int(found.lengths.max()))
        for row, length, example in zip(rows, found.lengths, examples):
            np.testing.assert_array_equal(row[:length], tokenizer.tokenize(example.inputs).numpy())
            assert not row[length:].any()
    assert len(packed[1]) == len(os.listdir(os.path.join(packed[0], "arrays")))  # equal examples are written once


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"mixing": "round_robin"}, "mixing"),
        ({"evaluation": {"every_steps": 1, "best_metric": "token_accuracy"}}, "token_accuracy"),
        ({"optimizer": {"ema": 0.9}}, "Optimizer.ema = 0.9"),
        ({"optimizer": {"accumulate": 2}}, "Optimizer.accumulate = 2"),
        ({"optimizer": {"rates": {"encoder": 0}}}, "frozen"),
        ({"init_from": "runs/other"}, "starts from the weights of runs/other only as a part of bin/reproduce.py"),
        ({"numerics": {"precision": "mixed_float16"}}, "does not scale losses, which mixed_float16 needs"),
        ({"evaluation": {"lower_is_better": True}}, "leave lower_is_better out"),
    ],
)
def test_what_is_not_supported_is_named(folder, tmp_path, changed, words):
    from t2t_mm.jax_training.pack import Packer
    from t2t_mm.training.settings import Evaluation, Numerics, Optimizer

    groups = {"optimizer": Optimizer, "evaluation": Evaluation, "numerics": Numerics}
    changed = {name: groups[name](**value) if name in groups else value for name, value in changed.items()}
    with pytest.raises(RunError, match=f"run: .*{words}"):
        Packer(str(tmp_path)).add("run", settings(folder, **changed))


def test_another_vocabulary_has_other_arrays(folder, packed, tmp_path):
    from t2t_mm.input.vocabulary import build_vocabulary
    from t2t_mm.jax_training.pack import Packer

    def slots(path):
        packer = Packer(os.path.join(folder, "vocabularies"), lambda line: None)
        packer.add("run", settings(path))
        packer.save()
        return load_runs(os.path.join(folder, "vocabularies"))[0].slots

    build_vocabulary(list(tiny_run.PROBLEMS), str(tmp_path / "vocabulary.model"), size=300)
    (first, _), (other, _), (again, _) = slots(folder), slots(str(tmp_path)), slots(folder)
    assert first.arrays == again.arrays and first.arrays["train"] != other.arrays["train"]


def test_other_pictures_under_the_same_paths_have_other_arrays(folder, tmp_path):
    from t2t_mm.corpora.example import Example
    from t2t_mm.experiment import Experiment
    from t2t_mm.input.buckets import BatchSettings
    from t2t_mm.jax_training.pack import Packer
    from t2t_mm.modalities.image import ImageInput
    from t2t_mm.problem import Problem

    class Pictures:
        def examples(self, split, report):
            return [Example(str(tmp_path / f"{number}.png"), str(number), str(number)) for number in range(2)]

    def slot():
        model = functools.partial(tiny_run.tiny_model, image=functools.partial(ImageInput, filters=(4, 8)))
        problems = [Problem("numbers", Pictures(), "image", "text", "To-English")]
        vocabulary = os.path.join(folder, "vocabulary.model")
        packer = Packer(str(tmp_path / "packed"), lambda line: None)
        packer.add("run", settings(folder, experiment=Experiment(problems, vocabulary, model, BatchSettings(image_size=32))))
        packer.save()
        return load_runs(str(tmp_path / "packed"))[0].slots[0]

    def draw(shade):
        for number in range(2):
            Image.fromarray(np.full((32, 32, 3), shade + number, "uint8")).save(tmp_path / f"{number}.png")

    draw(10)
    first, again = slot(), slot()
    draw(20)
    other = slot()
    assert first.arrays == again.arrays
    found = [
        PackedExamples.load(str(tmp_path / "packed"), one.arrays["dev"]).inputs[:, 0, 0, 0].tolist() for one in (first, other)
    ]
    assert found == [[10, 11], [20, 21]]


def test_results_are_recognised_by_the_configuration():
    first, other = (digest_of(text) for text in ("steps = 4", "steps = 5"))
    check_configuration({"configuration": first}, "run", first)
    check_configuration({}, "of an older version", other)
    with pytest.raises(RunError, match="run: was trained with another configuration"):
        check_configuration({"configuration": first}, "run", other)


def test_an_unpacked_run_is_a_run_as_after_training(folder, packed, tmp_path):
    from t2t_mm.evaluation.curves import cosines, curves
    from t2t_mm.jax_training.unpack import unpack
    from t2t_mm.run.folder import load_trained

    experiment = settings(folder).experiment
    description = experiment.describe()
    network = experiment.build_model(description)
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=v.shape).astype(np.float32) if "float" in str(v.dtype) else v.numpy() for v in network.variables]
    first, second = (problem.name for problem in tiny_run.PROBLEMS)
    result = {
        "step": 3, "ended": 4, "seed": 5, "training_seconds": 60.0, "device": "NVIDIA H200",
        "curves": {"train": {first: [[1, 5.0], [2, 4.0]]}, "dev": {second: [[3, 4.5]]}}, "cosines": {f"{first}/{second}": 0.25},
    }  # fmt: skip
    save_trained(str(tmp_path / "trained"), "joint/seed_5", weights, result)
    model_dir = str(tmp_path / "run")
    unpack(str(tmp_path / "trained"), "joint/seed_5", model_dir, experiment, description, "steps = 4\n")
    restored, found, trained = load_trained(experiment, model_dir)
    expected = [value for value in weights if value.dtype == np.float32]  # without the states of random numbers
    for value, variable in zip(expected, restored.weights, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())
    best = dataclasses.replace(experiment.weights, best=True)
    assert load_trained(experiment.with_weights(best), model_dir)[2] == trained
    assert found["seed"] == 5 and trained == {"step": 3, "seconds": 60.0}
    assert curves(model_dir) == {"train": {first: {1: 5.0, 2: 4.0}}, "dev": {second: {3: 4.5}}}
    assert cosines(model_dir)[second][first] == 0.25
    with open(os.path.join(model_dir, ENDED)) as file:
        assert json.load(file) == {"step": 4, "best": 3, "device": "NVIDIA H200"}
    save_trained(str(tmp_path / "other"), "joint/seed_5", weights[:-1], result)
    with pytest.raises(RunError, match="do not fit this configuration; pack the run again"):
        unpack(str(tmp_path / "other"), "joint/seed_5", str(tmp_path / "second"), experiment, description, "")
    with pytest.raises(RunError, match="run: already has checkpoints. Move it away"):
        unpack(str(tmp_path / "trained"), "joint/seed_5", model_dir, experiment, description, "steps = 4\n")
    with pytest.raises(RunError, match="has not been trained"):
        unpack(str(tmp_path / "trained"), "joint/seed_6", str(tmp_path / "second"), experiment, description, "")


def test_a_run_that_was_trained_elsewhere_counts_as_trained(tmp_path):
    """Only the folder of results makes the difference."""
    from tests.lab.tables import fixture

    _, planned = fixture.make(str(tmp_path), seeds=1)
    one = planned[0]
    assert not one.trained() and one.device() == "this machine"
    os.makedirs(one.folder, exist_ok=True)
    with open(os.path.join(one.folder, ENDED), "w") as file:
        json.dump({"step": 4, "best": 3, "device": "NVIDIA H200"}, file)
    assert one.trained() and one.device() == "NVIDIA H200, with JAX"
