import dataclasses
import math

import numpy as np
import pytest

from t2t_mm.mini.pronunciation import PRONUNCIATIONS, UnknownWordError
from t2t_mm.mini.speech import (
    PHONEMES,
    SAMPLE_RATE,
    Voice,
    random_voice,
    synthesize,
    synthesize_phonemes,
)

SENTENCE = ("the", "small", "bird", "sees", "a", "green", "tree")


def generator(seed=0):
    return np.random.default_rng(seed)


def sound(phoneme, voice=Voice(rate=0.3), seed=0):  # long, clean; without its edges
    samples = synthesize_phonemes([phoneme], voice, generator(seed), math.inf)
    loud = np.flatnonzero(np.abs(samples) > 0.1 * np.abs(samples).max())
    return samples[loud[0] : loud[-1]]


def power(samples, low, high):  # Hz; its share of the whole
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return spectrum[(low <= hertz) & (hertz < high)].sum() / spectrum.sum()


def strongest(samples, low, high):  # Hz; smoothed over 150 Hz, so that harmonics do not count
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    window = np.hanning(int(300 / hertz[1]))
    spectrum = np.convolve(spectrum, window, "same") * ((low <= hertz) & (hertz < high))
    return hertz[spectrum.argmax()]


def periodicity(samples, lowest=70, highest=400):  # -> Hz, height of the peak of the autocorrelation
    middle = samples[len(samples) // 2 - 800 : len(samples) // 2 + 800]
    correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lags = slice(SAMPLE_RATE // highest, SAMPLE_RATE // lowest)
    lag = lags.start + correlation[lags].argmax()
    return SAMPLE_RATE / lag, correlation[lag] / correlation[0]


def test_the_seed_decides_every_sample():
    first, again, other = (synthesize(SENTENCE, Voice(), generator(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


@pytest.mark.parametrize("pitch,formant_scale", [(90, 0.88), (260, 1.18)])
def test_every_word_can_be_said(pitch, formant_scale):
    rng = generator()
    for word in PRONUNCIATIONS:
        samples = synthesize([word.upper()], Voice(pitch, formant_scale), rng)
        assert samples.dtype == np.float32 and samples.ndim == 1
        assert np.isfinite(samples).all() and 0.25 < np.abs(samples).max() <= 1, word
        assert np.sqrt(np.mean(samples**2)) > 0.01, word


def test_every_phoneme_of_the_dictionary_is_known():
    assert {p.rstrip("012") for word in PRONUNCIATIONS.values() for p in word} == PHONEMES


def test_duration_grows_with_the_phonemes_and_falls_with_the_rate():
    lengths = [len(synthesize(SENTENCE[:n], Voice(), generator())) for n in range(1, len(SENTENCE) + 1)]
    assert lengths == sorted(set(lengths))
    slow, fast = (len(synthesize(SENTENCE, Voice(rate=rate), generator())) for rate in (0.85, 1.2))
    assert slow / fast == pytest.approx(1.2 / 0.85, rel=0.05)


def test_ten_to_thirteen_phonemes_a_second():
    rng, words = generator(), sorted(PRONUNCIATIONS)
    count = seconds = 0
    for _ in range(30):
        sentence = rng.choice(words, 8)
        count += sum(len(PRONUNCIATIONS[word]) for word in sentence)
        seconds += len(synthesize(sentence, Voice(), rng)) / SAMPLE_RATE
    assert 10 < count / seconds < 13


@pytest.mark.parametrize("scale", [0.9, 1.15])
def test_vowels_have_their_formants(scale):
    voice = Voice(pitch=100, formant_scale=scale, rate=0.3)
    high, low = sound("IY1", voice), sound("AA1", voice)
    assert strongest(high, 150, 1000) == pytest.approx(310 * scale, rel=0.25)
    assert strongest(low, 150, 1000) == pytest.approx(720 * scale, rel=0.25)
    assert strongest(high, 1300 * scale, 2500 * scale) == pytest.approx(2070 * scale, rel=0.1)
    assert strongest(low, 950 * scale, 1800 * scale) == pytest.approx(1180 * scale, rel=0.15)


def test_the_tongue_moves_in_a_diphthong():
    samples = sound("AY1")
    start, end = samples[: len(samples) // 4], samples[-len(samples) // 4 :]
    assert strongest(start, 150, 1000) > 1.3 * strongest(end, 150, 1000)
    assert strongest(start, 1000, 2300) < 0.8 * strongest(end, 1000, 2300)


def test_fricatives_differ_in_where_their_noise_lies():
    above = {name: power(sound(name), 4000, 8000) for name in ("S", "SH", "Z", "V", "AA1", "IY1")}
    assert above["S"] > 0.9 and above["S"] > 2 * above["SH"] and above["SH"] > 0.1 > 10 * above["AA1"]
    assert above["IY1"] < 0.05 < above["Z"] > above["V"]
    assert power(sound("Z"), 0, 500) > 20 * power(sound("S"), 0, 500)  # the voice bar


def test_bursts_differ_in_where_their_noise_lies():
    def tallest(name):
        return np.mean([strongest(sound(name, seed=seed), 300, 8000) for seed in range(5)])

    assert tallest("P") < 1500 < tallest("K") < 3200 < tallest("T") < 6000


def test_nasals_differ_in_their_second_formant():
    peaks = [strongest(sound(name), 950, 2400) for name in ("M", "N", "NG")]
    assert peaks[0] < peaks[1] < peaks[2]


@pytest.mark.parametrize("pitch", [95, 130, 240])
def test_vowels_repeat_at_the_pitch_and_noise_does_not(pitch):
    hertz, height = periodicity(sound("AA0", Voice(pitch, rate=0.3)))
    assert hertz == pytest.approx(pitch, rel=0.1) and height > 0.6
    assert periodicity(sound("S", Voice(pitch, rate=0.3)))[1] < 0.4


def test_pitch_falls_through_a_sentence():
    samples = synthesize_phonemes(["AA0"] * 8, Voice(pitch=120), generator(), math.inf)
    third = len(samples) // 3
    assert periodicity(samples[:third])[0] > 1.05 * periodicity(samples[-third:])[0]


def test_voices_differ():
    voices = [random_voice(generator(seed)) for seed in range(50)]
    assert all(90 <= v.pitch <= 260 and 0.88 <= v.formant_scale <= 1.18 and 0.85 <= v.rate <= 1.2 for v in voices)
    assert len(set(voices)) == 50 and random_voice(generator(1)) == voices[1]
    first, other = (synthesize(["ball"], Voice(formant_scale=s), generator()) for s in (0.9, 1.1))
    assert first.shape == other.shape and np.abs(first - other).max() > 0.05


def test_background_noise_has_the_level_asked_for():
    pauses = {}
    for snr in (math.inf, 40, 20):
        samples = synthesize(SENTENCE, Voice(), generator(), snr)
        pauses[snr] = 10 * np.log10(np.mean(samples[:400] ** 2) / np.mean(samples**2) + 1e-9)
    assert pauses[math.inf] < -60
    assert pauses[40] == pytest.approx(-40, abs=2) and pauses[20] == pytest.approx(-20, abs=2)


def test_what_cannot_be_said_is_named():
    with pytest.raises(UnknownWordError, match="'xylophone' has no pronunciation"):
        synthesize(["the", "xylophone"], Voice(), generator())
    with pytest.raises(ValueError, match=r"unknown phonemes \['QX'\].*Known: \['AA'"):
        synthesize_phonemes(["AA1", "QX"], Voice(), generator())
    with pytest.raises(ValueError, match="it is empty"):
        synthesize([], Voice(), generator())


@pytest.mark.parametrize("field,value", [("pitch", 0), ("formant_scale", -1), ("rate", 0), ("tilt", 0), ("breath", -1)])
def test_impossible_voices_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}={value}.*must be > 0"):
        dataclasses.replace(Voice(), **{field: value})
