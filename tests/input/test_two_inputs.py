"""Tests problems with two inputs from a table to batches, records and files of answers, also with invalid inputs."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.sphere import encode_sphere
from t2t_mm.evaluation import answers
from t2t_mm.input.augmentation import RandomCrop, SpecAugment
from t2t_mm.input.buckets import BatchSettings, Measure, bucket_shapes
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.pipeline import load_examples, make_batches
from t2t_mm.input.prepare import ShardWriters, prepare
from t2t_mm.input.tokenizer import Tokenizer, train_vocabulary
from t2t_mm.input.vocabulary import build_vocabulary
from t2t_mm.problem import Problem
from t2t_mm.problems import own
from t2t_mm.problems.prepared import problems

SETTINGS = BatchSettings(positions=64, images=3, audio_frames=400, max_length=30, max_frames=120, image_size=8)
AUDIO = AudioFeatures(bins=10)
PICTURES = Problem("p", None, ("image", "language"), "text", "c")
SOUNDS = Problem("s", None, ("audio", "language"), "text", "c")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus of typed and spoken questions about images, and a vocabulary."""
    folder = tmp_path_factory.mktemp("corpora")
    (folder / "qa").mkdir()
    rng = np.random.default_rng(0)
    for i in range(7):
        Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8)).save(folder / "qa" / f"{i}.png")
        samples = rng.integers(-9999, 9999, 2000 + 1500 * i).astype(np.int16)
        (folder / "qa" / f"{i}.wv1").write_bytes(encode_sphere(samples, 16000))
    rows = [f"{i}.png\t{'what ' * (i + 1)}is this\t{i}.wv1\tone {i}" for i in range(7)]
    for split in ("train", "dev", "test"):
        (folder / "qa" / f"{split}.tsv").write_text("picture\tquestion\tspoken\tanswer\n" + "\n".join(rows) + "\n")
    train_vocabulary(["what is this one word 0 1 2 3 4 5 6"] * 9, [], str(folder / "v.model"), 300)
    return folder


def declared(folder, inputs=("image", "language"), columns=("picture", "question"), name="qa", **more):
    return own.table(name, str(folder), "qa", columns, "answer", inputs, **more)


def batches(problem, examples, folder, report=None, training=False, **settings):
    settings = BatchSettings(**(vars(SETTINGS) | settings))
    tokenizer = Tokenizer(str(folder / "v.model"))
    return make_batches(problem, examples, tokenizer, AUDIO, settings, report or Report("x", 0), training, seed=3)


def same(one, other):
    one, other = tf.nest.flatten(one), tf.nest.flatten(other)
    return len(one) == len(other) and all(a.shape == b.shape and np.allclose(a, b, atol=1e-4) for a, b in zip(one, other))


def test_a_batch_has_both_inputs_of_each_example(folder):
    problem = declared(folder)
    examples = load_examples(problem, "dev", Report("x", 0))
    assert examples[2].inputs == (str(folder / "qa" / "2.png"), "what what what is this")
    tokenizer, seen = Tokenizer(str(folder / "v.model")), []
    for batch in batches(problem, examples, folder):
        pictures, ids = batch["inputs"]
        none, padding = batch["input_padding"]
        assert pictures.shape[1:] == (8, 8, 3) and none.shape[1] == 0 and len(ids) <= 3
        for row, masked, index in zip(ids.numpy(), padding.numpy(), batch["index"].numpy()):
            assert tokenizer.detokenize(row[~masked]) == examples[index].inputs[1]
            seen.append(index)
    assert sorted(seen) == list(range(7)) and problem.metrics == ()
    # Each image is next to its own question: read without the question, it is the same.
    (alone,) = batches(problem, examples[4:5], folder)
    together = next(b for b in batches(problem, examples, folder) if 4 in b["index"].numpy())
    place = together["index"].numpy().tolist().index(4)
    np.testing.assert_array_equal(alone["inputs"][0][0], together["inputs"][0][place])


