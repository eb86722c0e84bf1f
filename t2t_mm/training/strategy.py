"""Distributes a run over devices and hosts, with one of four strategies of tf.distribute."""

import contextlib
import json
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.input.buckets import BatchSettings, bucket_shapes, unit
from t2t_mm.problem import Problem

NAMES = ("one", "mirrored", "multi_worker", "tpu")  # functions of this module, and values of bin/train.py --strategy


def problems_at_once() -> int:
    """Returns the number of problems whose gradients are computed at the same time: on a CPU one per core, at most 4.

    With an accelerator it is 2, because each problem keeps its activations in the accelerator's memory.
    """
    # The CPU is one of the devices.
    if len(tf.config.list_physical_devices()) > 1:
        return 2
    # The cores that this process may use, which in a container are fewer than those of the machine.
    return min(len(os.sched_getaffinity(0)), 4)


def divide_cores() -> None:
    """Gives each of the problems that are computed at the same time its share of the cores, for runs on one device.

    By default, TensorFlow splits every operation over all cores. The operations of a small model are too short for that: on
    two cores, a joint step of the mini size takes 1.8 s with this default, and 1.1 s with one core for each of two problems.
    Call this before TensorFlow computes anything. The environment variable TF_NUM_INTRAOP_THREADS overrides it.
    """
    share = max(len(os.sched_getaffinity(0)) // problems_at_once(), 1)
    # TensorFlow reads the variable when it makes its thread pool, at its first computation.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(share))


def one() -> tf.distribute.Strategy:
    """Uses one device: the first accelerator, or the CPU if there is none."""
    return tf.distribute.get_strategy()


def mirrored(devices: list[str] | None = None) -> tf.distribute.Strategy:
    """Uses all accelerators of this host, or `devices` (such as "GPU:0" or "CPU:1"), with one replica on each.

    Raises:
      RunError: a device does not exist on this host.
    """
    known = {device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()}
    for device in devices or ():
        if device not in known:
            raise RunError(f"mirrored.devices names {device}; this host has {', '.join(sorted(known))}.")
    return tf.distribute.MirroredStrategy(devices)


def multi_worker() -> tf.distribute.Strategy:
    """Uses one process on each host. The environment variable TF_CONFIG describes the cluster to each process.

    Raises:
      RunError: TF_CONFIG is missing, or does not describe a cluster that contains this task.
    """
    example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
    text = os.environ.get("TF_CONFIG", "")
    try:
        described = json.loads(text)
        kind, index = described["task"]["type"], described["task"]["index"]
        # Fails if the cluster does not contain this task.
        _ = described["cluster"][kind][index]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise RunError(
            f"Strategy multi_worker: TF_CONFIG is {text!r}, which does not describe the position of this process in a "
            f"cluster. Set it on each host, for instance to {example}"
        ) from error
    return tf.distribute.MultiWorkerMirroredStrategy()


def tpu(address: str = "") -> tf.distribute.Strategy:
    """Uses a TPU slice.

    Args:
      address: name of the TPU, or "local" on a TPU VM. Empty: the address in the environment.

    Raises:
      RunError: no TPU is found at this address.
    """
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
        # On a TPU VM, this process already runs on the host of the TPU.
        if address != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise RunError(
            f"Strategy tpu: no TPU at {address or 'the address of the environment'!r} "
            f"({' '.join(str(error).split())[:200]}). Set tpu.address to its name, or to 'local' on a TPU VM."
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def task(strategy: tf.distribute.Strategy) -> str:
    """Returns the name of this process in its cluster, such as "worker 1", or "" if there is only one process."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type or isinstance(strategy, tf.distribute.TPUStrategy):
        return ""
    return f"{resolver.task_type} {resolver.task_id}"


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the chief, which writes checkpoints and logs."""
    here = task(strategy)
    jobs = strategy.cluster_resolver.cluster_spec().jobs if here else ()
    # TensorFlow's convention: worker 0 is the chief if the cluster has no job of this name.
    return here in ("", "chief 0") or (here == "worker 0" and "chief" not in jobs)


def describe(strategy: tf.distribute.Strategy, problems: list[Problem], settings: BatchSettings) -> list[str]:
    """Returns lines that describe the cluster, the replicas, and the global and per-replica batch of each problem."""
    replicas, here = strategy.num_replicas_in_sync, task(strategy)
    if isinstance(strategy, type(tf.distribute.get_strategy())):  # TensorFlow's own strategy, without a name for users
        lines = ["One device"]
    else:
        lines = [f"{type(strategy).__name__}, {replicas} replica(s){', this is ' + here if here else ''}"]
    if here:
        cluster = strategy.cluster_resolver.cluster_spec().as_dict()
        lines += [f"{job} {i}: {address}" for job, addresses in cluster.items() for i, address in enumerate(addresses)]
    for problem in problems:
        shapes = bucket_shapes(problem, settings, replicas)
        what = unit(problem, settings)
        sizes = [
            f"{batch} examples ({batch // replicas} per replica) of {what} {length}"
            # Only the shortest and the longest bucket; they are the same if nothing is padded.
            for length, batch in dict.fromkeys((shapes[0], shapes[-1]))
        ]
        lines.append(f"{problem.name}: global batch {' to '.join(sizes)}")
    return lines


class Workers:
    """Synchronizes decisions of the processes of a multi_worker run between two steps.

    With a single process, it uses the values of that process.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy, self._here = strategy, task(strategy)
        self._run = tf.function(lambda values: strategy.run(_total, args=(values,)))

    def _mean(self, value: int) -> float:
        """Returns the mean of a number over all workers."""
        if not self._here:
            return float(value)
        # In float64, which holds every count exactly.
        values = self._strategy.experimental_distribute_values_from_function(lambda _: tf.constant(value, tf.float64))
        total = self._strategy.experimental_local_results(self._run(values))[0]
        # A worker adds its value once for each of its replicas, and all workers have equally many.
        return float(total) / self._strategy.num_replicas_in_sync

    def any(self, value: int) -> bool:
        """Returns whether the non-negative value is above zero on any worker."""
        return self._mean(value) > 0

    def check_same(self, value: int, what: str) -> None:
        """Raises RunError if `value` is not the same on all workers."""
        mean = self._mean(value)
        # If the workers differ, at least one of them differs from the mean and stops; the others then notice that it is gone.
        if mean != value:
            raise RunError(f"{self._here}: the workers do not agree on {what}; it is {value} here and {mean:g} on average.")

    @contextlib.contextmanager
    def named_if_gone(self) -> Iterator[None]:
        """Turns a failed communication with another worker into a RunError that names the worker."""
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
            if not self._here:
                raise
            reason = " ".join(str(error).split())
            # TensorFlow's messages name the task in one of these two forms.
            found = re.search(r"(?:reported from|remote target) /job:(\w+)(?:/replica:\d+)?/task:(\d+)", reason)
            gone = f"{found[1]} {found[2]}" if found else "another worker"
            raise RunError(
                f"{self._here}: {gone} is gone ({reason[:400]}). Start the same command again on every host; the run "
                "resumes from its newest checkpoint."
            ) from error


def _total(value):
    # Graph arguments are not placed on any device, but all_reduce needs tensors on the device of the replica.
    value = tf.identity(value)
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)
