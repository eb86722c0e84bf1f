"""A small source-filter speech synthesizer for the mini speech corpus, which turns words into a 16 kHz waveform.

Formant targets and the cascade of resonators follow Klatt (1980), "Software for a cascade/parallel formant synthesizer"
(JASA 67(3), tables II and III, for a male voice). In contrast to Klatt's synthesizer, the filter is applied in the
frequency domain, frame by frame, and noise bands replace the parallel branch. Durations are based on Klatt (1976),
"Linguistic uses of segmental duration in English", and shortened to a brisk reading speed.

In shapes, `F` is the number of frames of HOP samples, `N` the number of FFT bins and `C` the number of noise colours.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from t2t_mm.mini.pronunciation import pronounce

SAMPLE_RATE = 16000
HOP = 64  # samples per frame; the filter changes every 4 ms
_FFT = 8 * HOP  # enough for a window of 2 hops and 20 ms of ringing
_FREQUENCIES = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE).astype(np.float32)
_UPPER_FORMANTS = ((3400, 250), (4500, 300), (5500, 400), (6500, 500), (7500, 600))  # from F4, with bandwidths, in Hz
_SCHWA = np.array([500, 1400, 2500])

# Phoneme: milliseconds if stressed; F1, F2 and F3 in Hz at its start and, for diphthongs, at its end.
_VOWELS: dict[str, tuple[int, *tuple[Sequence[float], ...]]] = {
    "IY": (115, (310, 2070, 2960)), "IH": (80, (400, 1800, 2570)), "EH": (90, (550, 1680, 2500)),
    "AE": (120, (660, 1620, 2430)), "AA": (120, (720, 1180, 2600)), "AO": (120, (600, 930, 2570)),
    "AH": (80, (620, 1250, 2550)), "UH": (80, (450, 1100, 2350)), "UW": (110, (340, 1150, 2200), (310, 900, 2200)),
    "ER": (110, (470, 1270, 1540)), "EY": (125, (490, 1720, 2520), (330, 2080, 2700)),
    "OW": (125, (550, 1050, 2300), (400, 820, 2300)), "AY": (140, (690, 1200, 2550), (370, 1950, 2600)),
    "AW": (140, (690, 1250, 2550), (400, 900, 2350)), "OY": (145, (550, 900, 2400), (360, 1850, 2500)),
}  # fmt: skip

# Phoneme: milliseconds; F1, F2 and F3 in Hz; level of the voice (1 for a vowel); nasal zero in Hz (0: none).
# Human speakers have a zero at about 1000 Hz in M and 1700 Hz in N, close to F2, so that F2 disappears in background
# noise. Here the zeros are kept away from F2, and the F2 of M and N differ more than Klatt's, to make them distinct.
_SONORANTS = {
    "W": (65, (290, 610, 2150), 0.7, 0), "Y": (60, (260, 2100, 3020), 0.7, 0), "R": (65, (320, 1060, 1380), 0.8, 0),
    "L": (65, (340, 1000, 2880), 0.8, 0), "M": (70, (280, 950, 2130), 0.9, 1500),
    "N": (65, (280, 1650, 2550), 0.9, 850), "NG": (75, (280, 2100, 2800), 0.9, 3200),
}  # fmt: skip

# Phoneme: milliseconds; F1, F2 and F3 in Hz; level of the voice; colour and level of the noise.
_FRICATIVES = {
    "S": (100, (320, 1390, 2530), 0.0, "S", 0.35), "Z": (75, (240, 1390, 2530), 0.5, "S", 0.18),
    "SH": (105, (300, 1840, 2750), 0.0, "SH", 0.4), "F": (90, (340, 1000, 2080), 0.0, "F", 0.12),
    "V": (60, (220, 1000, 2080), 0.6, "F", 0.05), "TH": (90, (320, 1290, 2540), 0.0, "TH", 0.12),
    "DH": (50, (270, 1290, 2540), 0.6, "TH", 0.05),
}  # fmt: skip

# Phoneme: milliseconds of closure and of noise; F1, F2 and F3 in Hz; whether it is voiced; noise colour and level.
_STOPS = {
    "P": (60, 12, (400, 900, 2150), False, "P", 0.45), "B": (55, 8, (200, 900, 2150), True, "P", 0.3),
    "T": (50, 14, (400, 1700, 2650), False, "T", 0.6), "D": (45, 8, (200, 1700, 2650), True, "T", 0.35),
    "K": (50, 20, (300, 1990, 2850), False, "K", 0.6), "G": (45, 14, (200, 1990, 2850), True, "K", 0.4),
    "CH": (45, 65, (300, 1800, 2820), False, "SH", 0.4), "JH": (40, 45, (250, 1800, 2820), True, "SH", 0.25),
}  # fmt: skip
_BACK_VELAR = (300, 1250, 2250)  # K and G next to a back vowel, which moves the place of articulation back

# Colour of the noise: centre in Hz, width in Hz and level in dB of each band.
_NOISES = {
    "S": ((6300, 1200, 0),), "SH": ((2900, 600, 0), (4500, 1000, -5)), "F": ((1500, 900, -3), (4500, 3500, 0)),
    "TH": ((7200, 900, 0), (5500, 900, -6)), "P": ((700, 500, 0), (2200, 1200, -12)), "T": ((4300, 1000, 0),),
    "K": ((2500, 350, 0), (5000, 1500, -18)), "K back": ((1450, 300, 0), (4000, 1500, -18)),
}  # fmt: skip
PHONEMES = frozenset({*_VOWELS, *_SONORANTS, *_FRICATIVES, *_STOPS, "HH"})


@dataclasses.dataclass(frozen=True)
class Voice:
    """The voice of a speaker.

    Attributes:
      pitch: mean pitch of a sentence, in Hz.
      formant_scale: formant frequencies relative to Klatt's male voice.
      rate: speed; 1 is about 11 phonemes per second.
      breath: level of the noise at the glottis relative to the voice.
      tilt: frequency in Hz above which the voice falls by another 6 dB per octave; a low value gives a soft voice.

    Raises:
      ValueError: `breath` is negative, or another value is not positive.
    """

    pitch: float = 120.0
    formant_scale: float = 1.0
    rate: float = 1.0
    breath: float = 0.02
    tilt: float = 4000.0

    def __post_init__(self):
        if min(self.pitch, self.formant_scale, self.rate, self.tilt) <= 0 or self.breath < 0:
            raise ValueError(f"{self}: pitch, formant_scale, rate and tilt must be > 0, and breath must be >= 0.")


def random_voice(rng: np.random.Generator) -> Voice:
    """Draws the voice of a man, a woman or a child. As in real voices, a higher pitch comes with higher formants."""
    pitches, scales = (((90, 150), (0.88, 1.02)), ((160, 230), (1.02, 1.14)), ((220, 260), (1.1, 1.18)))[rng.choice(3)]
    return Voice(
        pitch=rng.uniform(*pitches), formant_scale=rng.uniform(*scales), rate=rng.uniform(0.85, 1.2),
        breath=rng.uniform(0.005, 0.05), tilt=rng.uniform(2000, 6000),
    )  # fmt: skip


def synthesize(words: Sequence[str], voice: Voice, rng: np.random.Generator, noise_snr_db: float | None = None) -> np.ndarray:
    """Reads words aloud as one phrase.

    Args:
      noise_snr_db: power of the whole utterance relative to that of the background noise, in dB. None draws a value
        between 20 and 40; math.inf omits the noise.

    Returns:
      float32 `[samples]` in [-1, 1] at 16 kHz.

    Raises:
      pronunciation.UnknownWordError: a word has no pronunciation.
      ValueError: there are no words.
    """
    return synthesize_phonemes([p for word in words for p in pronounce(word)], voice, rng, noise_snr_db)


def synthesize_phonemes(
    phonemes: Sequence[str], voice: Voice, rng: np.random.Generator, noise_snr_db: float | None = None
) -> np.ndarray:
    """Does the same as `synthesize` for ARPAbet phonemes, whose vowels carry a stress digit.

    Raises:
      ValueError: there are no phonemes, or one of them is not in PHONEMES.
    """
    unknown = [p for p in phonemes if p.rstrip("012") not in PHONEMES]
    if unknown or not phonemes:
        problem = f"unknown phonemes {unknown}" if unknown else "it is empty"
        raise ValueError(f"Cannot synthesize {list(phonemes)}: {problem}. Known: {sorted(PHONEMES)}.")
    speech = _render(_tracks(_segments(phonemes, rng), voice, rng), voice, rng)
    snr_db = rng.uniform(20, 40) if noise_snr_db is None else noise_snr_db
    speech += _background(len(speech), rng) * np.sqrt(np.mean(speech**2)) * 10 ** (-snr_db / 20)
    return (speech * (rng.uniform(0.3, 0.95) / np.abs(speech).max())).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class _Segment:
    """A section of audio with one kind of source. Its formants move from `formants` to `glide`, if that is given."""

    seconds: float
    formants: Sequence[float] | np.ndarray  # Hz
    glide: Sequence[float] | np.ndarray | None = None  # Hz
    bandwidths: Sequence[float] = (80, 100, 160)  # Hz
    voice: float = 0.0
    aspiration: float = 0.0
    zero: float = 0.0  # frequency of the nasal zero in Hz; 0 if the nasal cavity is closed off
    noise: str = "S"
    noise_level: float = 0.0
    accent: float = 0.0  # relative increase of the pitch


_OPEN = (250, 150, 250)  # bandwidths in Hz; an open glottis damps the first formant


def _segments(phonemes: Sequence[str], rng: np.random.Generator) -> list[_Segment]:
    """Turns phonemes, which depend on their neighbours, into segments at rate 1, with silence before and after them."""
    names = [p.rstrip("012") for p in phonemes]
    first, last = rng.uniform(0.06, 0.15, size=2)
    segments = [_Segment(first, _SCHWA)]
    last_vowel = max((i for i, name in enumerate(names) if name in _VOWELS), default=-1)
    for i, (phoneme, name) in enumerate(zip(phonemes, names, strict=True)):
        following = names[i + 1] if i + 1 < len(names) else ""
        previous = names[i - 1] if i else ""
        if name in _VOWELS:
            parts = [_vowel(name, int(phoneme[-1]), 1.35 if i == last_vowel else 1.0)]
        elif name in _STOPS:
            parts = _stop(name, previous, following)
        else:
            parts = [_continuant(name, following)]
        length = rng.uniform(0.9, 1.1)
        spread = np.exp(0.02 * rng.standard_normal(3))  # the same phoneme never sounds exactly the same twice
        for part in parts:
            glide = part.formants if part.glide is None else part.glide
            segments.append(dataclasses.replace(
                part, seconds=part.seconds * length,
                formants=np.multiply(part.formants, spread), glide=np.multiply(glide, spread),
            ))  # fmt: skip
    return [*segments, _Segment(last, _SCHWA)]


def _vowel(name: str, stress: int, lengthening: float) -> _Segment:
    milliseconds, *given = _VOWELS[name]
    targets = [np.array(target) for target in given]
    if stress == 0:  # unstressed vowels are short and move towards schwa; AH0 is schwa itself
        weight = 1.0 if name == "AH" else 0.15
        targets = [(1 - weight) * target + weight * _SCHWA for target in targets]
    seconds = milliseconds / 1000 * (0.65, 1.0, 0.85)[stress] * lengthening
    accent = (0.0, 0.12, 0.05)[stress]
    return _Segment(seconds, targets[0], targets[-1], voice=0.8 if stress == 0 else 1.0, accent=accent)


def _start_of_vowel(name: str) -> Sequence[float] | None:
    """Returns the formants at the start of a vowel, or None for any other phoneme."""
    if name not in _VOWELS:
        return None
    _, *targets = _VOWELS[name]
    return targets[0]


def _continuant(name: str, following: str) -> _Segment:
    if name == "HH":  # sounds like the next vowel, whispered
        start = _start_of_vowel(following)
        return _Segment(0.055, _SCHWA if start is None else start, bandwidths=_OPEN, aspiration=1.0)
    if name in _SONORANTS:
        milliseconds, formants, voice, zero = _SONORANTS[name]
        bandwidths = (90, 200, 250) if zero else (70, 100, 160)
        return _Segment(milliseconds / 1000, formants, bandwidths=bandwidths, voice=voice, zero=zero)
    milliseconds, formants, voice, noise, level = _FRICATIVES[name]
    bandwidths = (70, 100, 170) if voice else _OPEN
    return _Segment(milliseconds / 1000, formants, bandwidths=bandwidths, voice=voice, noise=noise, noise_level=level)


def _stop(name: str, previous: str, following: str) -> list[_Segment]:
    """Returns closure (with a murmur if voiced), burst and aspiration.

    Only voiceless stops before vowels and approximants are aspirated, and not after S.
    """
    closed, noisy, formants, voiced, noise, level = _STOPS[name]
    beside = _start_of_vowel(following) or _start_of_vowel(previous)
    if name in ("K", "G") and (following in ("L", "R", "W") or beside and beside[1] < 1500):
        formants, noise = _BACK_VELAR, "K back"
    bandwidths = (70, 110, 170) if voiced else _OPEN
    parts = [
        _Segment(closed / 1000, formants, bandwidths=bandwidths, voice=0.25 if voiced else 0.0),
        _Segment(
            noisy / 1000, formants, bandwidths=bandwidths, voice=0.4 if voiced else 0.0,
            noise=noise, noise_level=level if following in _VOWELS or following in _SONORANTS else 0.7 * level,
        ),
    ]  # fmt: skip
    if name in ("P", "T", "K") and previous != "S" and (following in _VOWELS or following in ("L", "R", "W", "Y")):
        parts.append(_Segment(0.03, formants, bandwidths=_OPEN, aspiration=0.8))
    return parts


@dataclasses.dataclass(frozen=True)
class _Tracks:
    """The parameters of the synthesizer in each frame."""

    formants: np.ndarray  # [F, 3] Hz
    bandwidths: np.ndarray  # [F, 3] Hz
    zeros: np.ndarray  # [F] Hz
    nasality: np.ndarray  # [F] 0 to 1
    voice: np.ndarray  # [F]
    aspiration: np.ndarray  # [F]
    noises: np.ndarray  # [F, C]
    pitch: np.ndarray  # [F] Hz


def _tracks(segments: list[_Segment], voice: Voice, rng: np.random.Generator) -> _Tracks:
    """Turns segments into frames. Smoothing lets neighbours influence each other, like the inertia of the tongue."""
    ends = np.cumsum([s.seconds for s in segments]) / voice.rate * SAMPLE_RATE / HOP
    ends = np.round(ends).astype(int)
    lengths = np.diff(ends, prepend=0)
    index = np.repeat(np.arange(len(segments)), lengths.astype(int))  # [F]
    position = (np.arange(len(index)) - (ends - lengths)[index]) / lengths[index]

    def column(values):
        return np.array(values, np.float64)[index]

    moved = np.clip((position - 0.2) / 0.6, 0, 1)[:, None]  # a diphthong is steady at its start and its end
    start = np.log(column([s.formants for s in segments]))
    end = np.log(column([s.formants if s.glide is None else s.glide for s in segments]))
    noises = np.array([[s.noise_level * (s.noise == kind) for kind in _NOISES] for s in segments])
    decline = np.linspace(1.1, 0.87, len(index))
    accents = _smooth(column([s.accent for s in segments]), 0.12)
    wander = _smooth(column(0.03 * rng.standard_normal(len(segments))), 0.12)
    return _Tracks(
        formants=np.exp(_smooth(start + moved * (end - start), 0.05)) * voice.formant_scale,
        bandwidths=_smooth(column([s.bandwidths for s in segments]), 0.03),
        zeros=column([s.zero or 1500 for s in segments]),
        nasality=_smooth(column([float(s.zero > 0) for s in segments]), 0.03),
        voice=_smooth(column([s.voice for s in segments]), 0.025),
        aspiration=_smooth(column([s.aspiration for s in segments]), 0.025),
        noises=_smooth(column(noises), 0.012),
        pitch=voice.pitch * decline * (1 + accents + wander),
    )


def _smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    """Smooths values `[F, ...]` with a Hann window of `seconds` total width."""
    half = max(1, round(seconds / 2 * SAMPLE_RATE / HOP))
    weights = np.hanning(2 * half + 1)[1:-1]
    padded = np.concatenate([values[:1]] * (half - 1) + [values] + [values[-1:]] * (half - 1))
    return sum(w * padded[k : k + len(values)] for k, w in enumerate(weights / weights.sum()))


def _render(tracks: _Tracks, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Filters pulses and noise frame by frame, and adds up the overlapping results to `[samples]`."""
    frames = len(tracks.pitch)
    pulses = _spectra(_pulses(tracks.pitch, rng))  # [F, N]
    noise = _spectra(rng.standard_normal((frames + 1) * HOP, dtype=np.float32))
    breath = tracks.aspiration + voice.breath * tracks.voice
    glottis = pulses * (_glottis(voice) * tracks.voice[:, None].astype(np.float32))
    glottis += noise * (0.1 * breath[:, None]).astype(np.float32)
    spectrum = glottis * _vocal_tract(tracks, voice)
    spectrum += noise * (tracks.noises.astype(np.float32) @ _noise_bands(voice))
    pieces = np.fft.irfft(spectrum, _FFT).reshape(frames, -1, HOP)
    speech = np.zeros((frames + pieces.shape[1], HOP))
    for k in range(pieces.shape[1]):
        speech[k : k + frames] += pieces[:, k]
    return speech[1:].reshape(-1)  # without the hop that _spectra adds at the start


