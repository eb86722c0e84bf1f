"""The checkpoints of a run. Writing is atomic, the newest and the best ones are kept, and damaged ones are skipped."""

import contextlib
import datetime
import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from t2t_mm.common.errors import RunError
from t2t_mm.common.writing import without_nodes, writing
from t2t_mm.layers.randomness import looks_like_random_state

_NAME = re.compile(r"ckpt-(\d+)\.index$")
_VALUE = ".ATTRIBUTES/VARIABLE_VALUE"
_WEIGHT = re.compile(rf"variables/\d+/{re.escape(_VALUE)}")


def checkpoints_folder(model_dir: str) -> str:
    return os.path.join(model_dir, "checkpoints")


def best_folder(model_dir: str) -> str:
    return os.path.join(checkpoints_folder(model_dir), "best")


def newest_first(folder: str) -> list[str]:
    """Returns the paths of the checkpoints in `folder` without suffix. A checkpoint exists once its index file exists."""
    if not tf.io.gfile.isdir(folder):
        return []
    # By number, because the alphabetical order puts step 1000 before step 500.
    numbers = [int(found[1]) for name in tf.io.gfile.listdir(folder) if (found := _NAME.match(name))]
    return [os.path.join(folder, f"ckpt-{number}") for number in sorted(numbers, reverse=True)]


def damage(path: str) -> str | None:
    """Returns what is wrong with the files of a checkpoint, or None.

    Reads the whole checkpoint, because TensorFlow checks the CRC-32C of each tensor when it reads it.
    """
    try:
        reader = tf.train.load_checkpoint(path)
        for name, kind in reader.get_variable_to_dtype_map().items():
            tf.raw_ops.RestoreV2(prefix=path, tensor_names=[name], shape_and_slices=[""], dtypes=[kind])
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        return without_nodes(str(error))[:200]
    return None


def newest_valid(folder: str) -> str | None:
    """Returns the path of the newest valid checkpoint, or None if there are no checkpoints. Damaged ones are logged.

    Raises:
      RunError: there are checkpoints, and all are damaged.
    """
    found = valid(newest_first(folder))
    return found[0] if found else None


def valid(paths: Sequence[str], count: int = 1) -> list[str]:
    """Returns the first `count` valid checkpoints, or fewer if there are fewer. Damaged ones are logged.

    Args:
      paths: the paths of checkpoints, in order of preference.

    Raises:
      RunError: there are checkpoints, and all are damaged.
    """
    whole: list[str] = []
    damaged = []
    for path in paths:
        # No more are read than are needed, because a check reads the whole checkpoint.
        if len(whole) == count:
            break
        reason = damage(path)
        if reason is None:
            whole.append(path)
            continue
        damaged.append(f"{path} ({reason})")
        logging.warning("%s is damaged (%s); using the one before it.", path, reason)
    if damaged and not whole:
        raise RunError(
            f"Every checkpoint is damaged: {'; '.join(damaged)}. Restore a copy, or move {os.path.dirname(paths[0])} away "
            "to start from the beginning."
        )
    return whole


def best_first(model_dir: str) -> list[str]:
    """Returns the paths of the checkpoints with the best evaluations, the best first."""
    there = newest_first(best_folder(model_dir))
    record = _read_best(best_folder(model_dir))
    if record is None:
        return there
    order = [os.path.join(best_folder(model_dir), f"ckpt-{one['step']}") for one in record["kept"]]
    return [path for path in order if path in there]


def best_step(model_dir: str) -> int | None:
    """Returns the step of the checkpoint with the best evaluation, or None if there is none."""
    found = best_first(model_dir)
    return step_of(found[0]) if found else None


def step_of(path: str) -> int:
    """Returns the step of a checkpoint, given its path without suffix."""
    return int(path.rsplit("-", 1)[1])


def _read_best(folder: str) -> dict | None:
    """Returns the content of best.json, or None if it does not exist.

    Raises:
      RunError: it is damaged.
    """
    path = os.path.join(folder, "best.json")
    try:
        with tf.io.gfile.GFile(path) as file:
            record = json.load(file)
        record.setdefault("kept", [{"step": record["step"], "value": record["value"]}])  # older runs only kept one
    except tf.errors.NotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: is damaged ({error}). Delete it; the newest checkpoint in its folder then counts as the best."
        ) from error
    return record


