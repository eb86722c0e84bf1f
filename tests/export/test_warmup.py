"""Tests that the warm-up records respect the limits of an export."""

import io
import wave

import pytest

from t2t_mm.export import limits, warmup
from t2t_mm.input.features import AudioFeatures
from t2t_mm.problem import Problem


@pytest.mark.parametrize("bins, max_frames, count", [(80, 20, None), (80, 1600, 16000), (1, 1600, 1600)])
def test_the_recording_is_a_second_or_as_long_as_it_may_be(bins, max_frames, count):
    audio = AudioFeatures(bins=bins)
    problem = Problem("speech", None, "audio", "text", "To-English")
    (record,) = warmup.requests(["speech"], [problem], audio, max_frames)
    (given,) = record.predict_log.request.inputs.values()
    with wave.open(io.BytesIO(given.string_val[0])) as sound:
        found, rate = sound.getnframes(), sound.getframerate()
    most = limits.most_samples(audio, max_frames)
    assert rate == audio.sample_rate and 0 < found <= most
    assert found == (most if count is None else count)
