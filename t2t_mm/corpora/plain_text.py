"""The rules for all input text, from corpora, standard input, JSON and .gin files.

Text is UTF-8. A byte order mark at the beginning is ignored. A line ends with a line feed, or with a carriage return and a
line feed; any other carriage return counts as a space. The other line separators of Unicode occur inside sentences of web
corpora and do not separate lines. Text contains no NUL characters; if there are any, the bytes are UTF-16 or not text.
"""

_MARK = b"\xef\xbb\xbf"
_SAVE = "Convert it to UTF-8, for instance with `iconv -f UTF-16 -t UTF-8`"


class TextError(ValueError):
    """The bytes are not text. The message states the reason, without the name of the file."""


def first_line(line: bytes, has_more: bool) -> bytes:
    """Returns the first line of a text without its byte order mark.

    Args:
      has_more: whether the line ends with a line feed.

    Raises:
      TextError: the line shows that the text cannot be read at all.
    """
    marked = line[:2] in (b"\xff\xfe", b"\xfe\xff") and len(line) > 4
    if marked or line.count(0) > len(line) // 4:
        raise TextError(f"not UTF-8 text but UTF-16, or not text at all (first bytes {line[:8]!r}). {_SAVE}.")
    if not has_more and line.removesuffix(b"\r").count(b"\r") > 1:
        raise TextError(r"its lines end with carriage returns only. Convert them, for instance with `tr '\r' '\n'`.")
    return line.removeprefix(_MARK)


def decode_line(line: bytes) -> str:
    """Returns the text of one line, given without its line feed.

    Raises:
      TextError: it is not text.
    """
    if b"\0" in line:
        raise TextError(f"a NUL character at position {line.index(0)} of the line, which text cannot contain")
    try:
        return line.removesuffix(b"\r").decode("utf-8").replace("\r", " ")
    except UnicodeDecodeError as error:
        position = f"byte 0x{line[error.start]:02x} at position {error.start} of the line"
        raise TextError(f"not UTF-8: {position}") from error


def not_text(value: str) -> str:
    """Returns what a string contains that is not text, or an empty string. JSON can spell such characters by its escapes."""
    if "\0" in value:
        return f"a NUL character at position {value.index(chr(0))}"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # UTF-8 cannot encode it
        return f"half of a surrogate pair at position {error.start}"
    return ""


def decode(data: bytes) -> str:
    """Returns a whole text, with lines separated by line feeds.

    Raises:
      TextError: it is not text; the message contains the number of the line.
    """
    first, feed, rest = data.partition(b"\n")
    parts = [first_line(first, bool(feed)), *(rest.split(b"\n") if feed else ())]
    lines = []
    for number, part in enumerate(parts, start=1):
        try:
            lines.append(decode_line(part))
        except TextError as error:
            raise TextError(f"line {number}: {error}") from error
    return "\n".join(lines)