def test_the_input_that_fills_its_budget_decides_the_bucket():
    assert bucket_shapes(PICTURES, SETTINGS)[0] == (8, 3) and bucket_shapes(PICTURES, SETTINGS)[-1] == (30, 2)
    # 64 positions of text are as much as 400 frames; 30 tokens as 187.5.
    measure = Measure(SOUNDS, SETTINGS)
    assert (measure.budget, measure.longest, measure.unit) == (400, 188, "frames")
    assert measure.lengths([100, 8], 16) == [100, 50, 100]
    assert all(measure.scaled(measure.unscaled(n, one), one) <= n for n in range(8, 189) for one in measure.bounds)
    assert bucket_shapes(SOUNDS, SETTINGS)[-1] == (188, 2)


@pytest.mark.parametrize("inputs", [("image", "language"), ("audio", "language"), ("image", "audio")], ids="+".join)
def test_static_shapes_are_those_of_the_buckets_and_hold_the_same(folder, inputs):
    names = {"image": "picture", "language": "question", "audio": "spoken"}
    problem = declared(folder, inputs, [names[one] for one in inputs])
    examples = load_examples(problem, "dev", Report("x", 0))
    free = {i: b for b in batches(problem, examples, folder) for i in b["index"].numpy()}
    shapes = set()
    for batch in batches(problem, examples, folder, static_shapes=True):
        shapes.add(str([x.shape for x in tf.nest.flatten(batch)]))
        for row, index in enumerate(batch["index"].numpy()):
            if index < 0:
                continue
            other = free[index]
            at = other["index"].numpy().tolist().index(index)
            for x, y in zip(batch["inputs"], other["inputs"]):
                np.testing.assert_array_equal(x[row, : y.shape[1]], y[at])
            for x, y in zip(batch["input_padding"], other["input_padding"]):
                assert (~x[row].numpy()).sum() == (~y[at].numpy()).sum()
    assert len(shapes) <= len(bucket_shapes(problem, SETTINGS))


def test_static_shapes_are_not_longer_than_an_input_may_be(folder):
    """The budget of text is that of twice the longest text for the longest recording."""
    problem = declared(folder, ("audio", "language"), ("spoken", "question"))
    examples = load_examples(problem, "dev", Report("x", 0))
    budget = 2 * SETTINGS.max_length * SETTINGS.audio_frames // SETTINGS.max_frames
    lengths = {b["inputs"][1].shape[1] for b in batches(problem, examples, folder, static_shapes=True, positions=budget)}
    assert lengths and max(lengths) <= SETTINGS.max_length


def test_training_batches_are_the_same_again_and_nothing_is_cropped_that_is_asked_about(folder):
    problem = declared(folder, ("image", "audio"), ("picture", "spoken"), targets="class")
    examples = load_examples(problem, "train", Report("x", 0))
    random = {"crop": RandomCrop(), "masks": SpecAugment(time_masks=0, frequency_width=9)}
    one, two = (list(itertools.islice(batches(problem, examples, folder, training=True, **random), 3)) for _ in range(2))
    assert all(same(a, b) for a, b in zip(one, two))
    plain = list(itertools.islice(batches(problem, examples, folder, training=True), 3))
    assert all(same(a["inputs"][0], b["inputs"][0]) for a, b in zip(one, plain))
    assert not all(same(a["inputs"][1], b["inputs"][1]) for a, b in zip(one, plain))


@pytest.mark.parametrize("place", [0, 1])
def test_an_example_with_one_unreadable_input_is_reported(folder, tmp_path, place):
    (tmp_path / "bad").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    inputs = [str(folder / "qa" / "0.png"), str(folder / "qa" / "0.wv1")]
    good = Example(tuple(inputs), "one", "good")
    inputs[place] = str(tmp_path / "bad")
    report = Report("x", 3)
    problem = declared(folder, ("image", "audio"), ("picture", "spoken"))
    (batch,) = batches(problem, [Example(tuple(inputs), "one", "qa:1"), good], folder, report)
    assert batch["index"].numpy().tolist() == [1]
    assert list(report.skipped) == ["qa:1"] and str(tmp_path / "bad") in report.skipped["qa:1"]


def test_an_example_whose_second_input_is_too_long_is_left_out(folder):
    report = Report("x", 0)
    pairs = [Example((str(folder / "qa" / "0.png"), "what " * n), "one", str(n)) for n in (50, 3)]
    (batch,) = batches(declared(folder), pairs, folder, report)
    assert batch["index"].numpy().tolist() == [1] and list(report.left_out) == ["50"]


