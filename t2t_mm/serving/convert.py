"""Converts files that the readers of the corpora know, but an export does not, before a client sends them."""

import io

_IMAGES = (b"GIF8", b"BM")  # GIF and BMP; WebP is a kind of RIFF
_AUDIO = (b"fLaC", b"OggS", b"NIST_1A", b"ID3", b"\xff")  # FLAC, Ogg, SPHERE, and MP3 with or without tags


def as_an_export_reads_it(data: bytes, origin: str) -> bytes:
    """Returns JPEG, PNG and WAV as they are, other images as PNG, and other recordings as WAV with the same samples.

    Anything else is returned unchanged, so that the server answers with its error.

    Args:
      data: the content of a file.
      origin: its name for errors.

    Raises:
      MediaError: the file is damaged.
    """
    riff = data[8:12] if data[:4] in (b"RIFF", b"RF64", b"BW64") else b""
    if riff == b"WAVE" or data.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        return data
    converted = io.BytesIO()
    # Imported here, because most requests need none of these libraries.
    if riff == b"WEBP" or data.startswith(_IMAGES):
        from PIL import Image

        from t2t_mm.corpora.pictures import decode_image

        Image.fromarray(decode_image(data, origin, None)).save(converted, "PNG")
    elif data.startswith(_AUDIO):
        import soundfile

        from t2t_mm.corpora.sounds import decode_samples

        samples, rate = decode_samples(data, origin)
        # Float, because the mean of several channels need not be a whole number of 16 bits.
        soundfile.write(converted, samples, rate, format="WAV", subtype="FLOAT")
    return converted.getvalue() or data
