"""Tests that checkpoints are complete or absent, damaged ones are named and skipped, and a folder has one trainer."""

import os

import pytest
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.run.checkpoints import (
    Checkpoints,
    best_first,
    best_folder,
    checkpoints_folder,
    damage,
    newest_first,
    newest_valid,
    only_trainer,
    valid,
)  # fmt: skip
from tests.training import tiny_run


@pytest.fixture
def weight():
    return tf.Variable(tf.zeros([64, 64]))


@pytest.fixture
def checkpoints(weight, tmp_path):
    iterator = iter(tf.data.Dataset.range(100).shuffle(10))  # data order is part of every checkpoint
    return Checkpoints(tf.train.Checkpoint(weight=weight, iterator=iterator), str(tmp_path), 2, "log_perplexity")


def saved(checkpoints, weight, *steps):
    for step in steps:
        weight.assign(tf.fill([64, 64], float(step)))
        checkpoints.save(step)


def value(path):
    weight = tf.Variable(tf.zeros([64, 64]))
    tf.train.Checkpoint(weight=weight).read(path).expect_partial()
    return float(weight[3, 3])


def test_the_last_few_are_kept(checkpoints, weight, tmp_path):
    saved(checkpoints, weight, 5, 10, 20)
    folder = checkpoints_folder(tmp_path)
    assert newest_first(folder) == [os.path.join(folder, "ckpt-20"), os.path.join(folder, "ckpt-10")]
    assert value(newest_valid(folder)) == 20
    assert newest_valid(str(tmp_path / "nowhere")) is None


def test_a_process_killed_at_any_moment_leaves_a_whole_checkpoint(checkpoints, weight, tmp_path, monkeypatch):
    """Killed before the first of its files is in place, or before the second: the index must be the last."""
    folder, rename, names, killed_at = checkpoints_folder(tmp_path), tf.io.gfile.rename, [], []

    class Killed(BaseException):
        pass

    def renamed(source, target, overwrite=False):
        if killed_at == [len(names)]:
            raise Killed
        names.append(os.path.basename(target))
        rename(source, target, overwrite=overwrite)

    monkeypatch.setattr(tf.io.gfile, "rename", renamed)
    saved(checkpoints, weight, 1)
    assert names == ["ckpt-1.data-00000-of-00001", "ckpt-1.index"]
    for count in range(2):
        names.clear()
        killed_at[:] = [count]
        with pytest.raises(Killed):
            saved(checkpoints, weight, 2)
        (path,) = newest_first(folder)
        assert path.endswith("ckpt-1") and damage(path) is None and value(newest_valid(folder)) == 1
    killed_at.clear()
    saved(checkpoints, weight, 2)
    assert value(newest_valid(folder)) == 2


def cut(path):
    os.truncate(path, os.path.getsize(path) // 2)


def flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("harm", [cut, flip, os.remove])
@pytest.mark.parametrize("suffix", [".data-00000-of-00001", ".index"])
def test_a_damaged_one_is_named_and_passed_over(checkpoints, weight, tmp_path, harm, suffix, caplog):
    saved(checkpoints, weight, 1, 2)
    folder = checkpoints_folder(tmp_path)
    harm(os.path.join(folder, f"ckpt-2{suffix}"))
    assert value(newest_valid(folder)) == 1
    if (harm, suffix) != (os.remove, ".index"):  # without an index it is none
        assert "ckpt-2 is damaged" in caplog.text


def test_with_all_damaged_nothing_starts_anew(checkpoints, weight, tmp_path):
    saved(checkpoints, weight, 1, 2)
    for path in newest_first(checkpoints_folder(tmp_path)):
        cut(path + ".data-00000-of-00001")
    with pytest.raises(RunError, match="Every checkpoint is damaged: .*ckpt-2 .*ckpt-1 "):
        newest_valid(checkpoints_folder(tmp_path))


def test_a_full_disk_leaves_the_checkpoints_before(checkpoints, weight, tmp_path):
    """A limit of the size of files stands for the full disk: the write fails half-way just so."""
    folder, mend = checkpoints_folder(tmp_path), r"Free some space and start the same command again\.$"
    with (
        tiny_run.full_disk(8000),
        pytest.raises(RunError, match=rf"{folder}/ckpt-1: cannot be written: file too large\. {mend}"),
    ):
        saved(checkpoints, weight, 1)
    saved(checkpoints, weight, 1)
    intact = rf"file too large\. The earlier checkpoints are intact\. {mend}"
    with tiny_run.full_disk(8000), pytest.raises(RunError, match=rf"ckpt-2: cannot be written: {intact}"):
        saved(checkpoints, weight, 2)
    with tiny_run.full_disk(8000), pytest.raises(RunError, match=rf"best/ckpt-1: cannot be written: {intact}"):
        checkpoints.keep_best(1, 1.0, higher_is_better=False)
    assert [damage(path) for path in newest_first(folder)] == [None] and value(newest_valid(folder)) == 1
    assert not os.path.exists(os.path.join(folder, "part"))
    saved(checkpoints, weight, 3)
    assert value(newest_valid(folder)) == 3


def test_the_best_outlives_the_last(checkpoints, weight, tmp_path):
    for step, loss in ((1, 5.0), (2, 3.0), (3, 4.0)):
        saved(checkpoints, weight, step)
        assert checkpoints.keep_best(step, loss, higher_is_better=False) == (step < 3)
    saved(checkpoints, weight, 4, 5)
    best = os.path.join(checkpoints_folder(tmp_path), "best")
    assert value(newest_valid(best)) == 2 and len(newest_first(best)) == 1
    again = Checkpoints(tf.train.Checkpoint(weight=weight), str(tmp_path), 2, "log_perplexity")
    assert again.best() == {"metric": "log_perplexity", "value": 3.0, "step": 2}
    other = Checkpoints(tf.train.Checkpoint(weight=weight), str(tmp_path), 2, "token_accuracy")
    assert other.best() is None and other.keep_best(5, 0.1, higher_is_better=True)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"step": 2}', b"\xff"])
