"""One rule for all text that comes in, from corpora, standard input, JSON and .gin files alike.

It is UTF-8. A byte order mark before it is ignored. A line feed ends a line, with the carriage return before it where
there is one; a carriage return elsewhere is a blank. Unicode's other line separators occur inside the sentences of web
corpora, and split nothing. A NUL character is in no text: whoever finds one reads UTF-16, or no text at all.
"""

_MARK = b"\xef\xbb\xbf"
_SAVE = "Save it as UTF-8, with `iconv -f UTF-16 -t UTF-8` for instance"


class TextError(ValueError):
    """The bytes are no text; the message says why, without the name of the file."""


def first_line(line: bytes, has_more: bool) -> bytes:
    """The first line of a text without its byte order mark.

    Args:
      has_more: whether a line feed ends it.

    Raises:
      TextError: the line tells that no line of this text can be read.
    """
    marked = line[:2] in (b"\xff\xfe", b"\xfe\xff") and len(line) > 4
    if marked or line.count(0) > len(line) // 4:
        raise TextError(f"not UTF-8 text but UTF-16, or no text at all (first bytes {line[:8]!r}). {_SAVE}.")
    if not has_more and line.removesuffix(b"\r").count(b"\r") > 1:
        raise TextError(r"its lines end in carriage returns alone. Convert them, with `tr '\r' '\n'` for instance.")
    return line.removeprefix(_MARK)


def decode_line(line: bytes) -> str:
    """The text of one line, without its line feed; TextError where it is none."""
    if b"\0" in line:
        raise TextError(f"a NUL character at position {line.index(0)} of the line; no text has one")
    try:
        return line.removesuffix(b"\r").decode("utf-8").replace("\r", " ")
    except UnicodeDecodeError as error:
        position = f"byte 0x{line[error.start]:02x} at position {error.start} of the line"
        raise TextError(f"not UTF-8: {position}") from error


def decode(data: bytes) -> str:
    """A whole text, its lines parted by line feeds; TextError, with the line's number, where it is none."""
    first, feed, rest = data.partition(b"\n")
    parts = [first_line(first, bool(feed)), *(rest.split(b"\n") if feed else ())]
    lines = []
    for number, part in enumerate(parts, start=1):
        try:
            lines.append(decode_line(part))
        except TextError as error:
            raise TextError(f"line {number}: {error}") from error
    return "\n".join(lines)
