"""Tests the joint loop on a tiny corpus: reproducibility, resuming a killed run, and errors for invalid input."""

import dataclasses
import functools
import json
import os
import re
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from t2t_mm.common.description import load_description
from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import CorpusError, Example, TooManyBadExamples
from t2t_mm.evaluation import answers, curves, evaluate, periodic
from t2t_mm.evaluation.periodic import Metric
from t2t_mm.experiment import Experiment
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.vocabulary import build_vocabulary
from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.problems import paper
from t2t_mm.run.checkpoints import best_first
from t2t_mm.run.folder import load_trained
from t2t_mm.run.weights import Weights
from t2t_mm.training import data, dry_run, loop, progress, trainee
from t2t_mm.training.loss_scale import LossScale
from t2t_mm.training.mixing import BySize, MixingError, problems_of_step
from t2t_mm.training.schedule import InverseSquareRoot
from t2t_mm.training.settings import Checkpointing, Configuration, Evaluation, Numerics, Objective, Observation, Optimizer
from t2t_mm.training.stopping import Preempted, StopSignals
from tests.training import tiny_run

pytestmark = pytest.mark.usefixtures("eagerly")


EVERY_2 = Checkpointing(every_steps=2)
EVERY_STEP = Observation(log_steps=1)
ENGLISH = [f"the {a} {b} sees a {c}" for a in ("old", "red") for b in ("cat", "dog", "bird") for c in ("car", "tree")]


def write_corpora(parent):
    folder = parent / "wmt" / "en-de"
    folder.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (folder / f"{split}.en").write_text("\n".join(ENGLISH) + "\n")
        (folder / f"{split}.de").write_text("\n".join(line.upper() for line in ENGLISH) + "\n")
    return parent


@pytest.fixture
def corpora(tmp_path):
    return write_corpora(tmp_path)


@pytest.fixture(scope="module")
def two_steps(eagerly, tmp_path_factory):
    """Corpora with a run of two steps, named "run", its weights, and its number of variables."""
    parent = write_corpora(tmp_path_factory.mktemp("begun"))
    model = train(parent, "run", 2, configuration=Configuration(lambda: "rate = 1\n"))
    return parent, weights(model), len(model.variables)


@pytest.fixture
def begun(two_steps, tmp_path):
    """A copy of the corpora and of the run of two steps."""
    shutil.copytree(two_steps[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


class Reversal:
    """A ninth problem's source, written outside the package."""

    def examples(self, split, report):
        return [Example(line, line[::-1], f"reversal:{i}") for i, line in enumerate(ENGLISH)]


def problems_of(corpora):
    return [
        paper.wmt_en_de(str(corpora)),
        Problem("reversal", Reversal(), "language", "text", "To-Reverse"),
    ]


def small_model(depth, dropout=0.1, **settings):
    return MultiModel(
        depth=depth,
        encoder_blocks=1,
        mixer_blocks=0,
        decoder_blocks=1,
        **{
            "conv_block": functools.partial(ConvBlock, dropout=dropout),
            "attention_block": functools.partial(AttentionBlock, heads=2, convs=1),
            "mixture": functools.partial(MixtureOfExperts, num_experts=3, chosen=2, hidden=8),
            **settings,
        },
    )


def train(corpora, name, steps, problems=None, depth=16, positions=128, moving_average=False, dropout=0.1, **settings):
    problems = problems or problems_of(corpora)
    vocabulary = corpora / "vocabulary.model"
    if not vocabulary.exists():
        build_vocabulary(problems, str(vocabulary), size=310)
    model = functools.partial(small_model, depth, dropout)
    batches = BatchSettings(positions=positions, shuffle=8, max_length=32)
    return loop.train(
        Experiment(problems, str(vocabulary), model, batches, weights=Weights(moving_average=moving_average)),
        str(corpora / name),
        steps,
        **{"schedule": functools.partial(InverseSquareRoot, 1e-2, 5), "checkpointing": EVERY_2, **settings},
    )


def weights(model):
    return np.concatenate([w.numpy().ravel() for w in model.trainable_variables])


def test_a_loss_that_is_not_finite_stops_with_problem_and_step(corpora):
    with pytest.raises(RunError, match=r"(wmt_en_de|reversal) \(loss nan\).* not finite at step \d"):
        train(
            corpora, "broken", 6, schedule=functools.partial(InverseSquareRoot, 1e38, 1), observation=Observation(log_steps=100)
        )


def test_a_step_that_is_not_finite_is_skipped_counted_and_named(corpora, caplog):
    """Adam's first update is huge, and no later one takes place."""
    caplog.set_level("INFO", logger="absl")
    huge = functools.partial(InverseSquareRoot, 1e38, 1)
    once = weights(train(corpora, "once", 1, schedule=huge))
    thrice = weights(train(corpora, "thrice", 3, schedule=huge, numerics=Numerics(not_finite="skip")))
    np.testing.assert_array_equal(thrice, once)
    assert re.search(r"step 3 is skipped: .*Skipped so far: (wmt_en_de|reversal) 2", caplog.text)
    with pytest.raises(RunError, match="not_finite is 'go on'"):
        train(corpora, "other", 1, numerics=Numerics(not_finite="go on"))


def test_the_dev_set_is_evaluated_and_the_best_kept(corpora, caplog):
    caplog.set_level("INFO", logger="absl")
    evaluation = Evaluation(every_steps=2, examples=5, samples=1, best_metric="reversal/token_accuracy")
    last = train(corpora, "run", 3, evaluation=evaluation)
    assert "wmt_en_de: evaluated on the first 5 of 12 dev examples" in caplog.text
    assert re.search(r"step 2, log-perplexity on dev:  wmt_en_de \d\.\d+  reversal \d", caplog.text)
    assert "step 2 is the best so far by reversal/token_accuracy" in caplog.text
    best, _, state = load_trained(experiment_of(corpora, best=True), str(corpora / "run"))
    assert state["step"] == 2 and not np.array_equal(weights(best), weights(last))
    (path,) = (corpora / "run" / "events" / "dev_in_training").iterdir()
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(path)) for value in event.summary.value}
    assert {"wmt_en_de/log_perplexity", "wmt_en_de/sample_1", "reversal/sample_1"} <= tags
    with pytest.raises(RunError, match="best_metric is 'bleu'; it must be one of log_perplexity"):
        train(corpora, "other", 1, evaluation=Evaluation(every_steps=1, best_metric="bleu"))
    for misspelt, close in {"log_perplexitty": "log_perplexity", "wmt_de_en/bleu": "wmt_en_de/bleu"}.items():
        with pytest.raises(RunError, match=rf"best_metric is '{misspelt}' \(did you mean {close}\?\); it must be one of"):
            Metric(misspelt, ["wmt_en_de", "reversal"])


