import dataclasses
import functools
import json

import keras
import numpy as np
import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.jax_training.packed import PackedExamples, PackedRun, Slot, load_result, load_weights, save_runs, save_trained
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.model import MultiModel
from t2t_mm.training.schedule import InverseSquareRoot

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs KERAS_BACKEND=jax")
STEPS = 3


def configuration(**settings):
    settings = {"depth": 16, "mean_share": 0.3, "conv_block": functools.partial(ConvBlock, dropout=0.1), **settings}
    model = MultiModel(
        40, ("To-German", "To-Class"), ("language",), {"language_of_text": 3}, encoder_blocks=1, mixer_blocks=1,
        decoder_blocks=1, classes_from="encoder",
        mixture=functools.partial(MixtureOfExperts, num_experts=3, chosen=2, hidden=8, block_size=4),
        categorical=functools.partial(CategoricalOutput, widths=(8, 8)), **settings,
    )  # fmt: skip
    model.build()
    return json.loads(json.dumps(model.get_config())), len(model.trainable_variables)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Two runs on a translation and a classification, packed as `pack` does it.

    The second has another seed and longer texts. Only the translation has a test set.
    """
    folder, rng = tmp_path_factory.mktemp("packed"), np.random.default_rng(0)
    for name, count, most in (("text_train", 12, 8), ("text_longer", 12, 12), ("text_dev", 5, 8), ("text_test", 6, 8)):
        lengths, longer = rng.integers(3, most + 1, count), rng.integers(3, most + 1, count)
        ids = [rng.integers(3, 40, total.sum()).astype(np.int32) for total in (lengths, longer)]
        PackedExamples(ids[0], lengths, ids[1], longer).save(folder, name)
    for name, count in (("class_train", 8), ("class_dev", 4)):
        lengths, ones = rng.integers(3, 9, count), np.ones(count, np.int32)
        ids = rng.integers(3, 40, lengths.sum()).astype(np.int32)
        PackedExamples(ids, lengths, rng.integers(0, 3, count).astype(np.int32), ones).save(folder, name)
    config, trainable = configuration()
    arrays = {"train": "text_train", "dev": "text_dev", "test": "text_test"}
    text = Slot("wmt_en_de", "language", True, "text", "To-German", 1.0, arrays, 32, None)
    arrays = {"train": "class_train", "dev": "class_dev"}
    label = Slot("language_of_text", "language", True, "class", "To-Class", 1.0, arrays, 32, 4)
    schedule = InverseSquareRoot(1e-2, warmup_steps=2, total_steps=STEPS, decay_steps=0)
    run = PackedRun(
        "joint/seed_0", 0, config, (text, label), STEPS, tuple(float(schedule(step)) for step in range(STEPS)),
        (1.0,) * trainable,
        {"beta_1": 0.85, "beta_2": 0.98, "epsilon": 1e-6, "clip_norm": 1.0, "clip_each": True, "weight_decay": 0.0},
        {"label_smoothing": 0.1, "balance_weight": 0.01, "contrast_weight": 0.0}, {"every_steps": 2, "patience": 0},
        cosine_steps=2,
    )  # fmt: skip
    longer = dataclasses.replace(text, arrays=text.arrays | {"train": "text_longer"})
    runs = [run, dataclasses.replace(run, name="joint/seed_1", seed=1, slots=(longer, label))]
    save_runs(folder, runs)
    return folder, runs


@pytest.fixture(scope="module")
def together(packed, tmp_path_factory):
    from t2t_mm.jax_training.train import train_groups

    output = tmp_path_factory.mktemp("trained")
    lines = []
    train_groups(str(packed[0]), str(output), packed[1], lines.append)
    return output, lines


def test_a_lane_is_trained_as_if_it_were_alone(packed, together, tmp_path):
    from t2t_mm.jax_training.train import train_groups

    train_groups(str(packed[0]), str(tmp_path), packed[1][1:], lambda line: None)
    alone, lane = load_weights(tmp_path, "joint/seed_1"), load_weights(together[0], "joint/seed_1")
    for value, other in zip(alone, lane):
        np.testing.assert_allclose(value, other, atol=2e-3)  # the order of sums differs, and Adam amplifies the difference
    other = load_weights(together[0], "joint/seed_0")
    assert max(np.abs(value - third).max() for value, third in zip(lane, other)) > 0.1


def test_the_results_are_those_of_the_best_weights(packed, together):
    from t2t_mm.jax_training.lanes import Lanes

    result = load_result(together[0], "joint/seed_0")
    assert result["step"] in (2, 3) and result["ended"] == STEPS and result["skipped_updates"] == 0
    assert [step for step, _ in result["curves"]["dev"]["wmt_en_de"]] == [2, 3]
    assert (
        list(result["cosines"]) == ["wmt_en_de/language_of_text"] and abs(result["cosines"]["wmt_en_de/language_of_text"]) < 1
    )
    values = [np.mean([points[place][1] for points in result["curves"]["dev"].values()]) for place in (0, 1)]
    assert result["step"] == (2, 3)[int(np.argmin(values))]
    of_dev = result["splits"]["dev"]
    mean = np.mean([one["figures"]["log_perplexity"] for one in of_dev.values()])
    assert mean == pytest.approx(min(values), rel=1e-4)
    assert len(of_dev["wmt_en_de"]["examples"]["nats"]) == 5 and len(of_dev["language_of_text"]["examples"]["nats"]) == 4
    of_test = result["splits"]["test"]
    assert list(of_test) == ["wmt_en_de"] and len(of_test["wmt_en_de"]["examples"]["nats"]) == 6
    # The gates of an example sum to one for each of its positions in the decoder.
    assert sum(of_dev["wmt_en_de"]["experts"]["decoder"]) == pytest.approx(
        sum(of_dev["wmt_en_de"]["examples"]["tokens"]), rel=1e-3
    )
    assert Lanes(packed[1]).network.count_params() == sum(result["parameters"].values())


def test_the_update_is_that_of_adam(packed):
    import jax.numpy as jnp

    from t2t_mm.jax_training.lanes import Lanes

    lanes = Lanes(packed[1][:1])
    rng, number = np.random.default_rng(0), len(lanes.trained)
    gradients = [[rng.normal(size=value.shape).astype(np.float32) * 1e-3 for value in lanes.trained] for _ in range(2)]
    variables = [keras.Variable(value[0]) for value in lanes.trained]
    adam = keras.optimizers.Adam(1e-2, beta_1=0.85, beta_2=0.98, epsilon=1e-6)
    trained = [jnp.array(value) for value in lanes.trained]
    firsts, seconds = [jnp.zeros_like(v) for v in trained], [jnp.zeros_like(v) for v in trained]
    for step in (1, 2):
        trained, firsts, seconds, norm = lanes.update(trained, firsts, seconds, gradients, 1e-2, float(step))
        adam.apply([gradients[0][i][0] + gradients[1][i][0] for i in range(number)], variables)
    for value, variable in zip(trained, variables):
        np.testing.assert_allclose(value[0], variable.numpy(), atol=1e-5)
    bad = [[jnp.full_like(value, np.nan) for value in trained]]
    before = [np.array(value) for value in trained]
    after, *_ = lanes.update(trained, firsts, seconds, bad, 1e-2, 3.0)
    for value, same in zip(before, after):
        np.testing.assert_array_equal(value, same)


def test_a_run_starts_from_the_weights_of_another(packed, together):
    from t2t_mm.jax_training.train import LaneTraining

    folder, (first, _) = packed
    tuned = dataclasses.replace(first, name="tuned/seed_0", init_from="joint/seed_1")
    begun = LaneTraining(str(folder), str(together[0]), [tuned], lambda line: None)
    found, own = begun._lanes.joined(begun._trained, begun._others, 0), load_weights(together[0], "joint/seed_1")
    assert_same_weights(found, own)
    # A model without dropout and means has fewer states of random numbers, which are no weights.
    still = dataclasses.replace(tuned, model=configuration(mean_share=0.0, conv_block=functools.partial(ConvBlock))[0])
    begun = LaneTraining(str(folder), str(together[0]), [still], lambda line: None)
    found = begun._lanes.joined(begun._trained, begun._others, 0)
    assert len(found) < len(own)
    assert_same_weights(found, own)
    narrow = dataclasses.replace(tuned, model=configuration(depth=8)[0])
    with pytest.raises(RunError, match="the weights of joint/seed_1 have other shapes"):
        LaneTraining(str(folder), str(together[0]), [narrow], lambda line: None)


def assert_same_weights(found, expected):
    one, other = ([np.asarray(value) for value in some if np.asarray(value).dtype.kind == "f"] for some in (found, expected))
    for value, same in zip(one, other, strict=True):
        np.testing.assert_array_equal(value, same)


def test_a_run_is_in_a_later_group_than_the_one_that_it_starts_from(packed):
    from t2t_mm.jax_training.train import groups

    first, second = packed[1]
    more = dataclasses.replace(first, name="more", init_from=first.name)
    again = dataclasses.replace(first, name="again", init_from="more")
    other = dataclasses.replace(first, name="other", steps=2)
    beside = dataclasses.replace(more, name="beside", init_from="other")
    names = [[run.name for run in group] for group in groups([first, second, more, again, other, beside])]
    assert names == [[first.name, second.name], ["other"], ["more", "beside"], ["again"]]
    assert [[run.name for run in group] for group in groups([again, beside])] == [["again", "beside"]]  # the others are trained


def test_finished_runs_are_skipped(packed, together):
    from t2t_mm.jax_training.train import train_groups

    lines = []
    train_groups(str(packed[0]), str(together[0]), packed[1], lines.append)
    assert lines == [] and len(together[1]) > 1
    slower = dataclasses.replace(packed[1][0], rates=(1e-4,) * STEPS)
    with pytest.raises(RunError, match="joint/seed_0: holds results of other settings or data"):
        train_groups(str(packed[0]), str(together[0]), [packed[1][1], slower], lines.append)


def test_a_run_that_diverges_is_no_result(packed, tmp_path):
    from t2t_mm.jax_training.train import train_groups

    lines = []
    wild = dataclasses.replace(packed[1][0], name="wild", rates=(1e38,) * STEPS)
    with pytest.raises(RunError, match="wild: no evaluation was finite"):
        train_groups(str(packed[0]), str(tmp_path), [wild], lines.append)
    assert load_result(str(tmp_path), "wild") is None
    assert any(line.startswith("wild: ") and "updates were skipped" in line for line in lines)


def test_images_become_what_training_with_tensorflow_sees():
    from t2t_mm.jax_training.lanes import _batch

    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    pixels[2] = 7  # of one colour
    pool = {"inputs": pixels, "lengths": np.full(3, 8), "targets": np.array([4, 5, 6]), "target_lengths": np.ones(3, int)}
    slot = Slot("imagenet", "image", False, "class", "To-Class", 1.0, {}, None, 4)
    batch = _batch(slot, pool, np.array([2, 0]), np.array([2, -1]))
    for image, row in zip(batch["inputs"], (2, 0)):
        of = pixels[row].astype(float)
        expected = (of - of.mean()) / max(of.std(), of.size**-0.5)
        np.testing.assert_allclose(image, expected, atol=1e-5)
    assert batch["targets"].tolist() == [6, 4] and batch["index"].tolist() == [2, -1]
    assert batch["input_padding"].shape == batch["target_padding"].shape == (2, 0)


def test_the_report_has_the_speed_and_the_figures_of_each_problem(packed, together):
    from t2t_mm.lab.jax_results import load, results, update_flops

    found = results(packed[1], load(str(together[0]), packed[1]))
    result = load_result(together[0], "joint/seed_1")
    assert found["joint/seed_1, wmt_en_de, dev"] == result["splits"]["dev"]["wmt_en_de"]["figures"]
    speed = found["joint/seed_1"]
    assert speed["updates"] == STEPS and speed["lanes"] == 2
    assert 0 < speed["milliseconds_per_update"] < 1e3 * result["group_seconds"]
    # A batch has 32 positions: two texts of up to 12 tokens. The run in the other lane has texts of up to 8, four in a batch.
    assert result["batches"]["wmt_en_de"] == {"examples": 2, "rows": 4, "input_length": 12, "target_length": 12}
    once, run = result["batches"], packed[1][1]
    twice = {name: {**batch, "rows": 2 * batch["rows"]} for name, batch in once.items()}
    assert update_flops(run, twice) == pytest.approx(2 * update_flops(run, once))
    longer = {name: {**batch, "input_length": 2 * batch["input_length"], "target_length": 2 * batch["target_length"]}
              for name, batch in once.items()}  # fmt: skip
    assert update_flops(run, longer) > 2 * update_flops(run, once)  # attention grows with the square
    # The target of a text with a class has one position, whatever the length of the text.
    longer = once | {"language_of_text": {**once["language_of_text"], "input_length": 100}}
    assert update_flops(run, longer) > 2 * update_flops(run, once)


def test_a_report_of_runs_that_were_not_trained(packed, tmp_path):
    from t2t_mm.lab.jax_results import load

    with pytest.raises(RunError, match="holds no results of joint/seed_0; train it first"):
        load(str(tmp_path), packed[1])
    save_trained(tmp_path, "joint/seed_0", [], {"step": 3})  # as before the speed was measured
    with pytest.raises(RunError, match="joint/seed_0 was trained by an earlier version"):
        load(str(tmp_path), packed[1])