def _spectra(source: np.ndarray) -> np.ndarray:
    """Returns the spectra `[F, N]` of a signal `[(F + 1) * HOP]` in Hann windows of two hops, which add up to one.

    The windows start one hop late, so that the zero-phase noise bands ring into that hop instead of wrapping around to
    the end.
    """
    blocks = source.reshape(-1, HOP)
    frames = np.zeros((len(blocks) - 1, _FFT), np.float32)
    window = (0.5 - 0.5 * np.cos(np.pi * np.arange(2 * HOP) / HOP)).astype(np.float32)
    frames[:, HOP : 2 * HOP] = blocks[:-1] * window[:HOP]
    frames[:, 2 * HOP : 3 * HOP] = blocks[1:] * window[HOP:]
    return np.fft.rfft(frames).astype(np.complex64)


def _pulses(pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns one impulse per period of the pitch `[F]` in Hz, with power 1, as a signal `[(F + 1) * HOP]`.

    Each impulse is split between two samples, so that periods need not be a whole number of samples.
    """
    samples = np.arange((len(pitch) + 1) * HOP)
    hertz = np.interp(samples, np.arange(len(pitch)) * HOP, pitch)
    cycles = np.cumsum(hertz) / SAMPLE_RATE
    times = np.interp(np.arange(1, int(cycles[-1])), cycles, samples)
    times += 0.005 * rng.standard_normal(len(times)) * SAMPLE_RATE / pitch.mean()  # 0.5% jitter
    whole = np.clip(times.astype(int), 0, len(samples) - 2)
    share, level = times - whole, np.sqrt(SAMPLE_RATE / hertz[whole])
    pulses = np.zeros(len(samples), np.float32)
    pulses[whole] = (1 - share) * level
    pulses[whole + 1] += share * level
    return pulses


def _glottis(voice: Voice) -> np.ndarray:
    """Returns the spectrum `[N]` of a glottal pulse radiated by the lips: it peaks at 250 Hz, then -6 dB per octave."""
    s = 1j * _FREQUENCIES
    return (s / 250 / (1 + s / 250) ** 2 / (1 + s / voice.tilt)).astype(np.complex64)


def _vocal_tract(tracks: _Tracks, voice: Voice) -> np.ndarray:
    """Returns the response of a cascade of resonators `[F, N]`, with a notch while the nasal cavity is open."""
    square, slope = _FREQUENCIES**2, 1j * _FREQUENCIES
    upper = np.ones(len(_FREQUENCIES), np.complex64)
    for formant, bandwidth in _UPPER_FORMANTS:
        centre = formant * voice.formant_scale
        upper *= (centre**2 / (centre**2 - square + slope * bandwidth)).astype(np.complex64)
    tract: np.ndarray = np.broadcast_to(upper, (len(tracks.pitch), len(upper)))
    formants = tracks.formants.astype(np.float32)[:, :, None]
    bandwidths = tracks.bandwidths.astype(np.float32)[:, :, None]
    for k in range(3):
        tract = tract * formants[:, k] ** 2 / (formants[:, k] ** 2 - square + slope * bandwidths[:, k])
    nasal = tracks.nasality > 0.01
    zeros = (tracks.zeros[nasal, None] * voice.formant_scale).astype(np.float32) ** 2 - square
    notch = (zeros + 100 * slope) / (zeros + 900 * slope)  # -19 dB at the zero, with a width of 900 Hz
    tract[nasal] *= 1 + tracks.nasality[nasal, None].astype(np.float32) * (notch - 1)
    return tract


def _noise_bands(voice: Voice) -> np.ndarray:
    """Returns the magnitudes of the noises in _NOISES, each with power 1, `[C, N]`."""
    powers = [
        sum(10 ** (dB / 10) * np.exp(-(((_FREQUENCIES / voice.formant_scale - centre) / width) ** 2))
            for centre, width, dB in bands)
        for bands in _NOISES.values()
    ]  # fmt: skip
    return np.stack([np.sqrt(power / np.mean(power)) for power in powers]).astype(np.float32)


def _background(length: int, rng: np.random.Generator) -> np.ndarray:
    """Returns room noise `[length]` with power 1, which is flat up to 800 Hz and then falls by 6 dB per octave."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    noise = np.fft.irfft(spectrum / (1 + 1j * np.fft.rfftfreq(length, 1 / SAMPLE_RATE) / 800), length)
    return noise / noise.std()