def experiment_of(corpora, **weights):
    model = functools.partial(small_model, 16)
    return Experiment(problems_of(corpora), str(corpora / "vocabulary.model"), model, weights=Weights(**weights))


def test_best_by_a_metric_of_decoded_answers(corpora, caplog):
    caplog.set_level("INFO", logger="absl")
    evaluation = Evaluation(every_steps=1, examples=3, samples=1, best_metric="wmt_en_de/bleu")
    train(corpora, "run", 2, evaluation=evaluation)
    assert re.search(r"step 1 is the best so far by wmt_en_de/bleu: \d", caplog.text)
    tags = []
    for path in (corpora / "run" / "events" / "dev_in_training").iterdir():
        tags += [value.tag for event in tf.compat.v1.train.summary_iterator(str(path)) for value in event.summary.value]
    assert tags.count("wmt_en_de/bleu") == 2 and "wmt_en_de/sample_1" in tags and "wmt_en_de/sample_2" not in tags
    assert "reversal/exact_match" not in tags  # decoded only where it is asked for
    evaluation = Evaluation(every_steps=1, examples=3, best_metric="wmt_en_de/blue")
    with pytest.raises(
        RunError, match=r"'wmt_en_de/blue' \(did you mean wmt_en_de/bleu\?\); wmt_en_de has the metrics bleu, log_p"
    ):
        train(corpora, "other", 1, evaluation=evaluation)
    assert not (corpora / "other").exists()


def test_an_evaluation_writes_every_answer_and_the_file_has_its_score(begun, monkeypatch):
    folder, counted = str(begun / "answers"), []

    class Counter(evaluate.progress.Counter):
        def __init__(self, what, total):
            super().__init__(what, total)
            self.add = counted.append
            assert total == 2 * len(ENGLISH)

    monkeypatch.setattr(evaluate.progress, "Counter", Counter)
    found = evaluate.evaluate(
        experiment_of(begun), str(begun / "run"), decoding=evaluate.Decoding(max_length=6), answers_folder=folder,
        at_once=2,
    )  # fmt: skip
    assert counted == [len(ENGLISH)] * 2, "one batch of each problem"
    assert set(os.listdir(folder)) == {"wmt_en_de.jsonl", "reversal.jsonl"}
    for problem in problems_of(begun):
        file = answers.read(os.path.join(folder, f"{problem.name}.jsonl"))
        assert file.problem == problem.name and len(file.examples) == len(ENGLISH)
        assert [example.inputs for example in file.examples] == ENGLISH
        scores = answers.score(problem.metrics, file.predictions, file.examples)
        assert scores and scores.items() <= found["results"][problem.name].items()
    with open(os.path.join(folder, "reversal.jsonl"), encoding="utf-8") as lines:
        nats = [json.loads(line)["log_perplexity"] for line in lines]
    assert np.mean(nats) == pytest.approx(found["results"]["reversal"]["log_perplexity"], rel=0.1)


def test_a_metric_knows_which_way_is_better():
    ways = {"log_perplexity": False, "a/wer": False, "a/bleu": True, "a/own": True}
    assert {name: Metric(name, ["a"]).higher_is_better for name in ways} == ways
    assert not Metric("a/own", ["a"], lower_is_better=True).higher_is_better
    assert Metric("a/bleu", ["a"]).decoded == ("a", "bleu") and Metric("a/token_accuracy", ["a"]).decoded is None


