"""Tests the data sets of TFDS with their real features and TFDS's own mocking, and the builders that TFDS lacks."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from t2t_mm.corpora.example import CorpusError, Report
from t2t_mm.corpora.sphere import encode_sphere
from t2t_mm.corpora.tfds_builders import wsj_parsing
from t2t_mm.corpora.tfds_builders.wsj_parsing import WsjParsing  # noqa: F401, known to TFDS by being imported
from t2t_mm.corpora.tfds_builders.wsj_speech import WsjSpeech  # noqa: F401
from t2t_mm.corpora.tfds_source import TFDS
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.pipeline import make_batches, next_batch
from t2t_mm.input.tokenizer import Tokenizer, train_vocabulary
from t2t_mm.problems import tfds as declared

SETTINGS = BatchSettings(positions=4096, images=2, audio_frames=400, max_length=2000, max_frames=200, image_size=8)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("v") / "v.model")
    train_vocabulary(["some words of a sentence"] * 9, ["<(S>", "<)S>"], path, 285)
    return Tokenizer(path)


def with_splits(data_dir, name, splits, count=4):
    """The metadata that `tfds build` leaves, so that the mocking knows the splits."""
    builder = tfds.builder(name, data_dir=data_dir)
    infos = [tfds.core.SplitInfo(split, [count], 1) for split in splits]
    builder.info.set_splits(tfds.core.splits.SplitDict(infos))
    builder.info.set_file_format("tfrecord")
    os.makedirs(builder.data_dir, exist_ok=True)
    builder.info.write_to_directory(builder.data_dir)


def captioned(self, split, decoders=None, other="a picture", count=4, **_):
    """Images with two captions in the real features of the data set, because TFDS's mocking makes none that they accept."""
    nothing = {"area": 1, "bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0), "id": 1, "is_crowd": False, "label": 1}
    records = [
        self.info.features.serialize_example(
            {
                "image": np.full([9, 9, 3], i, np.uint8), "image/filename": f"{i}.jpg", "image/id": i,
                "objects": [nothing], "captions": [{"text": f"picture {i}", "id": i}, {"text": other, "id": 9}],
            }
        )
        for i in range(count)
    ]  # fmt: skip
    features = decoders.extract_features(self.info.features)
    data = tf.data.Dataset.from_tensor_slices(records)
    data = data.map(lambda record: features.deserialize_example(record, decoders=decoders.decoders))
    return data.enumerate().map(lambda place, record: {**record, "tfds_id": tf.strings.as_string(place)})


@pytest.mark.parametrize(
    "problem, name, splits",
    [
        (declared.imagenet(), "imagenet2012", ("train", "validation")),
        (declared.coco(), "coco_captions/2014", ("train", "val", "test", "restval")),
        (declared.wmt14("de", "en"), "wmt14_translate/de-en", ("train", "validation", "test")),
        (declared.librispeech(), "librispeech", ("train_clean100", "dev_clean", "test_clean")),
    ],
)
def test_data_sets_of_tfds(problem, name, splits, vocabulary, tmp_path):
    with_splits(tmp_path, name, splits)
    mocked = captioned if name.startswith("coco") else None
    with tfds.testing.mock_data(num_examples=4, data_dir=str(tmp_path), as_dataset_fn=mocked):
        report = Report("x", 0)
        examples = problem.source.examples("dev", report)
        for training in (False, True):
            data = make_batches(problem, examples, vocabulary, AudioFeatures(bins=20), SETTINGS, report, training)
            batch = next(iter(data))
            ranks = {"language": 2, "image": 4, "audio": 3}
            assert batch["inputs"].shape.rank == ranks[problem.inputs]
            assert batch["targets"].shape.rank == (1 if problem.targets == "class" else 2)
            assert batch["targets"].shape[0] == batch["inputs"].shape[0] > 0
        shown = list(examples)
        assert len(shown) == 4 and all(example.origin for example in shown)
        if name.startswith("coco"):
            assert [example.references for example in shown] == [(f"picture {i}", "a picture") for i in range(4)]
            first = [element["targets"].numpy() for element in examples.dataset(False, 0, 8)]
            assert first == [f"picture {i}".encode() for i in range(4)], "in evaluation a picture has its first caption"
            captions = make_batches(problem, examples, vocabulary, AudioFeatures(), SETTINGS, report, True)
            texts = {vocabulary.detokenize(ids) for batch in captions.take(20) for ids in batch["targets"].numpy()}
            assert texts == {"a picture", *(f"picture {i}" for i in range(4))}
        if name == "imagenet2012":
            assert len(problem.source.class_names()) == 1000 and problem.source.class_names()[0] == "n01440764"


def test_one_unusable_caption_of_every_image_does_not_end_the_run(vocabulary, tmp_path):
    def mocked(self, *given, **settings):
        return captioned(self, *given, **settings, other="a picture " * 500, count=40)

    with_splits(tmp_path, "coco_captions/2014", ("train", "val", "test", "restval"), count=40)
    with tfds.testing.mock_data(num_examples=40, data_dir=str(tmp_path), as_dataset_fn=mocked):
        problem, report = declared.coco(), Report("x", 0)
        examples = problem.source.examples("dev", report)
        stream = iter(make_batches(problem, examples, vocabulary, AudioFeatures(), SETTINGS, report, True))
        for _ in range(200):
            assert next_batch(stream, report) is not None
    assert len(report.left_out) == 40


def test_what_is_not_prepared_or_not_there_is_named(tmp_path):
    with pytest.raises(CorpusError, match="imagenet2012 at .*tfds build imagenet2012.*make_mini"):
        declared.imagenet(str(tmp_path)).source.examples("train", Report("x"))
    with pytest.raises(CorpusError, match="no such data set"):
        TFDS("no_data_of_this_name", "a", "b", str(tmp_path)).examples("train", Report("x"))
    with pytest.raises(CorpusError, match="no feature sound; it has "):
        TFDS("librispeech", "sound", "text", str(tmp_path)).examples("train", Report("x"))


def built(name, data_dir, manual_dir):
    config = tfds.download.DownloadConfig(manual_dir=str(manual_dir))
    builder = tfds.builder(name, data_dir=str(data_dir))
    builder.download_and_prepare(download_config=config)
    return builder


def test_builder_of_the_treebank(vocabulary, tmp_path):
    for section in ("02", "22"):
        (tmp_path / "ptb" / "wsj" / section).mkdir(parents=True)
        text = "( (S (NP-SBJ (DT the) (NN cat)) (VP (VBZ sleeps)) (. .)))\n" * 3
        (tmp_path / "ptb" / "wsj" / section / "wsj_0001.mrg").write_text(text)
    builder = built("wsj_parsing", tmp_path, tmp_path / "ptb")
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == {"train": 3, "validation": 3}
    problem = declared.wsj_parsing(str(tmp_path))
    examples = problem.source.examples("dev", Report("x"))
    assert {(e.inputs, e.targets) for e in examples} == {("the cat sleeps .", "(S (NP DT NN )NP (VP VBZ )VP . )S")}
    # The place in the files, which is the same in every pass over them.
    assert all("validation.tfrecord-00000" in example.origin for example in examples)
    (batch,) = make_batches(problem, examples, vocabulary, AudioFeatures(), SETTINGS, Report("x", 0), False)
    pieces = [vocabulary.processor.IdToPiece(int(i)) for i in batch["targets"][0]]
    assert "<(S>" in pieces and pieces[-2] == "<)S>"
    with_words = dataclasses.replace(problem, words_in_trees=True)
    with pytest.raises(CorpusError, match="words_in_trees requires the files of a treebank or prepared records"):
        make_batches(with_words, examples, vocabulary, AudioFeatures(), SETTINGS, Report("x", 0), False)


def test_the_command_builds_what_load_reads(tmp_path):
    for module in ("apache_beam", "mlcroissant"):
        pytest.importorskip(module, reason=f"`tfds build` needs {module} (pip install -e '.[tfds]')")
    (tmp_path / "ptb" / "wsj" / "02").mkdir(parents=True)
    (tmp_path / "ptb" / "wsj" / "02" / "wsj_0201.mrg").write_text("( (S (NP (DT the) (NN cat)) (VP (VBZ sleeps))))\n")
    command = [sys.executable, "-m", "tensorflow_datasets.scripts.cli.main", "build", wsj_parsing.__file__]
    command += [f"--manual_dir={tmp_path}/ptb", f"--data_dir={tmp_path}/data"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (element,) = tfds.as_numpy(tfds.load("wsj_parsing", split="train", data_dir=tmp_path / "data"))
    assert element == {"sentence": b"the cat sleeps", "tree": b"(S (NP DT NN )NP (VP VBZ )VP )S"}


def test_builder_of_wsj_speech(tmp_path):
    top, rng = tmp_path / "wsj", np.random.default_rng(0)
    samples = {name: rng.integers(-999, 999, 800).astype(np.int16) for name in ("011c0201", "011c0202")}
    for path, content in {
        "wsj0/doc/indices/train/tr_s_wv1.ndx": "".join(f"11_1_1:wsj0/si_tr_s/011/{n}.wv1\n" for n in samples).encode(),
        "wsj0/transcrp/011c0200.dot": b"THE CAT (011c0201)\nA DOG (011c0202)\n",
        **{f"wsj0/si_tr_s/011/{name}.wv1": encode_sphere(sound, 16000) for name, sound in samples.items()},
    }.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(content)
    builder = built("wsj_speech", tmp_path, top)
    found = {element["id"].decode(): element for element in tfds.as_numpy(builder.as_dataset("train"))}
    assert found["011c0201"]["text"] == b"the cat" and found["011c0202"]["speaker_id"] == b"011"
    np.testing.assert_array_equal(found["011c0201"]["speech"], samples["011c0201"])
    assert len(declared.wsj_speech(str(tmp_path)).source.examples("train", Report("x"))) == 2
