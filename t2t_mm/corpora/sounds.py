"""Decodes audio with libsndfile (SPHERE by itself). A damaged file causes one clear error and is never read in part."""

import io

import numpy as np
import soundfile

from t2t_mm.corpora.example import MediaError
from t2t_mm.corpora.sound_files import (
    LARGEST_SOUND,
    SoundFileError,
    check_ogg,
    flac_of_any_length,
    mp3_with_length,
    plain_wav,
    without_tags,
)  # fmt: skip
from t2t_mm.corpora.sphere import decode_sphere
from t2t_mm.corpora.tars import read_file

SAMPLE_RATES = (1000, 192_000)  # minimum and maximum in Hz
ENDINGS = (".wav", ".flac", ".sph", ".wv1", ".mp3", ".ogg", ".oga", ".opus")
_BLOCK = 1 << 16  # number of samples read at once


def load_audio(path: str, sample_rate: int) -> np.ndarray:
    """Returns the audio at `path` as float32 [samples] in [-1, 1], the mean of its channels, at `sample_rate` Hz.

    The format (WAV, FLAC, MP3, Ogg with Vorbis or Opus, or SPHERE) is determined by the first bytes. Audio with another
    rate is resampled. `path` may be a member of a tar file (see `tars`).

    Raises:
      MediaError: the file is missing, empty, damaged, truncated or has another format.
    """
    return decode_audio(read_file(path), path, sample_rate)


def decode_audio(data: bytes, origin: str, sample_rate: int) -> np.ndarray:
    """Does the same as `load_audio` for encoded bytes. `origin` identifies them in errors.

    Raises:
      MediaError: see `load_audio`.
    """
    mono, rate = decode_samples(data, origin)
    if rate == sample_rate:
        return mono
    from t2t_mm.corpora.resampling import (
        resampler,  # imported here, because it needs TensorFlow, which most callers do not
    )

    return resampler(sample_rate)(mono, rate).numpy()


def decode_samples(data: bytes, origin: str) -> tuple[np.ndarray, int]:
    """Returns encoded audio as float32 [samples] in [-1, 1], the mean of its channels, and its own sample rate in Hz.

    Raises:
      MediaError: see `load_audio`.
    """
    if data[:7] == b"NIST_1A":
        samples, rate = decode_sphere(data, origin)
        samples = samples.astype(np.float32) / 2**15
    else:
        samples, rate = _decode(data, origin)
    if not samples.size:
        raise MediaError(f"{origin}: it contains no samples.")
    if not SAMPLE_RATES[0] <= rate <= SAMPLE_RATES[1]:
        raise MediaError(f"{origin}: {rate} samples per second; {SAMPLE_RATES[0]} to {SAMPLE_RATES[1]} are supported.")
    mono = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise MediaError(f"{origin}: some of its samples are infinite or NaN.")
    return mono, rate


def _decode(data: bytes, origin: str) -> tuple[np.ndarray, int]:  # -> float32 [samples, channels], Hz
    declared, kind = 0, "audio"
    try:
        if data[:4] in (b"RIFF", b"RF64", b"BW64") and data[8:12] == b"WAVE":
            kind, data = "WAV", plain_wav(data)
        elif data[:4] == b"OggS":
            kind = "Ogg"
            check_ogg(data)
        elif (data := without_tags(data))[:4] == b"fLaC":
            kind = "FLAC"
            data, declared = flac_of_any_length(data)
        elif data[:1] == b"\xff" and data[1:2] >= b"\xe0":  # the first 11 bits of an MP3 frame are set
            kind = "MP3"
            data, declared = mp3_with_length(data)
        else:
            raise MediaError(f"{origin}: neither WAV, FLAC, MP3, Ogg nor SPHERE (first bytes {data[:8]!r}).")
        samples, rate = _decoded(data, bool(declared) or kind == "FLAC", origin)
    except (SoundFileError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "error_string", str(error)).removeprefix("Error : ").rstrip(".")
        raise MediaError(f"{origin}: not a readable {kind} file: {reason}.") from error
    if declared and declared != len(samples):
        raise MediaError(f"{origin}: truncated: {declared} samples declared, {len(samples)} present.")
    return samples, rate


class _ToTheEnd(soundfile.SoundFile):
    """Reads audio to its end, regardless of the length that the header declares."""

    def seekable(self) -> bool:
        return False


def _decoded(data: bytes, count_unknown: bool, origin: str) -> tuple[np.ndarray, int]:
    parts, total = [], 0
    with _ToTheEnd(io.BytesIO(data)) as sound:
        while True:
            block = np.empty([max(_BLOCK // sound.channels, 1), sound.channels], np.float32)
            part = sound.read(out=block)
            total += len(part)
            if total * sound.channels > LARGEST_SOUND:
                raise MediaError(f"{origin}: more than {LARGEST_SOUND:,} samples.")
            parts.append(part)
            if not len(part):
                break
        if not count_unknown and total != sound.frames:
            raise SoundFileError(f"truncated: {sound.frames} samples declared, {total} present")
        return np.concatenate(parts), sound.samplerate