def of_step(model_dir: str, step: int) -> str:
    """Returns the path of the checkpoint of a step, among the newest and the best ones of a run.

    Raises:
      RunError: there is no such checkpoint, or it is damaged.
    """
    found: dict[int, str] = {}
    # A step may be in both folders with the same weights; one of them is enough.
    for folder in (best_folder(model_dir), checkpoints_folder(model_dir)):
        found |= {step_of(path): path for path in newest_first(folder)}
    if step not in found:
        known = ", ".join(map(str, sorted(found))) or "none"
        raise RunError(f"{model_dir}: no checkpoint of step {step}; there are checkpoints of the steps {known}.")
    if reason := damage(found[step]):
        raise RunError(f"{found[step]} is damaged ({reason}). Choose another step.")
    return found[step]


def key_of(name: str) -> str:
    """Returns the name of the tensor of a variable in a checkpoint, for a variable such as "done" or "variables/3"."""
    return f"{name}/{_VALUE}"


def weights_in_order(reader: "tf.train.CheckpointReader") -> list[str]:
    """Returns the names of those tensors of a checkpoint that are weights of its model, in the order of the model's variables.

    The states of random numbers are left out.
    """
    weights, _ = _weights_and_states(reader)
    return sorted(weights, key=lambda name: int(name.split("/")[1]))


def random_states_in(path: str) -> int:
    """Returns the number of states of random numbers in a checkpoint."""
    return len(_weights_and_states(tf.train.load_checkpoint(path))[1])


def _weights_and_states(reader: "tf.train.CheckpointReader") -> tuple[list[str], list[str]]:
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    weights: list[str] = []
    states: list[str] = []
    for name in filter(_WEIGHT.fullmatch, shapes):
        (states if looks_like_random_state(types[name].name, shapes[name]) else weights).append(name)
    return weights, states


def saved_text(path: str, name: str) -> str | None:
    """Returns the text of a string variable in a checkpoint, or None if the checkpoint has no variable of this name."""
    reader, key = tf.train.load_checkpoint(path), key_of(name)
    return reader.get_tensor(key).decode() if reader.has_tensor(key) else None


