"""Tests that batching changes how often the model runs, but never an answer."""

import asyncio
import threading
import time
import types

import numpy as np
import pytest
import tensorflow as tf
from grpc import StatusCode

from t2t_mm.serving.batching import Batcher, BatchingSettings
from t2t_mm.serving.errors import ServingError, invalid


class Doubling:
    """Replaces a loaded version: doubles x, rejects 13, and records its runs."""

    def __init__(self, shape=(None,)):
        self.shape = shape  # of y
        self.leases = 0
        self.runs: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def signature(self, name):
        return types.SimpleNamespace(outputs={"y": types.SimpleNamespace(tensor_shape=tf.TensorShape(self.shape).as_proto())})

    def run(self, signature_name, inputs, output_names, timeout_seconds):
        assert self.leases and timeout_seconds > 0
        self.gate.wait(10)
        self.runs.append(inputs["x"].tolist())
        if 13 in inputs["x"]:
            row = inputs["x"].tolist().index(13)
            raise invalid(f"x[{row}]: 13 is not doubled")
        return {"y": 2 * inputs["x"]} if signature_name == "double" else {"y": np.zeros(())}


def ask(settings, requests, signature="double", seconds=10.0, between=None, servable=None):
    """Answers, or errors, of requests sent together; and the model's runs."""
    servable = servable or Doubling()

    async def main():
        batcher = Batcher(settings)
        deadline = time.monotonic() + seconds
        arrays = [{"x": np.array(request)} for request in requests]
        asked = [asyncio.create_task(batcher.run(servable, signature, x, ("y",), deadline)) for x in arrays]
        if between:
            await asyncio.sleep(0.05)
            between(asked)
        found = await asyncio.gather(*asked, return_exceptions=True)
        await batcher.close()
        assert servable.leases == 0 and batcher._enqueued == 0 and not batcher._queues
        return found

    found = asyncio.run(main())
    return [answer["y"].tolist() if isinstance(answer, dict) else answer for answer in found], servable.runs


REQUESTS = [[1], [2, 3], [4], [5, 6, 7, 8, 9], [10]]
DOUBLED = [[2 * value for value in request] for request in REQUESTS]


@pytest.mark.parametrize(
    "settings, most_runs, least_runs",
    [
        (BatchingSettings(timeout_seconds=0.05, threads=1), 1, 1),
        (BatchingSettings(timeout_seconds=0.05, max_batch_size=4), 4, 3),
        (BatchingSettings(max_batch_size=1), 10, 10),
        (BatchingSettings(enabled=False), 5, 5),
        (BatchingSettings(enabled=False, max_batch_size=2), 7, 7),
    ],
)
def test_answers_do_not_depend_on_how_requests_are_joined(settings, most_runs, least_runs):
    answers, runs = ask(settings, REQUESTS)
    assert answers == DOUBLED
    assert least_runs <= len(runs) <= most_runs
    assert max(len(run) for run in runs) <= settings.max_batch_size
    assert sorted(sum(runs, [])) == list(range(1, 11))


def test_one_wrong_example_costs_only_its_own_request():
    answers, runs = ask(BatchingSettings(timeout_seconds=0.05), [[1], [13], [2]])
    assert answers[0] == [2] and answers[2] == [4]
    assert answers[1].code == StatusCode.INVALID_ARGUMENT
    assert runs == [[1, 13, 2], [1], [13], [2]]


def test_different_shapes_and_types_are_not_joined():
    answers, runs = ask(BatchingSettings(timeout_seconds=0.05), [[[1, 2]], [[3]], [4.5], [[5, 6]]])
    assert answers == [[[2, 4]], [[6]], [9.0], [[10, 12]]] and len(runs) == 3


def test_what_has_no_first_dimension_runs_alone():
    answers, runs = ask(BatchingSettings(timeout_seconds=0.05), [3, 4])
    assert answers == [6, 8] and len(runs) == 2


def test_a_full_queue_refuses_and_comes_free_again():
    settings = BatchingSettings(max_enqueued=4, enabled=False, threads=1)
    answers, _ = ask(settings, [[1, 2], [3], [4, 5], [6]])
    assert answers[0] == [2, 4] and answers[1] == [6] and answers[3] == [12]
    assert answers[2].code == StatusCode.RESOURCE_EXHAUSTED
    (answer,), runs = ask(settings, [[1, 2, 3, 4, 5]])
    assert answer.code == StatusCode.INVALID_ARGUMENT and not runs  # would never fit


def test_who_has_gone_is_not_run():
    servable = Doubling()
    servable.gate.clear()

    def leave(asked):
        asked[1].cancel()
        servable.gate.set()

    answers, runs = ask(BatchingSettings(enabled=False, threads=1), [[1], [2], [3]], between=leave, servable=servable)
    assert answers[0] == [2] and answers[2] == [6] and isinstance(answers[1], asyncio.CancelledError)
    assert [2] not in runs


def test_time_that_ran_out_in_the_queue():
    (answer,), runs = ask(BatchingSettings(), [[1]], seconds=-1.0)
    assert answer.code == StatusCode.DEADLINE_EXCEEDED and not runs


def test_outputs_that_are_not_by_example_are_refused_rather_than_mixed_up():
    answers, _ = ask(BatchingSettings(timeout_seconds=0.05), [[1], [2]], signature="constant")
    assert answers == [0.0, 0.0]  # alone each is right
    (answer,), _ = ask(BatchingSettings(max_batch_size=1), [[1, 2]], signature="constant")
    assert isinstance(answer, ServingError) and "first dimension" in answer.message


@pytest.mark.parametrize("shape, runs", [((None, 3), 2), ((None, None), 1), ((None, 2, None), 1), (None, 1)])
def test_a_request_whose_outputs_may_differ_in_length_is_not_split(shape, runs):
    """Otherwise the parts could not be joined: the length of an answer depends on the others of its batch."""
    (answer,), found = ask(BatchingSettings(max_batch_size=3), [[1, 2, 3, 4, 5]], servable=Doubling(shape))
    assert answer == [2, 4, 6, 8, 10] and len(found) == runs


@pytest.mark.parametrize("place", [1, 2, 4])
def test_the_error_of_a_part_names_the_row_in_the_request(place):
    request = [1] * 5
    request[place] = 13
    settings = BatchingSettings(max_batch_size=2, timeout_seconds=0.0, threads=3)  # all parts run at once
    (answer,), _ = ask(settings, [request])
    assert answer.code == StatusCode.INVALID_ARGUMENT and answer.message == f"x[{place}]: 13 is not doubled"


def test_a_bug_in_a_request_that_is_run_again_is_told_at_once():
    class Broken(Doubling):
        def run(self, signature_name, inputs, *more):
            found = super().run(signature_name, inputs, *more)
            if inputs["x"].tolist() == [2]:
                raise KeyError("a bug")
            return found

    answers, _ = ask(BatchingSettings(timeout_seconds=0.05), [[13], [2], [3]], servable=Broken())
    assert answers[0].code == StatusCode.INVALID_ARGUMENT and isinstance(answers[1], ExceptionGroup) and answers[2] == [6]