def test_a_run_ends_early_when_nothing_gets_better(corpora, caplog):
    """An untrained model has no sequence right, in the first evaluation and in all others."""
    caplog.set_level("INFO", logger="absl")
    evaluation = Evaluation(every_steps=2, examples=2, samples=0, best_metric="reversal/sequence_accuracy", patience=2)
    settings = {"evaluation": evaluation, "checkpointing": Checkpointing(every_steps=100)}
    train(corpora, "run", 9, **settings)
    assert "Ended at step 6 of 9, because reversal/sequence_accuracy did not improve in the last 2 evaluations" in caplog.text
    _, _, state = load_trained(experiment_of(corpora), str(corpora / "run"))
    assert state["step"] == 6
    caplog.clear()
    train(corpora, "run", 9, **settings)  # the same command again
    assert "Ended at step 6 of 9" in caplog.text and "step 7/9" not in caplog.text
    train(corpora, "run", 9, **{**settings, "evaluation": dataclasses.replace(evaluation, patience=3)})
    assert "Ended at step 8 of 9" in caplog.text
    with pytest.raises(RunError, match="patience is 2, without evaluations"):
        Evaluation(patience=2)


def test_the_checkpoint_of_a_step_is_loaded_or_those_that_are_there_are_named(begun):
    train(begun, "run", 4)
    for step in (2, 4):
        assert load_trained(experiment_of(begun, step=step), str(begun / "run"))[2]["step"] == step
    with pytest.raises(RunError, match="run: no checkpoint of step 3; there are checkpoints of the steps 2, 4."):
        load_trained(experiment_of(begun, step=3), str(begun / "run"))
    with pytest.raises(RunError, match="run: no checkpoint is the best one, because none was evaluated .*--nobest"):
        load_trained(experiment_of(begun, best=True), str(begun / "run"))
    shutil.rmtree(begun / "run" / "checkpoints")
    with pytest.raises(RunError, match="best: no checkpoint yet.*settings.Evaluation.every_steps above 0"):
        load_trained(experiment_of(begun, best=True), str(begun / "run"))
    with pytest.raises(RunError, match="Both the best checkpoint and step 2"):
        Weights(best=True, step=2)


def test_the_mean_of_checkpoints_and_of_the_best(corpora):
    evaluation = Evaluation(every_steps=2, examples=2, samples=0)
    checkpointing = Checkpointing(every_steps=2, keep=2, keep_best=2)
    train(corpora, "run", 6, evaluation=evaluation, checkpointing=checkpointing)
    folder = str(corpora / "run")
    load = lambda **chosen: weights(load_trained(experiment_of(corpora, **chosen), folder)[0])  # noqa: E731
    four, six = load(step=4), load(step=6)
    np.testing.assert_allclose(load(average=2), (four + six) / 2, atol=1e-7)
    assert not np.allclose(four, six, atol=1e-4)
    kept = [int(path.rsplit("-", 1)[1]) for path in best_first(folder)]
    assert len(kept) == 2
    np.testing.assert_allclose(load(best=True, average=2), (load(step=kept[0]) + load(step=kept[1])) / 2, atol=1e-7)
    np.testing.assert_array_equal(load(best=True), load(step=kept[0]))
    with pytest.raises(RunError, match="Weights.average is 3, but there are only 2 checkpoints.*Checkpointing.keep = 3"):
        load(average=3)
    with pytest.raises(RunError, match="has no moving averages .*settings.Optimizer.ema"):
        load(moving_average=True)
    with pytest.raises(RunError, match="Weights.average is 2, but step 4 is one checkpoint"):
        Weights(average=2, step=4)


def test_the_moving_average_is_evaluated_saved_and_goes_on(corpora, caplog):
    """With decay, an update from two batches, a frozen part: the average of what moves, the weights of what does not."""
    caplog.set_level("INFO", logger="absl")
    optimizer = Optimizer(ema=0.9, weight_decay=0.01, accumulate=2, rates={"language_in": 0})
    settings = {
        "optimizer": optimizer, "mixing": {"wmt_en_de": 1, "reversal": 1}, "observation": EVERY_STEP,
        "evaluation": Evaluation(every_steps=4, examples=3, samples=0),
    }  # fmt: skip
    whole = train(corpora, "whole", 4, moving_average=True, **settings)
    evaluated = re.search(r"step 4, log-perplexity on dev:  (.*)", caplog.text)[1]
    train(corpora, "parts", 2, moving_average=True, **settings)
    parts = train(corpora, "parts", 4, moving_average=True, **settings)
    np.testing.assert_array_equal(weights(parts), weights(whole))
    folder = str(corpora / "parts")
    load = lambda **chosen: load_trained(experiment_of(corpora, **chosen), folder)[0]  # noqa: E731
    plain, moving = load(), load(moving_average=True)
    np.testing.assert_array_equal(weights(load_trained(experiment_of(corpora, moving_average=True), str(corpora / "whole"))[0]),
                                  weights(moving))  # fmt: skip
    assert not np.allclose(weights(plain), weights(moving), atol=1e-4)
    np.testing.assert_array_equal(plain.language_in.embedding.numpy(), moving.language_in.embedding.numpy())
    caplog.clear()
    # The figures during training were those of the moving average.
    for model, same in ((moving, True), (plain, False)):
        found = periodic.DevSet(experiment_of(corpora), model, 3, 0, 9).evaluate(4)["results"]
        shown = "  ".join(f"{name} {figures['log_perplexity']:.3f}" for name, figures in found.items())
        assert (shown == evaluated) == same
    with pytest.raises(RunError, match="ckpt-4: was written with moving averages"):
        train(corpora, "parts", 6, **{**settings, "optimizer": dataclasses.replace(optimizer, ema=0.0)})
    with pytest.raises(RunError, match="no moving average is kept; set settings.Optimizer.ema"):
        train(corpora, "parts", 6, moving_average=True)