class Checkpoints:
    """Writes the checkpoints of one run.

    A checkpoint is first written to the folder `part`. Then its data files are renamed into place, and finally its index
    file, without which it is not a checkpoint. Therefore a process that is killed at any moment leaves the earlier
    checkpoints intact.

    Args:
      checkpoint: the objects to save.
      model_dir: the folder of the run.
      keep: number of newest checkpoints to keep, besides the best ones.
      metric: name of the metric that selects the best checkpoints; see `keep_best`.
      best: number of best checkpoints to keep.
      measured: name -> setting with which the metric is measured. Values of other settings are not compared with these.

    Raises:
      RunError: `keep` or `best` is less than 1.
    """

    def __init__(
        self, checkpoint: tf.train.Checkpoint, model_dir: str, keep: int = 2, metric: str = "", best: int = 1,
        measured: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        if keep < 1 or best < 1:
            raise RunError(f"keep is {keep}, keep_best {best}; at least 1 checkpoint must be kept.")
        self._checkpoint, self._keep, self._metric, self._most = checkpoint, keep, metric, best
        self._measured = None if measured is None else dict(measured)
        self._folder, self._best_folder = checkpoints_folder(model_dir), best_folder(model_dir)
        for folder in (self._folder, self._best_folder):
            _remove_tree(os.path.join(folder, "part"))  # left by a process that was killed

    def save(self, step: int) -> None:
        """Writes the checkpoint of `step`, then removes old ones beyond `keep`.

        Raises:
          RunError: it cannot be written, for instance because the disk is full. Earlier checkpoints are not affected.
        """
        # Old checkpoints are removed only when the new one is complete.
        _write(self._checkpoint, self._folder, step)
        for path in newest_first(self._folder)[self._keep :]:
            _remove(path)

    def best(self) -> dict | None:
        """Returns {"metric", "value", "step"} of the best checkpoint, or None if there is none for this metric."""
        best = self._comparable()
        if best is None:
            return None
        return {name: best[name] for name in ("metric", "value", "step")}

    def _comparable(self) -> dict | None:
        """Returns the content of best.json if its values can be compared with those of this run as it is configured now."""
        best = _read_best(self._best_folder)
        if best is None:
            return None
        now = {"metric": self._metric, **(self._measured or {})}
        was = {"metric": best["metric"], **(best.get("measured") or {})}  # an older run did not write the settings
        changed = ", ".join(
            f"{name} was {was[name]} and is {now[name]}" for name in now if was.get(name, now[name]) != now[name]
        )
        if not changed:
            return best
        logging.info("%s: the best checkpoints of before do not count, because %s.", self._best_folder, changed)
        return None

    def keep_best(self, step: int, value: float, higher_is_better: bool) -> bool:
        """Writes the checkpoint of `step` if it is among the best ones, and returns whether it is the best of all.

        If two values are equal, the earlier checkpoint counts as better.

        Raises:
          RunError: the checkpoint cannot be written.
        """
        before = self._comparable()
        kept = before["kept"] if before else []
        # The sort is stable, so the new checkpoint comes after others with the same value.
        # A resumed run may evaluate a step a second time.
        kept = [one for one in kept if one["step"] != step] + [{"step": step, "value": value}]
        kept = sorted(kept, key=lambda one: one["value"], reverse=higher_is_better)[: self._most]
        if step not in [one["step"] for one in kept]:
            return False
        _write(self._checkpoint, self._best_folder, step)
        path = os.path.join(self._best_folder, "best.json")
        # The new checkpoint, then best.json, then the removal: at every moment, the files that best.json names exist.
        with writing(path):
            with tf.io.gfile.GFile(path + ".part", "w") as file:
                json.dump({"metric": self._metric, **kept[0], "kept": kept, "measured": self._measured}, file)
            tf.io.gfile.rename(path + ".part", path, overwrite=True)
        names = {os.path.join(self._best_folder, f"ckpt-{one['step']}") for one in kept}
        for other in newest_first(self._best_folder):
            if other not in names:
                _remove(other)
        return kept[0]["step"] == step


def _write(checkpoint: tf.train.Checkpoint, folder: str, step: int) -> None:
    part, name = os.path.join(folder, "part"), f"ckpt-{step}"
    earlier = any(newest_first(one) for one in (folder, os.path.dirname(folder)))  # "best" is below the newest
    try:
        with writing(os.path.join(folder, name), "The earlier checkpoints are intact. " if earlier else ""):
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


def _to_disk(path: str) -> None:
    """Flushes a local file to disk, so that it survives a power failure."""
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
    """Creates the folder and holds its lock, so that no other process can train there in the meantime.

    The operating system releases the lock when the process ends for any reason. Object storage (`gs://…`) has no locks.

    Raises:
      RunError: the folder cannot be written to, another process holds its lock, or TensorFlow could not read checkpoints in
        it.
    """
    # TensorFlow takes the path of a checkpoint that it reads for a pattern of file names, but not when it writes one.
    if found := re.search(r"[*?\[\]{}\\]", model_dir):
        raise RunError(
            f"{model_dir}: contains {found[0]!r}, which TensorFlow does not find again in the name of a checkpoint. Use "
            "another model_dir."
        )
    if "://" in model_dir:
        yield
        return
    path, made = os.path.join(model_dir, "lock"), _missing_folders(model_dir)
    before = None if made else sorted(os.listdir(model_dir))
    try:
        os.makedirs(model_dir, exist_ok=True)
        # Opened without truncating, because until the lock is held, the file names the process that holds it.
        file = open(path, "ab+", buffering=0)
    except OSError as error:
        raise RunError(
            f"{model_dir}: cannot be written to ({error.strerror}). Change its permissions, or use another model_dir."
        ) from error
    with file, _removed_if_nothing_else(path, made, before):
        try:
            # A lock and not the existence of the file, which would remain after a crash.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().decode().strip()
            raise RunError(
                f"{model_dir}: another training process is using it ({owner}). Wait for it, stop it, or use another model_dir."
            ) from error
        with writing(path):
            file.truncate(0)
            since = f"since {datetime.datetime.now():%Y-%m-%d %H:%M}"
            file.write(f"process {os.getpid()} on {socket.gethostname()}, {since}\n".encode())
        yield


def _missing_folders(path: str) -> list[str]:
    """Returns the folders of a path that do not exist yet, the innermost first."""
    missing, folder = [], os.path.abspath(path)
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


@contextlib.contextmanager
def _removed_if_nothing_else(lock: str, made: list[str], before: list[str] | None):
    """Removes the lock and the folders created for it if nothing else was written, because the start was rejected.

    Args:
      made: the folders that were created, the innermost first.
      before: the files in the folder of the lock before, if it existed.
    """
    name = os.path.basename(lock)
    try:
        yield
    except BaseException:
        # Of a folder that existed, only the lock is removed; the rest belongs to the user.
        if before is not None and name not in before and sorted(os.listdir(os.path.dirname(lock))) == sorted([*before, name]):
            os.remove(lock)
        raise
    finally:
        if made and os.listdir(made[0]) == [os.path.basename(lock)]:
            os.remove(lock)
            for folder in made:
                with contextlib.suppress(OSError):  # another process has written to it in the meantime
                    os.rmdir(folder)