@pytest.mark.parametrize("inputs,count", [("a.png", 1), (("a.png",), 1), (("a.png", "b", "c"), 3)])
def test_a_wrong_number_of_inputs_is_one_line(folder, inputs, count):
    example = Example(inputs, "one", "qa:7")
    with pytest.raises(CorpusError, match=rf"qa:7: {count} input\(s\), 'a.png.*'; qa takes 2: image \+ language."):
        batches(declared(folder), [example], folder)
    with pytest.raises(CorpusError, match=r"x:1: 2 input\(s\), 'a \| b'; t takes 1: language."):
        batches(Problem("t", None, "language", "text", "c"), [Example(("a", "b"), "c", "x:1")], folder)


def test_rows_of_a_table_that_lack_one_input_are_reported(folder, tmp_path):
    (tmp_path / "qa").mkdir()
    (tmp_path / "qa" / "0.png").write_bytes((folder / "qa" / "0.png").read_bytes())
    rows = "picture,question,answer\n0.png,what,a\n0.png,,b\n,what,c\nabsent.png,what,d\n"
    (tmp_path / "qa" / "train.csv").write_text(rows)
    report = Report("x", 5)
    (found,) = declared(tmp_path).source.examples("train", report)
    path = tmp_path / "qa" / "train.csv"
    assert found.inputs == (str(tmp_path / "qa" / "0.png"), "what") and found.targets == "a"
    assert [origin.removeprefix(f"{path}:") for origin in report.skipped] == ["3", "4", "5"]
    assert "'question'" in report.skipped[f"{path}:3"] and "absent.png does not exist" in report.skipped[f"{path}:5"]
    with pytest.raises(ValueError, match="qa: 1 input columns, .*2 modalities"):
        declared(tmp_path, columns="picture")


def test_questions_about_one_picture_are_held_out_together(tmp_path):
    (tmp_path / "qa").mkdir()
    rows = [f"{i}.png,what {j},a" for i in range(40) for j in range(3)]
    (tmp_path / "qa" / "all.csv").write_text("picture,question,answer\n" + "\n".join(rows) + "\n")
    for i in range(40):
        (tmp_path / "qa" / f"{i}.png").touch()
    source = declared(tmp_path, files={"train": ["all.csv"]}, held_out=0.2).source
    parts = {split: {e.inputs[0] for e in source.examples(split, Report("x", 0))} for split in ("train", "dev", "test")}
    assert sum(map(len, parts.values())) == 40 and all(parts.values())


def test_records_give_the_batches_that_the_corpus_gives(folder, tmp_path):
    inputs = {"image+language": ("picture", "question"), "image+audio": ("picture", "spoken")}
    for names, columns in inputs.items():
        problem = declared(folder, names.split("+"), columns, name=names.replace("+", "_"))
        with ShardWriters(1) as workers:
            prepare(problem, str(folder / "v.model"), str(tmp_path), 8, 16000, workers, ["train", "dev"], shard_examples=3)
        (other,) = problems([problem], str(tmp_path))
        found = [load_examples(one, "dev", Report("x", 0)) for one in (problem, other)]
        assert list(found[0]) == list(found[1])
        one, two = (list(batches(problem, examples, folder)) for examples in found)
        assert len(one) == len(two) and all(same(a, b) for a, b in zip(one, two))
        assert next(iter(batches(other, load_examples(other, "train", Report("x")), folder, training=True)))


def test_the_vocabulary_and_the_file_of_answers_have_the_text_among_the_inputs(folder, tmp_path):
    problem = declared(folder)
    build_vocabulary([problem], str(tmp_path / "v.model"), 280)
    assert len(Tokenizer(str(tmp_path / "v.model")).processor.EncodeAsIds("what what")) <= 3
    examples = load_examples(problem, "dev", Report("x", 0))
    lines = answers.lines(problem, "dev", ["one 0"] + ["no"] * 6, examples, None, {}, {})
    assert lines[2]["input"] == list(examples[2].inputs)
    answers.write(str(tmp_path / "a.jsonl"), lines)
    read = answers.read(str(tmp_path / "a.jsonl"))
    assert read.examples[2].inputs == examples[2].inputs
    assert answers.score((), read.predictions, read.examples) == {"exact_match": pytest.approx(100 / 7)}