def test_a_damaged_record_of_the_best_is_named(checkpoints, weight, tmp_path, content):
    saved(checkpoints, weight, 2)
    checkpoints.keep_best(2, 3.0, higher_is_better=False)
    path = os.path.join(best_folder(str(tmp_path)), "best.json")
    with open(path, "wb") as file:
        file.write(content)
    for read in (lambda: best_first(str(tmp_path)), checkpoints.best):
        with pytest.raises(RunError, match=rf"{path}: is damaged \(.+\). Delete it; the newest checkpoint in its folder"):
            read()
    os.remove(path)
    assert [value(one) for one in best_first(str(tmp_path))] == [2]


def test_values_of_another_measurement_are_not_compared(weight, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")

    def measuring(examples):
        whole = tf.train.Checkpoint(weight=weight)
        return Checkpoints(whole, str(tmp_path), 1, "bleu", measured={"examples": examples, "moving_average": False})

    assert measuring(32).keep_best(1, 50.0, higher_is_better=True) and measuring(32).best()["step"] == 1
    assert measuring(256).best() is None
    assert "the best checkpoints of before do not count, because examples was 32 and is 256." in caplog.text
    assert measuring(256).keep_best(2, 40.0, higher_is_better=True) and measuring(256).best()["step"] == 2


def test_the_best_few_are_kept_in_their_order(weight, tmp_path):
    checkpoints = Checkpoints(tf.train.Checkpoint(weight=weight), str(tmp_path), 1, "bleu", best=2)
    found = []
    for step, bleu in ((1, 10.0), (2, 30.0), (3, 20.0), (4, 30.0), (5, 5.0)):
        saved(checkpoints, weight, step)
        found.append(checkpoints.keep_best(step, bleu, higher_is_better=True))
    assert found == [True, True, False, False, False]  # of equals the earlier one is the better
    assert [value(path) for path in best_first(str(tmp_path))] == [2, 4]
    assert checkpoints.best() == {"metric": "bleu", "value": 30.0, "step": 2}
    cut(os.path.join(best_folder(str(tmp_path)), "ckpt-2.data-00000-of-00001"))
    assert [value(path) for path in valid(best_first(str(tmp_path)), 2)] == [4]


def test_two_trainers_on_one_folder(tmp_path):
    with only_trainer(str(tmp_path / "run")):
        with pytest.raises(RunError, match=rf"another training process is using it \(process {os.getpid()} on .*since"):
            with only_trainer(str(tmp_path / "run")):
                pass
    with only_trainer(str(tmp_path / "run")):
        pass


def test_a_folder_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"run\[1\]: contains '\[', which TensorFlow does not find again"):
        with only_trainer(str(tmp_path / "run[1]")):
            pass
    assert not (tmp_path / "run[1]").exists()


def test_a_folder_that_cannot_be_written_to(tmp_path):
    with pytest.raises(RunError, match="/proc/run: cannot be written to .*another model_dir"):
        with only_trainer("/proc/run"):
            pass
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written to"):
        with only_trainer(str(tmp_path / "file")):
            pass