def test_bad_lines_beyond_the_threshold_stop_the_run(corpora):
    path = corpora / "wmt" / "en-de" / "train.de"
    build_vocabulary(problems_of(corpora), str(corpora / "vocabulary.model"), size=310)
    path.write_bytes(b"\n".join([b"\xff\xfe"] * len(ENGLISH)) + b"\n")
    with pytest.raises(TooManyBadExamples, match="train.de"):
        train(corpora, "bad", 1, max_bad_examples=3)


def test_a_missing_corpus_says_where_it_looked_and_what_to_use_instead(corpora):
    build_vocabulary(problems_of(corpora), str(corpora / "vocabulary.model"), size=310)
    with pytest.raises(CorpusError, match="nowhere.*make_mini"):
        train(corpora, "none", 1, problems=[paper.wmt_en_de(str(corpora / "nowhere"))])


def test_a_trained_model_is_loaded_whole(begun, two_steps):
    model = functools.partial(small_model, 16)
    experiment = Experiment(problems_of(begun), str(begun / "vocabulary.model"), model)
    loaded, _, state = load_trained(experiment, str(begun / "run"))
    np.testing.assert_array_equal(weights(loaded), two_steps[1])
    assert state["step"] == 2 and state["seconds"] > 0


@pytest.mark.parametrize("settings", [{"mean_share": 0.5}, {"conv_block": functools.partial(ConvBlock, dropout=0.0)}])
def test_a_trained_model_needs_no_random_numbers(begun, two_steps, settings):
    """How many generators there are depends on these settings, which have no meaning after training."""
    model = functools.partial(small_model, 16, **settings)
    loaded, *_ = load_trained(Experiment(problems_of(begun), str(begun / "vocabulary.model"), model), str(begun / "run"))
    assert len(loaded.variables) != two_steps[2]
    np.testing.assert_array_equal(weights(loaded), two_steps[1])


def test_a_problem_that_the_model_cannot_answer_is_named(begun):
    experiment, folder = experiment_of(begun), str(begun / "run")
    german = dataclasses.replace(experiment.problem("wmt_en_de"), name="other")  # never trained, but of a known kind
    assert load_trained(experiment, folder, [german])[2]["step"] == 2
    for changed, message in (
        ({"command": "To-Germans"}, r"no command 'To-Germans' .did you mean To-German.*trained with To-German, To-Reverse"),
        ({"inputs": "image"}, "no input 'image'; it was trained with language"),
        ({"targets": "class"}, "no list of classes 'other'"),
    ):
        with pytest.raises(RunError, match=f"^other: the model in .*run has {message}"):
            load_trained(experiment, folder, [dataclasses.replace(german, **changed)])


def test_a_run_in_bfloat16_learns_and_leaves_a_float32_model(corpora, caplog):
    caplog.set_level("INFO", logger="absl")
    train(
        corpora, "run", 12, schedule=functools.partial(InverseSquareRoot, 1e-2, 3), observation=EVERY_STEP,
        numerics=Numerics(precision="mixed_bfloat16"), checkpointing=Checkpointing(every_steps=12),
        evaluation=Evaluation(every_steps=12, examples=4, samples=1),
    )  # fmt: skip
    losses = [float(loss) for loss in re.findall(r"step \d+/12  .*reversal (\d\.\d+)", caplog.text)]
    assert len(losses) == 12 and max(losses[-2:]) < losses[0] - 0.5
    assert re.search(r"step 12, log-perplexity on dev:  wmt_en_de \d", caplog.text)
    experiment = Experiment(problems_of(corpora), str(corpora / "vocabulary.model"), functools.partial(small_model, 16))
    loaded, _, _ = load_trained(experiment, str(corpora / "run"))
    assert loaded.encoder.compute_dtype == loaded.decoder.blocks[0].compute_dtype == "float32"
    with pytest.raises(RunError, match="precision is 'float16'.*; it must be one of float32, mixed_bfloat16, mixed_float16"):
        train(corpora, "other", 1, numerics=Numerics(precision="float16"))


