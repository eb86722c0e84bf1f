"""Tests prepared records: TFDS reads them, they train like the corpus, and incomplete or foreign ones are rejected."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.corpus_files import MissingCorpus
from t2t_mm.corpora.example import CorpusError, Example, Report, TooManyBadExamples
from t2t_mm.corpora.image_folders import ImageFolders
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.corpora.speech_folders import SpeechFolders
from t2t_mm.corpora.sphere import encode_sphere
from t2t_mm.corpora.split import examples_of
from t2t_mm.corpora.treebank import Treebank
from t2t_mm.input import prepare as preparing
from t2t_mm.input.augmentation import RandomCrop
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.pipeline import load_examples, make_batches, next_batch
from t2t_mm.input.prepare import ShardWriters, prepare, verify
from t2t_mm.input.tokenizer import Tokenizer, train_vocabulary
from t2t_mm.problem import Problem
from t2t_mm.problems.prepared import problems

SETTINGS = BatchSettings(positions=64, images=2, audio_frames=400, max_length=60, max_frames=200, image_size=8)
AUDIO = AudioFeatures(bins=20)


class Captions:
    """Pictures with several references in evaluation, from the folders of `corpora`."""

    def __init__(self, root):
        self.root = root

    def examples(self, split, report):
        if split == "test":
            raise MissingCorpus("no test captions")
        path = str(self.root / "imagenet" / "train" / "n01" / "0.JPEG")
        return [Example(path, "a pitch", f"c:{i}", ("a pitch", "one pitch")) for i in range(3)]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    rng = np.random.default_rng(0)
    for split, count in (("train", 11), ("dev", 4), ("test", 3)):
        (root / "wmt").mkdir(exist_ok=True)
        for language in ("en", "de"):
            lines = [f"{language} sentence number {i} of {split}" for i in range(count)]
            (root / "wmt" / f"{split}.{language}").write_text("\n".join(lines) + "\n")
        (root / "ptb").mkdir(exist_ok=True)
        (root / "ptb" / f"{split}.mrg").write_text("( (S (NP (DT the) (NN cat)) (VP (VBZ sleeps)) (. .)))\n" * count)
        folder = root / "imagenet" / {"dev": "val"}.get(split, split)
        for synset in ("n01", "n02"):
            (folder / synset).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 255, (20, 30, 3), np.uint8)
                Image.fromarray(pixels).save(folder / synset / f"{i}.JPEG")
        (root / "speech").mkdir(exist_ok=True)
        names = [f"{split}{i}" for i in range(4)]
        (root / "speech" / f"{split}.tsv").write_text("".join(f"{name}.wv1\tsome words\n" for name in names))
        for name in names:
            samples = rng.integers(-9999, 9999, 8000).astype(np.int16)
            (root / "speech" / f"{name}.wv1").write_bytes(encode_sphere(samples, 16000))
    train_vocabulary(["some words of a sentence number 0 1 2 3"] * 9, ["<(S>", "<)S>"], str(root / "v.model"), 290)
    return root


@pytest.fixture(scope="module")
def declared(corpora):
    patterns = {split: [f"{split}.mrg"] for split in ("train", "dev", "test")}
    return [
        Problem("translation", ParallelText(str(corpora), "wmt", "en", "de"), "language", "text", "c"),
        Problem("parsing", Treebank(str(corpora), splits=patterns), "language", "tree", "c"),
        Problem("pictures", ImageFolders(str(corpora)), "image", "class", "c"),
        Problem("captions", Captions(corpora), "image", "text", "c"),
        Problem("speech", SpeechFolders(str(corpora), "speech"), "audio", "text", "c"),
    ]


def prepared(problem, corpora, output, processes=1, **more):
    arguments = {"image_size": 8, "sample_rate": 16000, "shard_examples": 3, **more}
    with ShardWriters(processes) as workers:
        return prepare(problem, str(corpora / "v.model"), str(output), workers=workers, **arguments)


@pytest.fixture(scope="module")
def output(corpora, declared, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared")
    for problem in declared:
        prepared(problem, corpora, output)
    return output


def batches(problem, split, corpora, training=False, report=None, settings=SETTINGS):
    examples = load_examples(problem, split, report or Report("x", 0))
    tokenizer = Tokenizer(str(corpora / "v.model"))
    return make_batches(problem, examples, tokenizer, AUDIO, settings, report or Report("x", 0), training, seed=3)


@pytest.mark.parametrize("number", range(5))
def test_records_give_the_batches_that_the_corpus_gives(number, corpora, declared, output):
    problem, other = declared[number], problems(declared, str(output))[number]
    for one, two in zip(batches(problem, "dev", corpora), batches(other, "dev", corpora), strict=True):
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_allclose(one[name].numpy(), two[name].numpy(), atol=1e-4, err_msg=name)
            assert one[name].dtype == two[name].dtype
    assert list(other.source.examples("dev", Report("x"))) == list(problem.source.examples("dev", Report("x")))


def test_tfds_reads_them_with_their_counts(output):
    builder = tfds.builder_from_directory(output / "translation" / "1.0.0")
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == {
        "train": 11, "dev": 4, "test": 3
    }  # fmt: skip
    assert builder.info.splits["train"].num_shards == 4
    (record, *_) = tfds.as_numpy(builder.as_dataset("dev"))
    assert record["input_text"] == b"en sentence number 0 of dev" and record["inputs"][-1] == 1
    classes = tfds.builder_from_directory(output / "pictures" / "1.0.0").info.features["targets"]
    assert classes.names == ["n01", "n02"]
    assert not list(output.rglob("*.incomplete")) and not list(output.rglob("*.part"))


class Numbers:
    def examples(self, split, report):
        return [Example(f"number {i}", f"{i}", f"numbers:{i}") for i in range(40)]


def test_evaluation_reads_long_shards_in_order_and_as_many_as_are_wanted(corpora, tmp_path):
    problem = Problem("numbers", Numbers(), "language", "text", "c")
    prepared(problem, corpora, tmp_path, shard_examples=20, splits=["dev"])
    examples = problems([problem], str(tmp_path))[0].source.examples("dev", Report("x"))
    origins = [f"numbers:{i}" for i in range(40)]
    assert [example.origin for example in examples] == origins
    elements = list(examples.dataset(False, 0, 8).as_numpy_iterator())
    assert [(element["index"], element["origin"].decode()) for element in elements] == list(enumerate(origins))
    few = examples.first(25)
    assert len(few) == 25 and [example.origin for example in few] == origins[:25]
    assert [element["index"] for element in few.dataset(False, 0, 8).as_numpy_iterator()] == list(range(25))
    assert len(examples.first(50)) == 40 and examples_of(["a", "b"]).first(1) == ["a"]
    with pytest.raises(ValueError, match="for evaluation"):
        few.dataset(True, 0, 8)


def test_training_on_records_is_endless_repeatable_and_takes_them_all(corpora, declared, output):
    problem = problems(declared, str(output))[0]

    def places():
        return [batch["index"].numpy().tolist() for batch in batches(problem, "train", corpora, True).take(30)]

    assert places() == places()
    assert {index for indices in places() for index in indices} == set(range(11))


def test_a_split_the_corpus_lacks_is_absent_and_said_to_be(declared, output):
    source = problems(declared, str(output))[3].source
    assert source.description()["absent"] == {"test": "no test captions"}
    with pytest.raises(CorpusError, match="split test was not prepared: no test captions"):
        source.examples("test", Report("x"))


def test_records_of_another_vocabulary_or_size_are_refused(corpora, declared, output, tmp_path):
    train_vocabulary(["quite other words"] * 9, [], str(tmp_path / "v.model"), 275)
    text, _, pictures, *_ = problems(declared, str(output))
    with pytest.raises(CorpusError, match="prepared with vocabulary [0-9a-f]{12}, but this run has [0-9a-f]{12}"):
        batches(text, "dev", tmp_path)
    with pytest.raises(CorpusError, match="image_size 8, but this run has 16"):
        batches(pictures, "dev", corpora, settings=BatchSettings(image_size=16))
    with pytest.raises(CorpusError, match="image_size 8; now it is 16"):
        prepared(declared[2], corpora, output, image_size=16)


def test_records_of_trees_have_their_words_or_not(corpora, declared, output, tmp_path):
    with_words = dataclasses.replace(declared[1], words_in_trees=True)
    prepared(with_words, corpora, tmp_path)
    (read,) = problems([with_words], str(tmp_path))
    own, other = (next(iter(batches(one, "dev", corpora)))["targets"].numpy().tolist() for one in (with_words, read))
    assert own == other
    text = Tokenizer(str(corpora / "v.model")).detokenize(own[0])
    assert text.split() == "<(S> <(NP> the<DT> cat<NN><)NP> <(VP> sleeps<VBZ><)VP> .<.><)S>".replace("> <", "><").split()
    for declared_now, root, found in ((with_words, output, False), (declared[1], tmp_path, True)):
        with pytest.raises(CorpusError, match=f"prepared with words_in_trees {found}, but this run has {not found}"):
            batches(problems([declared_now], str(root))[0], "dev", corpora)
    with pytest.raises(CorpusError, match="words_in_trees None; now it is True"):
        prepared(with_words, corpora, output)


def test_it_goes_on_where_it_was_killed(corpora, declared, tmp_path, monkeypatch):
    problem, calls = declared[0], []
    whole = preparing.ShardWriter.__call__

    def killed_at_the_third(self, path, part, first):
        calls.append(os.path.basename(path))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, path, part, first)

    monkeypatch.setattr(preparing.ShardWriter, "__call__", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        prepared(problem, corpora, tmp_path)
    assert not (tmp_path / "translation" / "1.0.0").exists()
    done = prepared(problem, corpora, tmp_path)
    assert calls[:2] == ["train-00000", "train-00001"] and calls[3:5] == ["train-00002", "train-00003"]
    assert done["splits"]["train"]["examples"] == 11
    before = len(calls)
    assert prepared(problem, corpora, tmp_path)["checksums"] == done["checksums"] and len(calls) == before


def test_a_full_disk_is_told_with_the_file(corpora, declared, tmp_path, monkeypatch):
    whole = preparing.ShardWriter.__call__

    def on_a_full_disk(self, path, part, first):
        os.symlink("/dev/full", path + ".part")
        return whole(self, path, part, first)

    monkeypatch.setattr(preparing.ShardWriter, "__call__", on_a_full_disk)
    with pytest.raises(RunError, match="train-00000.part: cannot be written: no space left on the device. Free some space"):
        prepared(declared[0], corpora, tmp_path)


class Growing:
    """The dev set of a corpus, of which one shard exists at first."""

    def __init__(self, source):
        self.source, self.count = source, 3

    def examples(self, split, report):
        return self.source.examples(split, report)[: self.count]


def test_it_goes_on_where_it_was_killed_among_the_final_names(corpora, declared, tmp_path, monkeypatch):
    """The corpus has grown by a shard since then, so that the first shard gets another final name."""
    growing = Growing(declared[0].source)
    problem = dataclasses.replace(declared[0], source=growing)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparing, "describe", killed)
    with pytest.raises(KeyboardInterrupt):
        prepared(problem, corpora, tmp_path, splits=("dev",))
    monkeypatch.undo()
    growing.count = 4
    found = prepared(problem, corpora, tmp_path, splits=("dev",))
    assert found["splits"]["dev"]["examples"] == 4 and verify(str(tmp_path), "translation") == found


def test_several_processes_write_what_one_writes(corpora, declared, output, tmp_path):
    done = prepared(declared[1], corpora, tmp_path, processes=2, splits=["dev", "test"])
    one = json.loads((output / "parsing" / "1.0.0" / "prepared.json").read_text())["checksums"]
    assert done["checksums"] == {name: value for name, value in one.items() if "train" not in name}


def test_dropped_examples_are_named_and_too_many_stop(corpora, declared, tmp_path):
    sounds = tmp_path / "speech"
    sounds.mkdir()
    (sounds / "dev.tsv").write_text("bad.wv1\tanother\ngood.wv1\ta word\n")
    (sounds / "good.wv1").write_bytes(encode_sphere(np.zeros(900, np.int16), 16000))
    (sounds / "bad.wv1").write_bytes(b"no sound")
    problem = Problem("speech", SpeechFolders(str(tmp_path), "speech"), "audio", "text", "c")
    with pytest.raises(TooManyBadExamples, match="bad.wv1"):
        prepared(problem, corpora, tmp_path / "out", splits=["dev"], max_bad_examples=0)
    done = prepared(problem, corpora, tmp_path / "out", splits=["dev"])
    ((origin, reason),) = done["dropped"]["dev"].items()
    assert origin.endswith("bad.wv1") and "neither WAV" in reason
    assert done["splits"]["dev"] == {**done["splits"]["dev"], "examples": 1, "dropped": 1}
    (batch,) = batches(problems([problem], str(tmp_path / "out"))[0], "dev", corpora)
    assert batch["index"].numpy().tolist() == [0]  # its place among those that are left


def test_damaged_records_are_found(corpora, declared, tmp_path):
    prepared(declared[0], corpora, tmp_path)
    assert verify(str(tmp_path), "translation")["splits"]["dev"]["examples"] == 4
    path = tmp_path / "translation" / "1.0.0" / "translation-dev.tfrecord-00000-of-00002"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CorpusError, match="dev.tfrecord-00000-of-00002: missing or changed"):
        verify(str(tmp_path), "translation")
    report = Report("translation")
    iterator = iter(batches(problems(declared, str(tmp_path))[0], "dev", corpora, report=report))
    with pytest.raises(CorpusError, match="damaged records"):
        while True:
            next_batch(iterator, report)


SHARD = "translation-dev.tfrecord-00001-of-00002"


@pytest.mark.parametrize("damage, message", [
    (lambda folder: os.remove(folder / SHARD), "damaged records: /.*-00001-of-00002; No such file or directory. Find"),
    (lambda folder: (folder / SHARD).write_bytes(b""), "damaged records: .*to contain 4 elements"),
    (lambda folder: (folder / "dataset_info.json").write_text("{"), "cannot be read as a TFDS data set: Failed to load"),
    (lambda folder: (folder / "prepared.json").write_text("{}"), "prepared.json: is damaged: it has no absent, splits, vocab"),
])  # fmt: skip
def test_damage_is_told_by_evaluation_and_training(corpora, declared, tmp_path, damage, message):
    prepared(declared[0], corpora, tmp_path)
    damage(tmp_path / "translation" / "1.0.0")
    problem, report = problems(declared, str(tmp_path))[0], Report("translation")
    with pytest.raises(CorpusError, match=message):
        list(problem.source.examples("dev", report))
    with pytest.raises(CorpusError, match=message):
        iterator = iter(batches(problem, "dev", corpora, report=report))
        while next_batch(iterator, report) is not None:
            pass


def test_nothing_prepared_says_what_to_do(tmp_path, declared):
    with pytest.raises(CorpusError, match="prepare_data.py"):
        problems(declared, str(tmp_path))[0].source.examples("train", Report("x"))
    (tmp_path / "translation" / "1.0.0").mkdir(parents=True)
    (tmp_path / "translation" / "1.0.0" / "prepared.json").write_text('{"splits"')
    with pytest.raises(CorpusError, match="prepared.json: invalid JSON"):
        problems(declared, str(tmp_path))[0].source.examples("train", Report("x"))


def test_damaged_notes_are_told_or_written_again(corpora, declared, tmp_path, monkeypatch):
    whole = preparing.ShardWriter.__call__

    def damaged(self, path, part, first):
        note = whole(self, path, part, first)
        with open(path + ".json", "w") as file:
            file.write("{")
        raise KeyboardInterrupt(note)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(preparing.ShardWriter, "__call__", damaged)
        prepared(declared[0], corpora, tmp_path)
    plan = tmp_path / "translation" / "1.0.0.incomplete" / "plan.json"
    text = plan.read_text()
    plan.write_text("{")
    with pytest.raises(CorpusError, match=r"plan.json: invalid JSON: .* Delete .*incomplete and prepare it again"):
        prepared(declared[0], corpora, tmp_path)
    plan.write_text(text)
    assert prepared(declared[0], corpora, tmp_path)["splits"]["train"]["examples"] == 11
    (tmp_path / "translation" / "1.0.0" / "prepared.json").write_text("{")
    with pytest.raises(CorpusError, match="prepared.json: invalid JSON"):
        prepared(declared[0], corpora, tmp_path)


def test_prepared_pictures_are_cropped_too(corpora, declared, output):
    problem = problems(declared, str(output))[2]

    def first(**crop):
        settings = dataclasses.replace(SETTINGS, crop=RandomCrop(**crop) if crop else None)
        return [batch["inputs"].numpy() for batch in batches(problem, "train", corpora, True, settings=settings).take(3)]

    plain, whole = first(), first(area=(1, 1), aspect=(1, 1), mirror=False)
    crops, again = first(mirror=True), first(mirror=True)
    np.testing.assert_allclose(whole, plain, atol=1e-4)
    np.testing.assert_array_equal(crops, again)
    assert np.abs(np.subtract(crops, plain)).max() > 0.1


def test_an_interrupted_training_goes_on_with_the_same_records(corpora, declared, output, tmp_path):
    iterator = iter(batches(problems(declared, str(output))[2], "train", corpora, True))
    next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "c"))
    expected = [next(iterator)["index"].numpy().tolist() for _ in range(9)]
    other = iter(batches(problems(declared, str(output))[2], "train", corpora, True))
    tf.train.Checkpoint(iterator=other).restore(path)
    assert [next(other)["index"].numpy().tolist() for _ in range(9)] == expected


def broken_and_mended(corpora, tmp_path):
    """A problem with an unreadable image, an interrupted preparation of it, and the path and bytes that repair the image."""
    shutil.copytree(corpora / "imagenet", tmp_path / "imagenet")
    path = tmp_path / "imagenet" / "train" / "n01" / "1.JPEG"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    problem = Problem("pictures", ImageFolders(str(tmp_path)), "image", "class", "c")
    with pytest.raises(TooManyBadExamples):
        prepared(problem, corpora, tmp_path / "out", max_bad_examples=0)
    return problem, path, whole


def test_a_picture_that_was_mended_is_not_dropped_any_more(corpora, tmp_path):
    problem, path, whole = broken_and_mended(corpora, tmp_path)
    path.write_bytes(whole)
    found = prepared(problem, corpora, tmp_path / "out", max_bad_examples=0)
    assert found["splits"]["train"]["examples"] == 6 and not found["dropped"]["train"]


def test_finished_records_say_so_when_another_split_is_wanted(corpora, declared, tmp_path):
    found = prepared(declared[0], corpora, tmp_path / "out", splits=("train",))
    assert prepared(declared[0], corpora, tmp_path / "out", splits=("train",)) == found
    with pytest.raises(CorpusError, match=r"1\.0\.0: lacks the split dev, which exists. Delete the folder"):
        prepared(declared[0], corpora, tmp_path / "out")
    # What the corpus itself lacks is not missed.
    captions = prepared(declared[3], corpora, tmp_path / "out")
    assert "test" in captions["absent"] and prepared(declared[3], corpora, tmp_path / "out") == captions


def test_finished_records_say_so_when_a_dropped_picture_was_mended(corpora, tmp_path):
    problem, path, whole = broken_and_mended(corpora, tmp_path)
    found = prepared(problem, corpora, tmp_path / "out")
    assert found["splits"]["train"]["examples"] == 5
    assert prepared(problem, corpora, tmp_path / "out") == found
    path.write_bytes(whole)
    with pytest.raises(CorpusError, match=r"1\.0\.0: lacks .*1\.JPEG, .* but can be read now. Delete the folder"):
        prepared(problem, corpora, tmp_path / "out")


def test_what_could_not_be_read_is_tried_again_although_its_file_is_the_same(corpora, tmp_path):
    problem, path, whole = broken_and_mended(corpora, tmp_path)
    before = os.stat(path)
    path.write_bytes(whole[: before.st_size])
    with open(path, "r+b") as file:  # the same size and time, as where a library of another version can read it
        file.truncate(0)
        Image.new("RGB", (1, 1)).save(file, "BMP")
        file.write(bytes(before.st_size - file.tell()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = prepared(problem, corpora, tmp_path / "out", max_bad_examples=0)
    assert found["splits"]["train"]["examples"] == 6


def test_shards_of_unchanged_files_are_not_made_again(corpora, tmp_path, monkeypatch):
    problem, path, _ = broken_and_mended(corpora, tmp_path)
    made = []
    write = preparing._write
    monkeypatch.setattr(preparing, "_write", lambda *a: made.append(os.path.basename(a[2])) or write(*a))
    found = prepared(problem, corpora, tmp_path / "out", max_bad_examples=1)
    assert "train-00000" not in made and found["dropped"]["train"].keys() == {str(path)}
