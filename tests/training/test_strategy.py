"""Tests that impossible strategies are rejected and that the chosen one is printed."""

import json

import pytest
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.problem import Problem
from t2t_mm.training import strategy

PROBLEMS = [
    Problem("wmt_en_de", None, "language", "text", "To-German"),
    Problem("imagenet", None, "image", "class", "To-Class"),
]


def test_the_start_says_how_batches_are_shared_out():
    class Two(tf.distribute.MirroredStrategy):
        num_replicas_in_sync = 2

    lines = strategy.describe(Two(["CPU:0"]), PROBLEMS, BatchSettings(positions=1000, images=30, max_length=100))
    assert lines[0] == "Two, 2 replica(s)"
    assert lines[1] == (
        "wmt_en_de: global batch 124 examples (62 per replica) of length 8 to 10 examples (5 per replica) of length 100"
    )
    assert lines[2] == "imagenet: global batch 30 examples (15 per replica) of pixels a side 299"


def test_the_start_lists_the_cluster():
    class Worker(tf.distribute.MirroredStrategy):
        cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": ["a:1", "b:2"]}), task_type="worker", task_id=1
        )

    lines = strategy.describe(Worker(["CPU:0"]), PROBLEMS, BatchSettings(positions=1000, images=30, max_length=100))
    assert lines[:3] == ["Worker, 1 replica(s), this is worker 1", "worker 0: a:1", "worker 1: b:2"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}})]
)
def test_a_missing_or_wrong_tf_config_is_explained(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(RunError, match='TF_CONFIG is .*Set it on each host, for instance to {"cluster"'):
        strategy.multi_worker()


def test_an_unknown_device_is_refused():
    with pytest.raises(RunError, match="names GPU:77; this host has .*CPU:0"):
        strategy.mirrored(["GPU:77"])


def test_a_machine_without_tpu_says_so(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(RunError, match="Strategy tpu: no TPU .*tpu.address"):
        strategy.tpu()


def test_one_process_alone_writes_and_agrees_with_itself():
    alone = strategy.one()
    assert strategy.is_chief(alone) and strategy.task(alone) == ""
    workers = strategy.Workers(alone)
    assert workers.any(15) and not workers.any(0)
    workers.check_same(3, "the step")
