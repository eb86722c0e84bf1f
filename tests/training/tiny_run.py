"""A tiny joint run in a separate process, for tests that kill a run or need two: `tiny_run.py FOLDER NAME JSON`.

JSON contains settings of `loop.train` (groups of settings are objects), and "strategy", "devices" (number of visible CPUs),
"noise" and "compiled". FOLDER contains the corpus and the vocabulary. Steps run on one thread, so that equal runs have equal
sums, and eagerly unless "compiled" is set.
"""

import contextlib
import functools
import json
import os
import resource
import signal
import sys

import tensorflow as tf
from absl import logging

from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example
from t2t_mm.experiment import Experiment
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.training import loop, stopping, strategy
from t2t_mm.training.schedule import InverseSquareRoot
from t2t_mm.training.settings import Checkpointing, Evaluation, Observation

EVERY_STEP = Observation(log_steps=1)
ENGLISH = [f"the {a} {b} sees a {c}" for a in ("old", "red") for b in ("cat", "dog", "bird") for c in ("car", "tree")]


class Lines:
    """Sentences and something made of them: the source of a problem."""

    def __init__(self, change):
        self.change = change

    def examples(self, split, report):
        return [Example(line, self.change(line), f"lines:{i}") for i, line in enumerate(ENGLISH, start=1)]


PROBLEMS = (
    Problem("capitals", Lines(str.upper), "language", "text", "To-Capitals"),
    Problem("reversal", Lines(lambda line: line[::-1]), "language", "text", "To-Reverse"),
)


def tiny_model(noise=True, **settings):
    return MultiModel(
        **{
            "depth": 8,
            "encoder_blocks": 1,
            "mixer_blocks": 0,
            "decoder_blocks": 1,
            "conv_block": functools.partial(ConvBlock, dropout=0.1 if noise else 0.0),
            "attention_block": functools.partial(AttentionBlock, heads=2, convs=1),
            "mixture": functools.partial(MixtureOfExperts, num_experts=3, chosen=2, hidden=8, gate_noise=noise),
            "categorical": functools.partial(CategoricalOutput, widths=(8, 8)),
            **settings,
        }
    )


def experiment(folder, noise=True):
    return Experiment(
        PROBLEMS,
        os.path.join(folder, "vocabulary.model"),
        functools.partial(tiny_model, noise),
        # Every batch size is even, so that one replica can go on with the data of two.
        BatchSettings(positions=96, shuffle=8, max_length=24),
    )


def train(folder, name, noise=True, **settings):
    settings = {"schedule": functools.partial(InverseSquareRoot, 1e-2, 5), "observation": EVERY_STEP, **settings}
    return loop.train(experiment(folder, noise), os.path.join(folder, name), **settings)


@contextlib.contextmanager
def full_disk(size):
    """A limit of the size of files, in bytes, stands for the full disk: a write fails half-way just so."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def main(folder, name, text):
    logging.set_verbosity(logging.INFO)
    settings = json.loads(text)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    several = [tf.config.LogicalDeviceConfiguration()] * settings.pop("devices", 1)
    tf.config.set_logical_device_configuration(cpu, several)
    tf.config.run_functions_eagerly(not settings.pop("compiled", False))
    if "strategy" in settings:
        chosen = getattr(strategy, settings["strategy"])
        on_all = [f"CPU:{index}" for index in range(len(several))]
        settings["strategy"] = functools.partial(chosen, on_all) if chosen is strategy.mirrored else chosen
    for group, kind in (("evaluation", Evaluation), ("checkpointing", Checkpointing)):
        if group in settings:
            settings[group] = kind(**settings[group])
    try:
        train(folder, name, **settings)
    except RunError as error:
        raise SystemExit(str(error)) from error
    except stopping.Preempted as error:
        print(error, file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    main(*sys.argv[1:])
