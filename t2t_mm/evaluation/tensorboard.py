"""Writes an evaluation for TensorBoard: its metrics, and its decoded examples with the images and recordings."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from t2t_mm.common.writing import writing
from t2t_mm.corpora.example import MediaError
from t2t_mm.corpora.pictures import load_image
from t2t_mm.corpora.sounds import load_audio
from t2t_mm.input.features import AudioFeatures
from t2t_mm.problem import Problem

_IMAGE_SIZE = 192  # large enough to recognise an image; an events file with the originals would be large


def write(
    found: dict, model_dir: str, split: str, problems: Sequence[Problem] = (), audio: AudioFeatures = AudioFeatures()
) -> None:
    """Writes the metrics and the decoded examples of an evaluation to the TensorBoard events of the run.

    Args:
      found: the result of `evaluate.evaluate`, of which "step", "results" and "samples" are used.
      model_dir: the folder of the run.
      split: the name of the folder of the events below `events`.
      problems: problems whose inputs are shown. The inputs of their examples are written as images, and as audio with its
        spectrogram, if they are files. Default: none, because the inputs of a dev set do not change during a run.
      audio: the features that the spectrograms show.
    """
    modalities = {problem.name: problem.modality for problem in problems}
    writer = tf.summary.create_file_writer(os.path.join(model_dir, "events", split))
    with writing("the events for TensorBoard"), writer.as_default(step=found["step"]):
        for problem, metrics in found["results"].items():
            for metric, value in metrics.items():
                # Counts and signatures are no curves.
                if isinstance(value, float):
                    tf.summary.scalar(f"{problem}/{metric}", value)
            for number, sample in enumerate(found["samples"][problem], start=1):
                tag = f"{problem}/sample_{number}"
                tf.summary.text(tag, "\n\n".join(f"{key}: {value}" for key, value in sample.items()))
                _write_input(tag, modalities.get(problem), sample["input"], audio)
        # Otherwise TensorBoard would not see them until the buffer is full or the run ends.
        writer.flush()


def write_hyper_parameters(found: dict[str, bool | int | float | str], model_dir: str) -> None:
    """Writes the hyper-parameters of a run to the default writer, for TensorBoard's HParams tab.

    The tab finds the metrics itself: the scalars of the run, and those of its evaluations in the folders below.
    """
    # The name keeps runs with equal hyper-parameters apart. Otherwise the tab would show their mean.
    hparams.hparams(found, trial_id=os.path.basename(os.path.abspath(model_dir)))


def _write_input(tag: str, modality: str | tuple[str, ...] | None, path: str, audio: AudioFeatures) -> None:
    """Writes an image, or a recording with its spectrogram. Inputs that are not files are already part of the text."""
    if modality not in ("image", "audio") or not os.path.isfile(path):
        return
    try:
        if modality == "image":
            image = load_image(path, _IMAGE_SIZE)
            tf.summary.image(f"{tag}_input", image[None].astype(np.uint8), description=path)
            return
        samples = load_audio(path, audio.sample_rate)
    except MediaError as error:  # it has changed since it was decoded
        tf.summary.text(f"{tag}_input", str(error))
        return
    tf.summary.audio(f"{tag}_input", samples[None, :, None], audio.sample_rate, description=path)
    if audio.bins > 1:
        tf.summary.image(f"{tag}_spectrogram", _picture(audio(tf.constant(samples)).numpy()), description=path)


def _picture(spectrogram: np.ndarray) -> np.ndarray:
    """Returns a spectrogram [time, bins] as a grey image [1, bins, time, 1] with low frequencies at the bottom."""
    low, high = spectrogram.min(), spectrogram.max()
    grey = 255 * (spectrogram - low) / max(high - low, 1e-6)
    return np.rint(grey).T[::-1][None, :, :, None].astype(np.uint8)
