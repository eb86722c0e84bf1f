"""tf.data pipelines: examples to batches, bucketed by length under a budget of positions."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from t2t_mm.corpora import pictures, sounds
from t2t_mm.corpora.example import CorpusError, Example, MediaError, Report
from t2t_mm.corpora.source import Examples
from t2t_mm.corpora.split import InMemory, examples_of
from t2t_mm.input.augmentation import RandomCrop, SpecAugment
from t2t_mm.input.buckets import BatchSettings, bucket_shapes
from t2t_mm.input.features import AudioFeatures, standardise_image
from t2t_mm.input.tokenizer import Tokenizer, tree_to_text
from t2t_mm.problem import Problem


def load_examples(problem: Problem, split: str, report: Report) -> Examples:
    """The split's examples; CorpusError when there is none."""
    examples = examples_of(problem.source.examples(split, report))
    if not len(examples):
        raise CorpusError(f"{problem.name}: the {split} split holds no usable example.")
    return examples


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
    """Batches of one problem: endless and shuffled by `seed` in training, else each example once, in any bucket.

    Every batch size is a multiple of `replicas` in training. A batch is a dict: "inputs" ([B, S] ids, [B, H, W, 3] or
    [B, time, bins]), "input_padding" ([B, S]; [B, 0] for pictures), "targets" ([B, T] ids or [B] classes),
    "target_padding" ([B, T]; [B, 0] for classes), "index" [B], the position in `examples`.
    """

    def leave_out(origin, reason):
        report.leave_out(origin.decode(), reason.decode())
        return np.bool_(False)

    examples = examples_of(examples)
    form = examples.form
    if form != "files":  # nothing of a corpus itself depends on the settings of a run
        examples.check(tokenizer.fingerprint, settings.image_size, audio.sample_rate)
    elif problem.targets == "tree":
        examples = InMemory(dataclasses.replace(one, targets=tree_to_text(str(one.targets))) for one in examples)
    crop = settings.crop if training and problem.inputs == "image" and problem.targets == "class" else None
    masks = settings.masks if training and problem.inputs == "audio" else None
    decode = _decoder(problem, form, audio, settings.image_size, crop, masks, report)

    def encode(element):
        usable, x, y = tf.constant(True), element["inputs"], element["targets"]
        if problem.inputs == "language":
            x = tokenizer.tokenize(x) if x.dtype == tf.string else x
        else:
            x, usable = decode(element)
        if form == "encoded" and problem.targets == "tree":  # as tree_to_text does it
            y = tf.strings.regex_replace(y, r"(\S+)\s*", r"<\1>")
        y = tokenizer.tokenize(y) if y.dtype == tf.string else tf.cast(y, tf.int32)
        encoded = {"inputs": x, "length": tf.shape(x)[0], "targets": y, "index": element["index"]}
        return encoded, element["origin"], tf.ensure_shape(usable, [])

    def fits(element, origin, usable):
        limit = {"language": settings.max_length, "image": settings.image_size, "audio": settings.max_frames}
        long_input = tf.shape(element["inputs"])[0] > limit[problem.inputs]
        long_target = problem.targets != "class" and tf.shape(element["targets"])[0] > settings.max_length
        too_long = tf.logical_and(usable, tf.logical_or(long_input, long_target))
        message = f"longer than max_length {settings.max_length} tokens or max_frames {settings.max_frames}"
        return tf.cond(
            too_long,
            lambda: tf.ensure_shape(tf.numpy_function(leave_out, [origin, message], tf.bool), []),
            lambda: usable,
        )

    data = examples.dataset(training, seed, settings.shuffle)
    if crop or masks:  # the place in the stream, part of every checkpoint, says which epoch and which example
        data = data.enumerate().map(lambda place, element: {**element, "seed": tf.stack([np.int64(seed), place])})
    data = data.map(encode, num_parallel_calls=2, deterministic=True).filter(fits).map(lambda element, *_: element)
    data = _bucketed(data, problem, settings, training, replicas)
    data = data.map(_with_padding(problem), num_parallel_calls=1, deterministic=True).prefetch(2)
    options = tf.data.Options()
    options.deterministic = True
    # Every step says how parallel it is. The tuning thread would find nothing to tune, and end only when its period does.
    options.autotune.enabled = False
    # The decoders carry no state but the report, so an iterator may be saved and restored around them.
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    return data.with_options(options)


