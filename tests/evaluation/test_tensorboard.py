"""What TensorBoard shows of an evaluation: its metrics, and its examples with images and recordings."""

import io
import wave

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from t2t_mm.common.errors import RunError
from t2t_mm.evaluation import tensorboard
from t2t_mm.input.features import AudioFeatures
from t2t_mm.problem import Problem
from tests.training import tiny_run

PROBLEMS = (Problem("captions", None, "image", "text", "To-English"), Problem("speech", None, "audio", "text", "To-English"))
AUDIO = AudioFeatures(bins=20)


def written(folder, samples, problems=PROBLEMS):
    """Returns {tag: strings of its tensor} of what is written about samples."""
    found = {"step": 3, "results": {name: {"wer": 50.0} for name in samples}, "samples": samples}
    tensorboard.write(found, str(folder), "test", problems, AUDIO)
    (events,) = (folder / "events" / "test").iterdir()
    records = [record for record in tf.compat.v1.train.summary_iterator(str(events)) if record.summary.value]
    assert {record.step for record in records} == {3}
    return {value.tag: value.tensor.string_val for record in records for value in record.summary.value}


def test_images_and_recordings_are_shown(tmp_path):
    Image.new("RGB", (30, 20), (255, 0, 0)).save(tmp_path / "red.png")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((9000 * np.sin(np.arange(4000) / 3)).astype("<i2").tobytes())
    one = {"target": "x", "output": "y"}
    found = written(tmp_path, {
        "captions": [{"input": str(tmp_path / "red.png"), **one}, {"input": "coco val 3", **one}],
        "speech": [{"input": str(tmp_path / "a.wav"), **one}],
    })  # fmt: skip
    assert found.keys() == {
        "captions/wer", "speech/wer", "captions/sample_1", "captions/sample_1_input", "captions/sample_2",
        "speech/sample_1", "speech/sample_1_input", "speech/sample_1_spectrogram",
    }  # fmt: skip
    width, height, image = found["captions/sample_1_input"]
    pixels = np.asarray(Image.open(io.BytesIO(image)))
    assert width == height == b"192" and (pixels == [255, 0, 0]).all()
    with wave.open(io.BytesIO(found["speech/sample_1_input"][0])) as file:
        assert (file.getframerate(), file.getnframes()) == (16000, 8000), "resampled to the rate of the features"
    spectrogram = np.asarray(Image.open(io.BytesIO(found["speech/sample_1_spectrogram"][2])))
    assert spectrogram.shape[0] == 20 and spectrogram.max() == 255 and spectrogram.min() == 0


def test_an_input_that_became_unreadable_is_named_and_without_problems_only_text_is_written(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    samples = {"captions": [{"input": str(tmp_path / "bad.png"), "target": "x", "output": "y"}]}
    found = written(tmp_path / "all", samples)
    assert b"bad.png: not a readable" in found["captions/sample_1_input"][0]
    assert written(tmp_path / "none", samples, ()).keys() == {"captions/wer", "captions/sample_1"}


def test_a_full_disk_is_one_line(tmp_path):
    found = {"step": 1, "results": {"a": {"x": 1.0}}, "samples": {"a": [{"input": "a" * 3000, "output": "b"}]}}
    with tiny_run.full_disk(100), pytest.raises(RunError, match="the events for TensorBoard: cannot be written"):
        tensorboard.write(found, str(tmp_path), "dev")
