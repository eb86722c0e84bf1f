"""tf.data pipelines from examples to batches, which are bucketed by length with a budget of positions."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.source import Examples
from t2t_mm.corpora.split import InMemory, examples_of
from t2t_mm.input import records
from t2t_mm.input.buckets import BatchSettings, Measure, bucket_shapes
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.tokenizer import Tokenizer, as_tokenized
from t2t_mm.modalities.features import Reading
from t2t_mm.modalities.known import spelled
from t2t_mm.problem import Problem


def load_examples(problem: Problem, split: str, report: Report) -> Examples:
    """Returns the examples of a split.

    Raises:
      CorpusError: there are none.
    """
    examples = examples_of(problem.source.examples(split, report))
    if not len(examples):
        raise CorpusError(f"{problem.name}: the {split} split has no usable example.")
    return examples


# None of the functions below has a Python condition on a tensor, and converting them costs a CPU-second for each problem.
@tf.autograph.experimental.do_not_convert
def make_batches(
    problem: Problem,
    examples: Sequence[Example] | Examples,
    tokenizer: Tokenizer,
    audio: AudioFeatures,
    settings: BatchSettings,
    report: Report,
    training: bool,
    seed: int = 0,
    replicas: int = 1,
) -> tf.data.Dataset:
    """Returns the batches of one problem: shuffled by `seed` and endless in training, otherwise with each example once.

    In training, every batch size is a multiple of `replicas`. A batch is a dict with "inputs" ([B, S] ids, [B, H, W, 3] or
    [B, time, bins]), "input_padding" ([B, S]; [B, 0] for images), "targets" ([B, T] ids or [B] classes), "target_padding"
    ([B, T]; [B, 0] for classes) and "index" [B], the position in `examples`. For several inputs, "inputs" and
    "input_padding" are tuples, and an example is only usable if all its inputs are.

    Raises:
      CorpusError: an example has more or fewer inputs than the problem.
    """

    rejected: set[int | bytes] = set()

    def reject(origin, index, reason):
        if reason:  # what could not be read has been reported by its reader
            report.leave_out(origin.decode(), reason.decode())
        if not training or report.has_batches:
            return np.bool_(False)
        # A shuffled stream of TFDS numbers its examples anew in every pass.
        rejected.add(origin if form == "encoded" else int(index))
        # An endless stream in which no example is usable would never yield a batch, and never end.
        if len(rejected) == len(examples):
            reason = report.skipped.get(origin.decode()) or reason.decode()
            report.failure = CorpusError(
                f"{problem.name}: none of its {len(examples)} training examples is usable (the last: {origin.decode()}: "
                f"{reason}). Fix the corpus, or raise the limits of BatchSettings."
            )
            raise report.failure
        return np.bool_(False)

    examples = examples_of(examples)
    form = examples.form
    if form != "files":  # a corpus itself does not depend on the settings of a run
        examples.check(tokenizer.fingerprint, settings.image_size, audio.sample_rate, problem.words_in_trees)
    # Each symbol has to be a piece of its own (see `tree_to_text`). In prepared records it is already.
    elif problem.targets == "tree":
        examples = InMemory(as_tokenized(one, problem.targets, problem.words_in_trees) for one in examples)
    # Records were checked when they were written.
    if form == "files":
        _check_counts(problem, examples)
    reading = Reading(
        tokenizer, audio, settings, form, report, training, problem.targets == "class", len(problem.modalities) == 1
    )
    readers = [of.reader(reading, modality.shape) for of, modality in zip(problem.features, problem.modalities)]
    # Measured in the own positions of each input, before the lengths are scaled to a common unit.
    limits = Measure(problem, settings).bounds
    units = {"length": "max_length {} tokens", "frames": "max_frames {}"}  # those that are settings, by their name

    def encode(element):
        found = [
            read(value, element["origin"], seed)
            for read, value, seed in zip(readers, parts_of(element["inputs"]), _seeds(element, len(readers)))
        ]
        x = [array for array, _ in found]
        # The readers run outside the graph, which loses their shape.
        usable = functools.reduce(tf.logical_and, [tf.ensure_shape(one, []) for _, one in found])
        y = element["targets"]
        if form == "encoded" and problem.targets == "tree":  # the same as tree_to_text
            y = tf.strings.regex_replace(y, r"(\S+)\s*", r"<\1>")
        # Text from a corpus; ids from records and classes are integers already.
        y = tokenizer.tokenize(y) if y.dtype == tf.string else tf.cast(y, tf.int32)
        # Kept beside the arrays, because the padding of a batch cannot be recognised in them (see `_with_padding`).
        lengths = [tf.shape(part)[0] for part in x]
        encoded = {"inputs": _whole(x), "length": _whole(lengths), "targets": y, "index": element["index"]}
        return encoded, element["origin"], usable

    def fits(element, origin, usable):
        reason = ""
        if problem.targets != "class":
            target = f"its target is longer than max_length {settings.max_length} tokens"
            reason = tf.where(tf.shape(element["targets"])[0] > settings.max_length, target, reason)
        for length, limit in zip(parts_of(element["length"]), limits):
            name = units.get(limit.unit, f"{{}} {limit.unit}").format(limit.longest)
            reason = tf.where(length > limit.longest, f"longer than {name}", reason)
        too_long, reason = tf.strings.length(reason) > 0, tf.where(usable, reason, "")
        # In a branch, so that Python is only called for the few examples that are rejected.
        return tf.cond(
            tf.logical_and(usable, tf.logical_not(too_long)),
            lambda: True,
            lambda: tf.ensure_shape(tf.numpy_function(reject, [origin, element["index"], reason], tf.bool), []),
        )

    data = examples.dataset(training, seed, settings.shuffle)
    if any(of.is_random(reading) for of in problem.features):
        # The place in the stream, which every checkpoint contains, determines the epoch and the example.
        data = data.enumerate().map(lambda place, element: {**element, "seed": tf.stack([np.int64(seed), place])})
    # In this order also when the second call finishes first: a run must be repeatable.
    data = data.map(encode, num_parallel_calls=2, deterministic=True).filter(fits).map(lambda element, *_: element)
    data = _bucketed(data, problem, settings, training, replicas)
    data = data.map(_with_padding(problem), num_parallel_calls=1, deterministic=True).prefetch(2)
    options = tf.data.Options()
    options.deterministic = True
    # No autotuning, because every step sets its own parallelism, and the tuning thread only ends with its period.
    options.autotune.enabled = False
    # The decoders have no state except for the report, so the iterator can be saved and restored.
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    return data.with_options(options)


def _check_counts(problem: Problem, examples: Examples) -> None:
    expected = len(problem.modalities)
    for example in examples:
        if len(example.input_parts) != expected or isinstance(example.inputs, str) == (expected > 1):
            raise CorpusError(
                f"{example.origin}: {len(example.input_parts)} input(s), {example.input_line[:60]!r}; {problem.name} takes "
                f"{expected}: {spelled(problem.modality)}."
            )


def parts_of(value: Any) -> tuple:
    """Returns a tuple with one element per input. (Several inputs are stored as a tuple, a single one by itself.)"""
    return value if isinstance(value, tuple) else (value,)


def _whole(parts: Sequence) -> Any:
    """Returns the value from which `parts_of` makes these parts."""
    return tuple(parts) if len(parts) > 1 else parts[0]


def _seeds(element, count):
    """Returns a seed for each input, or None if nothing is random."""
    seed = element.get("seed")
    if seed is None:
        return [None] * count
    return [seed, *(tf.random.experimental.stateless_fold_in(seed, number) for number in range(1, count))]


def batches_of(data: tf.data.Dataset, report: Report) -> Iterator[dict]:
    """Yields the batches of a finite dataset with `next_batch`."""
    iterator = iter(data)
    while (batch := next_batch(iterator, report)) is not None:
        yield batch


def next_batch(iterator: Iterator[dict], report: Report) -> dict | None:
    """Returns the next batch of the iterator, or None at its end.

    Raises:
      CorpusError: the error of the reader, which TensorFlow wraps in an error of a kernel; or records are damaged.
    """
    try:
        batch = next(iterator, None)
        report.has_batches = report.has_batches or batch is not None
        return batch
    # A reader that raises within tf.data only gives an error of a kernel; it has left its own error in the report.
    except tf.errors.OpError as error:
        if report.failure is None:
            with records.damage_is_told(report.name):
                raise
        raise report.failure from error


def _bucketed(data, problem, settings, training, replicas):
    """Returns padded batches, bucketed by length if an input has a budget, otherwise with a fixed number of examples."""
    shapes = bucket_shapes(problem, settings, replicas, training)
    bounds, sizes = [bound for bound, _ in shapes], [size for _, size in shapes]
    measure = Measure(problem, settings)

    def length(element):
        found = measure.lengths([tf.shape(x)[0] for x in parts_of(element["inputs"])], tf.shape(element["targets"])[:1])
        return functools.reduce(tf.maximum, [tf.reshape(one, []) for one in found])

    if measure.budget:
        # TensorFlow's bounds are exclusive, and the last bucket has none. Training drops incomplete batches, which replicas
        # could not share equally; it is endless, so nothing is lost.
        data = data.bucket_by_sequence_length(length, [bound + 1 for bound in bounds[:-1]], sizes, drop_remainder=training)
    else:
        data = data.padded_batch(sizes[0], drop_remainder=training)
    return data.map(_to_bounds(problem, settings, measure, bounds, sizes)) if settings.static_shapes else data


def _to_bounds(problem, settings, measure, bounds, sizes):
    """Pads a batch to the bounds and to the size of its bucket.

    Text that belongs to audio or an image is padded to `max_length`, because the bucket does not limit its length.
    """

    def pad(x, axis, to, value=0):
        paddings = [[0, to - tf.shape(x)[i] if i == axis else 0] for i in range(x.shape.rank)]
        return tf.pad(x, paddings, constant_values=tf.cast(value, x.dtype))

    def to_bounds(batch):
        inputs, lengths, y, index = parts_of(batch["inputs"]), parts_of(batch["length"]), batch["targets"], batch["index"]
        found = measure.lengths([tf.shape(x)[1] for x in inputs], tf.shape(y)[-1])
        longest = functools.reduce(tf.maximum, found) if found else measure.longest
        # The smallest bound that is not below the longest example of the batch.
        bucket = tf.searchsorted(bounds, [longest])[0]
        bound, size = tf.gather(bounds, bucket), tf.gather(sizes, bucket)
        of_text = settings.max_length
        padded = []
        for x, limits in zip(inputs, measure.bounds):
            if limits.budget:
                # The bound of a bucket, in positions of this input, but never more than an example may have.
                own = tf.minimum(measure.unscaled(bound, limits), limits.longest)
                x, of_text = pad(x, 1, own), own if limits.is_text else of_text
            padded.append(pad(x, 0, size))
        if problem.targets != "class":
            y = pad(y, 1, of_text)
        return {
            "inputs": _whole(padded), "length": _whole([pad(one, 0, size) for one in lengths]),
            # Rows of index −1 only fill the batch; losses and metrics leave them out.
            "targets": pad(y, 0, size), "index": pad(index, 0, size, -1),
        }  # fmt: skip

    return to_bounds


def _with_padding(problem):
    """Adds the padding masks.

    Those of inputs are computed from the lengths, because a silent frame may be zero in every frequency. Those of targets
    are computed from PADDING_ID, 0, which does not occur in text.
    """

    def add(batch):
        y = batch["targets"]
        # A mask without columns stands for "no padding", because an element of tf.data cannot be None.
        nothing = tf.zeros([tf.shape(y)[0], 0], tf.bool)
        paddings = [
            tf.logical_not(tf.sequence_mask(length, tf.shape(x)[1])) if modality.padded else nothing
            for modality, x, length in zip(problem.modalities, parts_of(batch["inputs"]), parts_of(batch["length"]))
        ]
        return {
            "inputs": batch["inputs"], "targets": y, "index": batch["index"], "input_padding": _whole(paddings),
            "target_padding": nothing if problem.targets == "class" else y == 0,
        }  # fmt: skip

    return add