def _decoder(
    problem: Problem, form: str, audio: AudioFeatures, size: int, crop: RandomCrop | None,
    masks: SpecAugment | None, report: Report,
) -> Callable:
    """A function of an element -> (features, whether they are usable) for pictures and sounds.

    form: "files" for paths; "encoded" for the bytes of pictures, or samples; "prepared" for PNGs of the right size, or
      samples.
    crop, masks: what is done to each picture, to each spectrogram, with the "seed" of the element.
    """

    def guarded(read, kind, element):
        """What `read` makes of the input; where it cannot, nothing, and a note in the report."""

        def call(value, origin):
            try:
                return read(value, origin.decode()), np.bool_(True)
            except MediaError as error:
                report.skip(origin.decode(), str(error))
                return nothing, np.bool_(False)

        nothing = np.zeros([size, size, 3] if problem.inputs == "image" else [8], kind.as_numpy_dtype)
        return tf.numpy_function(call, [element["inputs"], element["origin"]], (kind, tf.bool))

    def pixels(value, origin, size):
        if form == "encoded":
            return pictures.decode_image(value, origin, size)
        return pictures.load_image(value.decode(), size)

    def image(element):
        if form == "prepared":
            x, usable = tf.io.decode_png(element["inputs"], channels=3), tf.constant(True)
        elif crop:
            x, usable = guarded(lambda value, origin: pixels(value, origin, None), tf.uint8, element)
        else:
            read = lambda value, origin: standardise_image(pixels(value, origin, size))  # noqa: E731
            x, usable = guarded(read, tf.float32, element)
            return tf.ensure_shape(x, [size, size, 3]), usable
        if crop:
            x = crop(x, size, element["seed"])
        # The same formula as standardise_image.
        return tf.image.per_image_standardization(tf.ensure_shape(x, [size, size, 3])), usable

    def sound(element):
        if form != "files":
            samples, usable = tf.cast(element["inputs"], tf.float32) / 2**15, tf.constant(True)
        else:
            read = lambda path, _: sounds.load_audio(path.decode(), audio.sample_rate)  # noqa: E731
            samples, usable = guarded(read, tf.float32, element)
        spectrogram = audio(tf.ensure_shape(samples, [None]))
        return masks(spectrogram, element["seed"]) if masks else spectrogram, usable

    return image if problem.inputs == "image" else sound


def batches_of(data: tf.data.Dataset, report: Report) -> Iterator[dict]:
    """The batches of a set that ends, by `next_batch`."""
    iterator = iter(data)
    while (batch := next_batch(iterator, report)) is not None:
        yield batch


def next_batch(iterator: Iterator[dict], report: Report) -> dict | None:
    """The iterator's next batch, None at its end; the reader's own error where TensorFlow wrapped it in one of its
    kernels'."""
    try:
        return next(iterator, None)
    except tf.errors.DataLossError as error:
        raise CorpusError(
            f"{report.name}: damaged records: {error.message.splitlines()[0]}. Find which with bin/prepare_data.py --verify."
        ) from error
    except tf.errors.OpError as error:
        if report.failure is None:
            raise
        raise report.failure from error


def _bucketed(data, problem, settings, training, replicas):
    """Padded batches: pictures with class targets by count, the rest by length under the budget."""
    shapes = bucket_shapes(problem, settings, replicas, training)
    bounds, sizes = [bound for bound, _ in shapes], [size for _, size in shapes]

    def length(element):
        x, y = tf.shape(element["inputs"])[0], tf.shape(element["targets"])
        return x if problem.inputs == "audio" or problem.targets == "class" else tf.maximum(x, y[0])

    if problem.inputs == "image":
        data = data.padded_batch(sizes[0], drop_remainder=training)
    else:
        data = data.bucket_by_sequence_length(
            length, [bound + 1 for bound in bounds[:-1]], sizes, drop_remainder=training
        )
    return data.map(_to_bounds(problem, settings, bounds, sizes)) if settings.static_shapes else data


def _to_bounds(problem, settings, bounds, sizes):
    """Pads a batch to the bounds of its bucket and to the bucket's size.

    Text beside a sound or a picture is padded to `max_length`: its bucket says nothing about its own length.
    """

    def pad(x, axis, to, value=0):
        paddings = [[0, to - tf.shape(x)[i] if i == axis else 0] for i in range(x.shape.rank)]
        return tf.pad(x, paddings, constant_values=tf.cast(value, x.dtype))

    def to_bounds(batch):
        x, y, index = batch["inputs"], batch["targets"], batch["index"]
        longest = tf.shape(x)[1]
        if problem.inputs == "language" and problem.targets != "class":
            longest = tf.maximum(longest, tf.shape(y)[1])
        bucket = tf.searchsorted(bounds, [longest])[0]
        bound, size = tf.gather(bounds, bucket), tf.gather(sizes, bucket)
        if problem.inputs != "image":
            x = pad(x, 1, bound)
        if problem.targets != "class":
            y = pad(y, 1, bound if problem.inputs == "language" else settings.max_length)
        return {
            "inputs": pad(x, 0, size), "length": pad(batch["length"], 0, size),
            "targets": pad(y, 0, size), "index": pad(index, 0, size, -1),
        }  # fmt: skip

    return to_bounds


def _with_padding(problem):
    """Adds the padding masks, the inputs' from their lengths: a silent frame may be zero in every frequency.

    Of targets, 0 is PADDING_ID, which no text has.
    """

    def add(batch):
        x, y, length = batch["inputs"], batch["targets"], batch["length"]
        nothing = tf.zeros([tf.shape(x)[0], 0], tf.bool)
        x_padding = nothing if problem.inputs == "image" else tf.logical_not(tf.sequence_mask(length, tf.shape(x)[1]))
        return {
            "inputs": x, "targets": y, "index": batch["index"], "input_padding": x_padding,
            "target_padding": nothing if problem.targets == "class" else y == 0,
        }  # fmt: skip

    return add
