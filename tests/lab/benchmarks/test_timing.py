"""Tests that what is timed is waited for without being copied."""

import tensorflow as tf

from t2t_mm.lab.benchmarks import timing


class Unread:
    """A result that must not be copied."""

    def numpy(self):
        raise AssertionError("the result was copied")


def test_waiting_copies_nothing():
    timing.wait([Unread(), {"gradient": Unread()}])
    assert min(timing.seconds(lambda: tf.zeros([2]), Unread, repeats=2)) > 0