@pytest.mark.parametrize("settings", [
    {"mixing": "round_robin"}, {"mixing": {"wmt_en_de": 1, "reversal": 1}, "optimizer": Optimizer(accumulate=2)},
], ids=["round robin", "rates and micro-batches"])  # fmt: skip
def test_a_resumed_run_in_float16_goes_on_with_its_loss_scale(corpora, caplog, monkeypatch, settings):
    """The scale doubles at every second step. The run is resumed between two of them, so both numbers of its state matter."""
    caplog.set_level("INFO", logger="absl")
    monkeypatch.setattr(trainee, "LossScale", functools.partial(LossScale, 2.0**8, 2))
    settings = {"numerics": Numerics(precision="mixed_float16"), "observation": EVERY_STEP, **settings}
    found = []
    for name, stops in (("whole", [6]), ("parts", [3, 6])):
        caplog.clear()
        for stop in stops:
            model = train(corpora, name, stop, **settings)
        steps = re.findall(r"step (\d+)/\d+  .*, loss scale (\S+)", caplog.text)
        found.append((weights(model), steps))
    (whole, scales), (parts, scales_of_parts) = found
    assert scales == scales_of_parts == [(str(step), str(256 * 2 ** (step // 2))) for step in range(1, 7)]
    np.testing.assert_array_equal(parts, whole)
    assert not np.allclose(whole, weights(train(corpora, "start", 1, **settings)), atol=1e-3)
    (events,) = (corpora / "whole" / "events").glob("events.*")
    values = [value for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value]
    assert [f"{float(tf.make_ndarray(v.tensor)):g}" for v in values if v.tag == "loss_scale"] == [s for _, s in scales]


def test_the_precision_of_a_run_may_become_float16_and_float32_again(begun, two_steps, caplog, monkeypatch):
    """The first scale is much too high, so the step is skipped and named."""
    caplog.set_level("INFO", logger="absl")
    monkeypatch.setattr(trainee, "LossScale", functools.partial(LossScale, 2.0**24))
    after = weights(train(begun, "run", 3, numerics=Numerics(precision="mixed_float16"), observation=EVERY_STEP))
    np.testing.assert_array_equal(after, two_steps[1])
    assert re.search(r"step 3/3 .*, loss scale 8.38861e\+06", caplog.text)
    assert re.search(
        r"step 3 is skipped: the gradient of \S+ \(loss \d.* overflows float16, so the loss scale is halved to 8.38861e\+06. "
        r"Skipped so far: \S+ 1", caplog.text,
    )  # fmt: skip
    caplog.clear()
    train(begun, "run", 4, observation=EVERY_STEP)
    assert "step 4/4 " in caplog.text and "loss scale" not in caplog.text


def test_a_loss_that_is_not_finite_in_float16_is_no_overflow_of_the_gradient(corpora):
    huge = functools.partial(InverseSquareRoot, 1e38, 1)
    message = r'\(loss nan\): .* not finite at step \d.*train with settings.Numerics.precision = "float32"'
    with pytest.raises(RunError, match=message):
        train(
            corpora,
            "broken",
            40,
            schedule=huge,
            numerics=Numerics(precision="mixed_float16"),
            observation=Observation(log_steps=100),
        )


def test_another_vocabulary_than_the_checkpoints_is_refused(begun):
    before = sorted(os.listdir(begun / "run" / "checkpoints"))
    build_vocabulary(problems_of(begun), str(begun / "vocabulary.model"), size=300)
    with pytest.raises(RunError, match="trained with another vocabulary.*vocabulary.model"):
        train(begun, "run", 4)
    assert sorted(os.listdir(begun / "run" / "checkpoints")) == before


def test_a_checkpoint_of_another_size_is_refused(begun):
    with pytest.raises(RunError, match="does not fit this configuration"):
        train(begun, "run", 4, depth=32)


@pytest.mark.parametrize("size", [0, 150, 100_000])
def test_a_full_disk_at_the_start_is_one_line(corpora, size):
    build_vocabulary(problems_of(corpora), str(corpora / "vocabulary.model"), size=310)
    with tiny_run.full_disk(size), pytest.raises(RunError, match="run.*: cannot be written: .*Free some space") as error:
        train(corpora, "run", 1)
    assert "checkpoints are intact" not in str(error.value) and "{{" not in str(error.value)


def test_events_that_cannot_be_written_stop_the_run(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    shown = progress.Progress(9, 0, 0.0, writer, SimpleNamespace(learning_rate=0.1))
    figures = {"wmt_en_de": {"loss": tf.constant(1.0), "encoder/load": tf.ones([3])}}
    shown.count(1, [], figures)
    shown.log(1.0)
    shown.count(2, [], figures)
    with tiny_run.full_disk(100), pytest.raises(RunError, match="the events for TensorBoard: cannot be written"):
        shown.log(1.0)


def test_problems_of_other_steps_are_in_the_line_of_progress(caplog):
    caplog.set_level("INFO", logger="absl")
    shown = progress.Progress(9, 0, 0.0, None, SimpleNamespace(learning_rate=0.1))
    for step, name in enumerate(("one", "two", "three", "two"), start=1):
        shown.count(step, [], {name: {"loss": tf.constant(float(step))}})
    shown.log(1.0)
    assert "step 4/9  one 1.000  two 4.000  three 3.000  |" in caplog.text
    shown.count(5, [], {"three": {"loss": tf.constant(5.0)}})
    shown.log(1.0)
    assert "step 5/9  three 5.000  |" in caplog.text  # nothing old is shown as new


def test_round_robin_and_rates():
    names = ["a", "b", "c"]
    assert [problems_of_step(names, "round_robin", step, 0) for step in (1, 2, 3, 4)] == [["a"], ["b"], ["c"], ["a"]]
    drawn = [problems_of_step(names, {"a": 3, "b": 1, "c": 0}, step, 7)[0] for step in range(400)]
    assert drawn.count("c") == 0 and 250 < drawn.count("a") < 350
    with pytest.raises(MixingError, match="rates for a; the problems are a, b, c"):
        problems_of_step(names, {"a": 1}, 1, 0)
    with pytest.raises(MixingError, match="roundrobin"):
        problems_of_step(names, "roundrobin", 1, 0)


def test_one_problem_a_step_trains(corpora):
    train(corpora, "robin", 3, mixing="round_robin", observation=EVERY_STEP)


def test_mixing_by_size_tells_the_counts_and_is_drawn(corpora, caplog):
    caplog.set_level("INFO", logger="absl")
    train(corpora, "sized", 3, mixing=BySize(temperature=2.0), observation=EVERY_STEP, optimizer=Optimizer(accumulate=2))
    assert "Mixing: reversal, 12 examples, rate 50.0%, about 3 of 6 batches" in caplog.text
    assert len(re.findall(r"step \d/3  (?:(?:reversal|wmt_en_de) \d\.\d+  ){1,2}\|", caplog.text)) == 3


def test_cosines_between_gradients_are_measured_every_so_many_steps(corpora):
    train(corpora, "compared", 3, observation=Observation(cosine_steps=2, log_steps=5))
    losses = curves.curves(str(corpora / "compared"))["train"]
    assert {name: list(steps) for name, steps in losses.items()} == {"reversal": [1, 3], "wmt_en_de": [1, 3]}
    found = curves.cosines(str(corpora / "compared"))
    assert found.keys() == {"reversal", "wmt_en_de"}
    assert 0 < abs(found["reversal"]["wmt_en_de"]) < 1


def hparams_groups(folder):
    """What TensorBoard's HParams tab would show of the runs below a folder."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(folder)
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, folder)
    backend = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING]
    request = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=9)
    return list_session_groups.Handler(RequestContext(), backend, "", request).run().session_groups


def test_some_steps_are_profiled_and_tensorboard_has_the_configuration(corpora, caplog):
    caplog.set_level("INFO", logger="absl")
    train(
        corpora, "profiled", 7, observation=Observation(log_steps=1, profile_steps=1),
        configuration=Configuration(
            lambda: "loop.train.steps = 7\n", lambda: {"MultiModel.depth": 16, "train.mixing": "joint"}
        ),
    )  # fmt: skip
    (group,) = hparams_groups(str(corpora))
    assert group.hparams["MultiModel.depth"].number_value == 16
    assert group.hparams["train.mixing"].string_value == "joint"
    found = {metric.name.tag: metric for metric in group.metric_values}
    assert found["reversal/loss"].training_step == 7 and found["reversal/loss"].value > 0
    assert "Profile of the steps 6 to 6 written to" in caplog.text
    assert list((corpora / "profiled" / "events" / "plugins" / "profile").glob("*/*.xplane.pb"))
    (events,) = (corpora / "profiled" / "events").glob("events.*")
    values = [value for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value]
    (text,) = [value for value in values if value.tag == "config.gin"]
    assert text.tensor.string_val[0] == b"    loop.train.steps = 7\n"


def test_a_dry_run_reports_the_data_and_the_cost_and_leaves_nothing(begun, caplog):
    caplog.set_level("INFO", logger="absl")
    # The vocabulary lacks what follows.
    for language, lines in {"en": ["a cat" * 30, "東京"], "de": ["x", "東"]}.items():
        with open(begun / "wmt" / "en-de" / f"train.{language}", "a") as file:
            file.writelines(f"{line}\n" for line in lines)
    caplog.clear()
    train(begun, "dry", 1000, only_try=True)
    assert "wmt_en_de: 14 training examples; of the first 14, 1 would be left out" in caplog.text
    assert re.search(r"left out: .*train\.en:13: longer than max_length 32 tokens", caplog.text)
    assert re.search(r"  target: median \d+ tokens, longest \d+ tokens", caplog.text)
    found = [float(share) for share in re.findall(r"([\d.]+)% of the bytes of its texts are outside", caplog.text)]
    size = sum(len(line.encode()) for line in (*ENGLISH, *ENGLISH, "a cat" * 30, "x"))  # capitals are as many bytes
    unknown = 10  # three Chinese characters and the x
    assert found == [pytest.approx(100 * unknown / (size + 9), abs=0.01), 0]
    assert re.search(r"1000 steps would take about (\d+ minutes?|less than a minute) without", caplog.text)
    assert not (begun / "dry").exists()


@pytest.mark.parametrize("tracing, at_least, expected", [({1, 2, 4}, 4, 7), ({1}, 6, 7), (set(), 4, 5)])
def test_a_dry_run_does_not_count_the_time_of_tracing(tracing, at_least, expected):
    made = []
    first, _ = dry_run.describe_cost(made.append, lambda: len(tracing & set(made)), 1000, at_least)
    assert len(made) == expected
    others = expected - len(tracing | {1})
    assert f"took 0 s with tracing, {others} others took 0.00 s each" in first


def test_a_problem_named_twice_is_refused(corpora):
    with pytest.raises(RunError, match="twice"):
        train(corpora, "twice", 1, problems=[paper.wmt_en_de(str(corpora))] * 2)


def test_fewer_pictures_than_replicas_are_refused(corpora):
    class TwoReplicas:
        num_replicas_in_sync = 2

    build_vocabulary(problems_of(corpora), str(corpora / "vocabulary.model"), size=310)
    problems = [*problems_of(corpora), Problem("pictures", None, "image", "text", "To-English")]
    experiment = Experiment(problems, str(corpora / "vocabulary.model"), batches=BatchSettings(images=1))
    with pytest.raises(RunError, match="images is 1, less than the 2 replicas"):
        loop.train(experiment, str(corpora / "run"), 1, strategy=TwoReplicas)


def test_a_run_goes_on_with_the_seed_it_was_begun_with(corpora, caplog):
    """In weights, data and mixing: it ends as the run that was never stopped."""
    mixing = {"wmt_en_de": 0.5, "reversal": 0.5}
    whole = train(corpora, "whole", 4, seed=1, mixing=mixing)
    train(corpora, "stopped", 2, seed=1, mixing=mixing)
    resumed = train(corpora, "stopped", 4, seed=2, mixing=mixing)
    assert "was started with seed 1 and keeps it; seed 2 is ignored" in caplog.text
    assert load_description(str(corpora / "stopped"))["seed"] == 1
    np.testing.assert_array_equal(weights(resumed), weights(whole))


def everything(folder):
    """Name of each file below a folder -> what it holds; the lock names the process that held it last."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "settings, error",
    [
        ({"depth": 8}, r"does not fit this configuration \(.* there and .* here\). These settings .*: rate was 1 and is 2;"),
        ({"dropout": 0.0}, r"it has \d+ states of random numbers, but the model has \d+; a dropout was 0"),
        ({"depth": 15}, "depth is 15; it must be even"),
        (
            {"objective": Objective({"wmt_de_en": 2.0})},
            r"loss_weights names wmt_de_en \(did you mean wmt_en_de\?\); the problems",
        ),
        ({"mixing": "roundrobin"}, "roundrobin"),
        ({"schedule": functools.partial(InverseSquareRoot, -1.0)}, "peak"),
        ({"mixing": "round_robin", "observation": Observation(cosine_steps=2)}, "with mixing 'round_robin' a step takes one"),
    ],
)
def test_a_refused_start_changes_nothing(begun, settings, error):
    before = everything(begun / "run")
    with pytest.raises(RunError, match=error):
        train(begun, "run", 4, **{"configuration": Configuration(lambda: "rate = 2\nb = 3\n"), **settings})
    assert everything(begun / "run") == before and before["config.gin"] == b"rate = 1\n"
    # The lock of the first start remains. One that a refused start has made does not.
    os.remove(begun / "run" / "lock")
    with pytest.raises(RunError, match=error):
        train(begun, "run", 4, **{"configuration": Configuration(lambda: "rate = 2\nb = 3\n"), **settings})
    assert not (begun / "run" / "lock").exists()


def test_a_run_that_has_begun_does_not_need_the_run_that_it_started_from(begun, tmp_path):
    shutil.copytree(begun / "run", tmp_path / "other")
    first = train(begun, "started", 1, init_from=str(tmp_path / "other"))
    shutil.rmtree(tmp_path / "other")
    again = train(begun, "started", 1, init_from=str(tmp_path / "other"))
    np.testing.assert_array_equal(weights(again), weights(first))
    with pytest.raises(RunError, match="nowhere"):
        train(begun, "new", 1, init_from="nowhere")


@pytest.mark.parametrize("steps", [0, -7, 2.5, True])
def test_a_number_of_steps_that_is_none_is_refused(corpora, steps):
    with pytest.raises(RunError, match=f"steps is {steps}; it must be a number of steps, at least 1."):
        train(corpora, "run", steps)
    assert not (corpora / "run").exists()


def test_a_run_that_is_complete_says_so_and_stays_as_it_is(begun, caplog):
    caplog.set_level("INFO", logger="absl")
    before = everything(begun / "run")
    for steps in (1, 2):
        caplog.clear()
        train(begun, "run", steps, configuration=Configuration(lambda: "second"))
        assert f"run was trained for 2 steps already, and `steps` is {steps}. Increase `steps`" in caplog.text
        assert "Training is complete" not in caplog.text and everything(begun / "run") == before
    train(begun, "run", 3)
    assert f"Training is complete: step 3 is saved in {begun}/run. Evaluate it with" in caplog.text


def test_a_start_that_wrote_no_checkpoint_is_no_run(begun, caplog):
    """Its folder can be used for another run, with other problems and another seed."""
    shutil.rmtree(begun / "run" / "checkpoints")
    train(begun, "run", 1, seed=3, problems=problems_of(begun)[:1])
    assert "was started with seed" not in caplog.text
    found = load_description(str(begun / "run"))
    assert found["seed"] == 3 and list(found["problems"]) == ["wmt_en_de"]


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_that_does_not_fit_is_refused(corpora, seed):
    with pytest.raises(RunError, match=f"loop.train.seed is {seed}; it must be from 0 to 2147483647"):
        train(corpora, "run", 2, seed=seed)


def refuse():
    raise RunError("an unused binding")


def test_a_refused_first_start_leaves_no_folder(corpora):
    with pytest.raises(RunError, match="an unused binding"):
        train(corpora, "runs/deep/run", 2, configuration=Configuration(refuse))
    assert not (corpora / "runs").exists()


def test_a_changed_configuration_keeps_the_one_before(begun):
    train(begun, "run", 3, configuration=Configuration(lambda: "second"))
    assert (begun / "run" / "config.gin").read_text() == "second"
    assert (begun / "run" / "config_until_step_2.gin").read_text() == "rate = 1\n"


def test_a_damaged_configuration_in_the_folder_is_replaced_and_kept(begun):
    (begun / "run" / "config.gin").write_bytes(b"\xf8\xff")
    assert loop.differing_settings(str(begun / "run"), Configuration(lambda: "rate = 1\n")) == ["rate was not set and is 1"]
    train(begun, "run", 3, configuration=Configuration(lambda: "second"))
    assert (begun / "run" / "config.gin").read_text() == "second"
    assert (begun / "run" / "config_until_step_2.gin").read_bytes() == b"\xf8\xff"


def test_a_start_without_a_step_does_not_replace_the_configuration_of_the_steps(begun, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "trace", interrupted)
    for text in ("second", "third"):
        with pytest.raises(KeyboardInterrupt):
            train(begun, "run", 3, configuration=Configuration(lambda text=text: text))
    assert (begun / "run" / "config.gin").read_text() == "third"
    assert (begun / "run" / "config_until_step_2.gin").read_text() == "rate = 1\n"


def test_a_run_goes_on_with_another_batch_size(begun, caplog):
    caplog.set_level("INFO", logger="absl")
    train(begun, "run", 4, positions=64)
    assert "positions was 128 and is 64, so every problem's data begins a new pass" in caplog.text
    assert re.search(r"step 4/4 ", caplog.text)
    caplog.clear()
    train(begun, "run", 5, positions=64)  # the state of the new batches is in the checkpoint
    assert "new pass" not in caplog.text


def test_a_run_goes_on_with_a_smaller_corpus(begun, caplog):
    """TensorFlow would restore a buffer of another size, and lose what was in it."""
    caplog.set_level("INFO", logger="absl")
    for language in ("en", "de"):
        path = begun / "wmt" / "en-de" / f"train.{language}"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    train(begun, "run", 4)
    assert "the number of examples of wmt_en_de was 12 and is 9, so every problem's data begins a new pass" in caplog.text


@pytest.mark.parametrize("positions, replicas", [(96, 1), (128, 2)])
def test_the_number_of_replicas_matters_to_the_data_where_it_changes_a_batch(tmp_path, positions, replicas):
    """With 96 positions the batches have 12, 8, 6, 4 and 4 examples, with 128 16, 10, 8, 6 and 5."""
    vocabulary = str(tmp_path / "vocabulary.model")
    build_vocabulary(list(tiny_run.PROBLEMS), vocabulary, size=310)
    batches = BatchSettings(positions=positions, shuffle=8, max_length=24)
    experiment = Experiment(tiny_run.PROBLEMS, vocabulary, batches=batches)
    plan = SimpleNamespace(
        experiment=experiment, replicas=2, names=["capitals", "reversal"], seed=0, steps=1, mixing="joint",
        max_bad_examples=0, optimizer=Optimizer(),
    )  # fmt: skip
    assert data.TrainingData(plan).layout["the number of replicas"] == replicas


def test_the_first_step_says_what_it_traces_and_stops_between_two_graphs(caplog):
    caplog.set_level("INFO", logger="absl")
    traced, sent = [], []

    class Function:
        input_signature = ()

        def __init__(self, name):
            self.name = name

        def get_concrete_function(self):
            traced.append(self.name)
            for number in sent:
                os.kill(os.getpid(), number)

    shared = Function("text")
    step = SimpleNamespace(functions={"a": shared, "b": shared, "c": Function("image")})
    tf.config.run_functions_eagerly(False)
    try:
        with StopSignals() as stop:
            loop.trace(step, stop)
            assert traced == ["text", "image"] and "Tracing graph 2 of 3" in caplog.text
            os.kill(os.getpid(), signal.SIGINT)
            assert "SIGINT: stopping after this step; send it again" in caplog.text
        for number, error in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Preempted)):
            sent[:] = [number]
            with StopSignals() as stop, pytest.raises(error, match="before the first step" if error is Preempted else None):
                loop.trace(step, stop)
            assert f"{number.name}: stopping after this graph, before the first step" in caplog.text
        assert traced == ["text", "image", "text", "text"]
    finally:
        tf.config.run_functions_eagerly(True)
