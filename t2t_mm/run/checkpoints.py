"""Checkpoints of a run: each written whole or not at all, the last few and the best kept, damaged ones passed over."""

import contextlib
import datetime
import fcntl
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf
from absl import logging

from t2t_mm.run.errors import RunError

_NAME = re.compile(r"ckpt-(\d+)\.index$")
_VALUE = ".ATTRIBUTES/VARIABLE_VALUE"
_WEIGHT = re.compile(rf"variables/\d+/{re.escape(_VALUE)}")


def checkpoints_folder(model_dir: str) -> str:
    return os.path.join(model_dir, "checkpoints")


def best_folder(model_dir: str) -> str:
    return os.path.join(checkpoints_folder(model_dir), "best")


def newest_first(folder: str) -> list[str]:
    """Paths of the checkpoints in `folder`, without suffix. A checkpoint is there once its index file is."""
    if not tf.io.gfile.isdir(folder):
        return []
    numbers = [int(found[1]) for name in tf.io.gfile.listdir(folder) if (found := _NAME.match(name))]
    return [os.path.join(folder, f"ckpt-{number}") for number in sorted(numbers, reverse=True)]


def damage(path: str) -> str | None:
    """What is wrong with the files of a checkpoint, or None. Reads it all: TensorFlow checks each tensor's CRC-32C."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name, kind in reader.get_variable_to_dtype_map().items():
            tf.raw_ops.RestoreV2(prefix=path, tensor_names=[name], shape_and_slices=[""], dtypes=[kind])
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        return " ".join(str(error).split())[:200]
    return None


def newest_valid(folder: str) -> str | None:
    """The newest checkpoint that is whole; None where there is none at all. Damaged ones are named in the log.

    Raises:
      RunError: there are checkpoints, and all are damaged.
    """
    found = valid(newest_first(folder))
    return found[0] if found else None


def valid(paths: Sequence[str], count: int = 1) -> list[str]:
    """The first `count` of the checkpoints that are whole; fewer where there are fewer. Damaged ones are named in the log.

    Raises:
      RunError: there are checkpoints, and all are damaged.
    """
    whole: list[str] = []
    damaged = []
    for path in paths:
        if len(whole) == count:
            break
        reason = damage(path)
        if reason is None:
            whole.append(path)
            continue
        damaged.append(f"{path} ({reason})")
        logging.warning("%s is damaged (%s); taking the one before it.", path, reason)
    if damaged and not whole:
        raise RunError(
            f"Every checkpoint is damaged: {'; '.join(damaged)}. Restore a copy, or move {os.path.dirname(paths[0])} away "
            "to start again."
        )
    return whole


def best_first(model_dir: str) -> list[str]:
    """Paths of the checkpoints of the best evaluations, the best first."""
    there = newest_first(best_folder(model_dir))
    record = _read_best(best_folder(model_dir))
    if record is None:
        return there
    order = [os.path.join(best_folder(model_dir), f"ckpt-{one['step']}") for one in record["kept"]]
    return [path for path in order if path in there]


def _read_best(folder: str) -> dict | None:
    """What best.json says of the best checkpoints; None where there is none."""
    try:
        with tf.io.gfile.GFile(os.path.join(folder, "best.json")) as file:
            record = json.load(file)
    except tf.errors.NotFoundError:
        return None
    record.setdefault("kept", [{"step": record["step"], "value": record["value"]}])  # one was kept before
    return record


def of_step(model_dir: str, step: int) -> str:
    """The checkpoint of a step, among the last and the best of a run.

    Raises:
      RunError: there is none, or it is damaged.
    """
    found: dict[int, str] = {}
    for folder in (best_folder(model_dir), checkpoints_folder(model_dir)):
        found |= {int(path.rsplit("-", 1)[1]): path for path in newest_first(folder)}
    if step not in found:
        known = ", ".join(map(str, sorted(found))) or "none"
        raise RunError(f"{model_dir}: no checkpoint of step {step}; those that are kept are of the steps {known}.")
    if reason := damage(found[step]):
        raise RunError(f"{found[step]} is damaged ({reason}). Take another step.")
    return found[step]


def key_of(name: str) -> str:
    """What the tensor of a variable is called in a checkpoint, for instance of "done" or "variables/3"."""
    return f"{name}/{_VALUE}"


def count_weights(names: Iterable[str]) -> int:
    """How many of the tensors in a checkpoint are weights of its model."""
    return sum(bool(_WEIGHT.fullmatch(name)) for name in names)


def saved_text(path: str, name: str) -> str | None:
    """The text of a variable in a checkpoint; None where the checkpoint has no variable of that name."""
    reader, key = tf.train.load_checkpoint(path), key_of(name)
    return reader.get_tensor(key).decode() if reader.has_tensor(key) else None


class Checkpoints:
    """Writes the checkpoints of one run.

    A checkpoint is written into the folder `part` first, then its data is renamed into place, then its index, which
    alone makes it one: a process killed at any moment leaves the checkpoints before as they were.

    Args:
      keep: how many of the last are kept, besides the best.
      metric: what "best" goes by; see `keep_best`.
      best: how many of the best are kept.
    """

    def __init__(
        self, checkpoint: tf.train.Checkpoint, model_dir: str, keep: int = 2, metric: str = "", best: int = 1
    ):
        if keep < 1 or best < 1:
            raise RunError(f"keep is {keep}, keep_best {best}; at least 1 checkpoint must be kept.")
        self._checkpoint, self._keep, self._metric, self._most = checkpoint, keep, metric, best
        self._folder, self._best_folder = checkpoints_folder(model_dir), best_folder(model_dir)
        for folder in (self._folder, self._best_folder):
            _remove_tree(os.path.join(folder, "part"))  # of a process that was killed

    def save(self, step: int) -> None:
        """Writes the checkpoint of `step`, then removes those beyond `keep`.

        Raises:
          RunError: it cannot be written (the disk is full, say); those before are untouched.
        """
        _write(self._checkpoint, self._folder, step)
        for path in newest_first(self._folder)[self._keep :]:
            _remove(path)

    def best(self) -> dict | None:
        """{"metric", "value", "step"} of the best checkpoint, where there is one by this metric."""
        best = _read_best(self._best_folder)
        if best is None or best["metric"] != self._metric:
            return None
        return {name: best[name] for name in ("metric", "value", "step")}

    def keep_best(self, step: int, value: float, higher_is_better: bool) -> bool:
        """Writes the checkpoint of `step` if it is among the best ones -> whether it is the very best.

        Of equal values the earlier one is the better.
        """
        before = _read_best(self._best_folder)
        kept = before["kept"] if before and before["metric"] == self._metric else []
        # The sort is stable, so that the new one comes after its equals.
        kept = [one for one in kept if one["step"] != step] + [{"step": step, "value": value}]
        kept = sorted(kept, key=lambda one: one["value"], reverse=higher_is_better)[: self._most]
        if step not in [one["step"] for one in kept]:
            return False
        _write(self._checkpoint, self._best_folder, step)
        path = os.path.join(self._best_folder, "best.json")
        with tf.io.gfile.GFile(path + ".part", "w") as file:
            json.dump({"metric": self._metric, **kept[0], "kept": kept}, file)
        tf.io.gfile.rename(path + ".part", path, overwrite=True)
        names = {os.path.join(self._best_folder, f"ckpt-{one['step']}") for one in kept}
        for other in newest_first(self._best_folder):
            if other not in names:
                _remove(other)
        return kept[0]["step"] == step


def _write(checkpoint: tf.train.Checkpoint, folder: str, step: int) -> None:
    part, name = os.path.join(folder, "part"), f"ckpt-{step}"
    try:
        with writing(os.path.join(folder, name)):
            _write_part(checkpoint, folder, part, name)
    finally:
        _remove_tree(part)


def _write_part(checkpoint: tf.train.Checkpoint, folder: str, part: str, name: str) -> None:
    tf.io.gfile.makedirs(part)
    checkpoint.write(os.path.join(part, name))
    files = sorted(tf.io.gfile.listdir(part), key=lambda file: file.endswith(".index"))  # the index comes last
    for file in files:
        _to_disk(os.path.join(part, file))
        tf.io.gfile.rename(os.path.join(part, file), os.path.join(folder, file), overwrite=True)


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns the failure to write something of a run (the disk is full, say) into a RunError that says what and why."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        raise RunError(
            f"{path}: cannot be written ({' '.join(str(error).split())[:200]}). The checkpoints before are whole; free "
            "some space and start the same command again."
        ) from error


def _to_disk(path: str) -> None:
    """Waits until a local file would survive a loss of power."""
    if "://" not in path:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _remove(path: str) -> None:
    for file in [path + ".index", *tf.io.gfile.glob(path + ".data-*")]:
        tf.io.gfile.remove(file)


def _remove_tree(folder: str) -> None:
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)


@contextlib.contextmanager
def only_trainer(model_dir: str) -> Iterator[None]:
    """Makes the folder and holds its lock: no other process may train there meanwhile.

    The system frees the lock when the process ends, however it ends. Object storage (`gs://…`) knows no locks.

    Raises:
      RunError: the folder cannot be written to, or another process holds the lock.
    """
    if "://" in model_dir:
        yield
        return
    path, made = os.path.join(model_dir, "lock"), _missing_folders(model_dir)
    try:
        os.makedirs(model_dir, exist_ok=True)
        file = open(path, "ab+", buffering=0)
    except OSError as error:
        raise RunError(
            f"{model_dir}: cannot be written to ({error.strerror}). Mend its permissions, or give another model_dir."
        ) from error
    with file, _removed_if_empty(path, made):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().decode().strip()
            raise RunError(
                f"{model_dir}: another training is at work on it ({owner}). Wait for it or stop it, or give another "
                "model_dir."
            ) from error
        with writing(path):
            file.truncate(0)
            since = f"since {datetime.datetime.now():%Y-%m-%d %H:%M}"
            file.write(f"process {os.getpid()} on {socket.gethostname()}, {since}\n".encode())
        yield


def _missing_folders(path: str) -> list[str]:
    """The folders of a path that are not there yet, the innermost first."""
    missing, folder = [], os.path.abspath(path)
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


@contextlib.contextmanager
def _removed_if_empty(lock: str, made: list[str]):
    """Takes the lock and the folders made for it away again where nothing else was written: a refused start."""
    try:
        yield
    finally:
        if made and os.listdir(made[0]) == [os.path.basename(lock)]:
            os.remove(lock)
            for folder in made:
                with contextlib.suppress(OSError):  # another process has written into it meanwhile
                    os.rmdir(folder)
