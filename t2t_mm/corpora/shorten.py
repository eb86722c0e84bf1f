"""Decodes the shorten bit stream, versions 1 to 3 (Robinson 1994, CUED/F-INFENG/TR.156), in LDC's SPHERE files.

Version 3 is read like version 2. libsndfile does not support shorten. FFmpeg does and returns the same samples, but its
installation is twenty times as large.

The position of a Rice code is only known after the code before it has been read. Reading code by code would take most of
the time in Python, so decoding has three passes. First, a regular expression skips over the codes of each block to find the
positions of the blocks. Then the codes of all blocks are read in parallel, the nth code of every block in one step. Finally,
the predictions are computed block by block.
"""

import dataclasses
import functools
import operator
import re

import numpy as np

_MAGIC = b"ajkg"
_DIFF0, _DIFF1, _DIFF2, _DIFF3, _QUIT, _BLOCKSIZE, _BITSHIFT, _QLPC, _ZERO, _VERBATIM = range(10)
_SIXTEEN_BITS = (3, 5)  # file types: signed 16 bits, high or low byte first
_LPC_BITS = 5  # number of fraction bits of a quantised predictor coefficient
_WRAP = 3  # minimum number of samples kept from the last block, for the third difference
_LARGEST_WIDTH = 24  # maximum number of low bits of a Rice code; 16-bit samples and their differences need fewer
_LARGEST_BLOCK = 1 << 16
_FEW = 16  # up to this number, blocks are read one by one, because parallel reading would not be faster


class ShortenError(ValueError):
    """The bytes are not a complete shorten stream of 16-bit samples."""


@dataclasses.dataclass
class _Block:
    """The position of the codes of a block, in bits, and their parameters. `low` is the number of bits after the 1 bit."""

    function: int
    size: int
    shift: int
    begin: int = 0
    low: int = 0
    coefficients: tuple[int, ...] = ()


class _Bits:
    """Reads the variable-length integers of the format, most significant bit first."""

    def __init__(self, data: bytes):
        # A string of binary digits, because string searches are the fastest bit operations in Python.
        self.digits = (np.unpackbits(np.frombuffer(data, np.uint8)) + ord("0")).tobytes().decode("ascii")
        self.at = 0

    def unsigned(self, bits: int) -> int:
        """Reads a Rice code: the number of zeros before the next 1, followed by `bits` binary digits."""
        one = self.digits.find("1", self.at)
        end = one + 1 + bits
        if one < 0 or end > len(self.digits):
            raise ShortenError("the compressed samples end too early")
        high = one - self.at
        self.at = end
        return (high << bits) | int(self.digits[one + 1 : end], 2) if bits else high

    def signed(self, bits: int) -> int:
        value = self.unsigned(bits + 1)
        return ~(value >> 1) if value & 1 else value >> 1

    def long(self) -> int:
        return self.unsigned(_checked_width(self.unsigned(2)))

    def skip(self, low: int, count: int) -> None:
        """Skips `count` codes with `low` bits after the 1."""
        codes = _codes(low, count).match(self.digits, self.at)
        if codes is None:
            raise ShortenError("the compressed samples end too early")
        self.at = codes.end()


@functools.lru_cache(maxsize=256)
def _codes(low: int, count: int) -> re.Pattern:
    return re.compile(f"(?:0*+1.{{{low}}}){{{count}}}+")  # possessive, because there is only one way to read a code


def _checked_width(bits: int) -> int:
    if bits > _LARGEST_WIDTH:
        raise ShortenError(f"a number of {bits} bits in the stream")
    return bits


def decode_shorten(data: bytes, largest: int | None = None) -> np.ndarray:
    """Returns the exact samples of a stream, int32 [samples, channels].

    Args:
      data: the stream.
      largest: maximum expected number of samples of all channels. A damaged stream with more is rejected before it fills the
        memory. Default: the number for an extreme compression ratio.

    Raises:
      ShortenError: the version or sample type is not supported, or the stream is damaged or truncated.
    """
    if data[:4] != _MAGIC or data[4:5] not in (b"\1", b"\2", b"\3"):
        raise ShortenError(f"not a shorten stream of version 1, 2 or 3 (first bytes {data[:5]!r})")
    rounds = data[4] > 1  # version 1 truncates means and predictions instead of rounding
    bits = _Bits(data[5:])
    kind, channels, size, max_order, means, skip = (bits.long() for _ in range(6))
    if kind not in _SIXTEEN_BITS or not 1 <= channels <= 8 or max_order > 64 or means > 64:
        raise ShortenError(f"sample type {kind} with {channels} channels is not supported")
    for _ in range(skip):
        bits.unsigned(7)
    wrap = max(_WRAP, max_order)
    blocks = _find_blocks(bits, size, wrap, 64 * len(data) + _LARGEST_BLOCK if largest is None else largest)
    residuals = _residuals(blocks, data[5:], bits.digits)
    columns = [_predict(blocks[c::channels], residuals[c::channels], wrap, means, rounds) for c in range(channels)]
    if len({len(column) for column in columns}) > 1:
        raise ShortenError("the channels have different lengths")
    samples = np.stack(columns, axis=1)
    if samples.size and (samples.min() < -(2**15) or samples.max() >= 2**15):
        raise _damaged()
    return samples.astype(np.int32)


def _damaged() -> ShortenError:
    return ShortenError("samples beyond 16 bits: the stream is damaged")


def _find_blocks(bits: _Bits, size: int, wrap: int, largest: int) -> list[_Block]:
    """Returns the blocks of the stream in order. The channels alternate."""
    blocks, shift, total = [], 0, 0
    while (function := bits.unsigned(2)) != _QUIT:
        if function == _BLOCKSIZE:
            size = bits.long()
        elif function == _BITSHIFT:
            shift = bits.unsigned(2)
            if shift > 31:
                raise ShortenError(f"samples shifted by {shift} bits")
        elif function == _VERBATIM:
            for _ in range(bits.unsigned(5)):
                bits.unsigned(8)
        elif function in (_DIFF0, _DIFF1, _DIFF2, _DIFF3, _QLPC, _ZERO):
            total += size
            if not 0 < size <= _LARGEST_BLOCK or total > largest:
                raise ShortenError(f"a block of {size} samples makes {total} in all; at most {largest} are expected")
            blocks.append(_find_block(bits, function, size, shift, wrap))
        else:
            raise ShortenError(f"unknown function {function} in the stream")
    return blocks


def _find_block(bits: _Bits, function: int, size: int, shift: int, wrap: int) -> _Block:
    block = _Block(function, size, shift)
    if function == _ZERO:
        return block
    block.low = _checked_width(bits.unsigned(3) + 1)  # the sign is the lowest bit
    if function == _QLPC:
        order = bits.unsigned(2)
        if order > wrap:
            raise ShortenError(f"a predictor of order {order} in a stream of at most {wrap}")
        block.coefficients = tuple(bits.signed(_LPC_BITS) for _ in range(order))
    block.begin = bits.at
    bits.skip(block.low, size)
    return block


def _residuals(blocks: list[_Block], data: bytes, digits: str) -> list[np.ndarray]:
    """Returns the numbers encoded in each block, int64 [size], which are zeros if it has no codes."""
    coded = sorted((block for block in blocks if block.function != _ZERO), key=lambda block: -block.size)
    sizes = np.array([block.size for block in coded], np.int64)
    low = np.array([block.low for block in coded], np.int64)
    at = np.array([block.begin for block in coded], np.int64)
    windows, first = _windows(data), np.cumsum(sizes) - sizes  # first: index of the first code of each block among all codes
    begins, ones = np.zeros(int(sizes.sum()), np.int64), np.zeros(int(sizes.sum()), np.int64)
    # Read the nth code of every block that has one, until too few blocks are left.
    longer = lambda than: int(np.searchsorted(-sizes, -than))  # noqa: E731
    reached = 0
    while (active := longer(reached)) >= _FEW:
        begins[first[:active] + reached] = at[:active]
        ones[first[:active] + reached] = one = _next_one(windows, at[:active])
        at[:active] = one + 1 + low[:active]
        reached += 1
    for block in range(longer(reached)):
        position, step = int(at[block]), int(low[block]) + 1
        for code in range(first[block] + reached, first[block] + sizes[block]):
            begins[code] = position
            ones[code] = found_at = digits.find("1", position)
            position = found_at + step
    widths = np.repeat(low, sizes)
    fraction = (_window(windows, ones + 1) >> np.uint64(32)).astype(np.int64) >> (32 - widths)
    values = ((ones - begins) << widths) | fraction
    values = (values >> 1) ^ -(values & 1)
    found = {id(block): values[start : start + block.size] for block, start in zip(coded, first)}
    return [found[id(block)] if id(block) in found else np.zeros(block.size, np.int64) for block in blocks]


def _windows(data: bytes) -> np.ndarray:
    """Returns the 64 bits that begin at each byte, uint64 [bytes + 1]."""
    padded = np.frombuffer(data + bytes(8), np.uint8)
    windows = np.zeros(len(data) + 1, np.uint64)
    for byte in range(8):
        windows = (windows << np.uint64(8)) | padded[byte : byte + len(windows)]
    return windows


def _window(windows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Returns the bits that begin at each position, as uint64. At least the upper 57 bits are valid."""
    return windows[at >> 3] << (at & 7).astype(np.uint64)


def _next_one(windows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Returns the position of the first 1 bit from each position on. There is one, because the codes were found before."""
    bits = _window(windows, at) >> np.uint64(11)  # the bits that a double can represent exactly
    if bits.all():
        return at + 53 - np.frexp(bits.astype(np.float64))[1]
    empty = bits == 0
    one = at + 53 - np.frexp(bits.astype(np.float64))[1]
    one[empty] = _next_one(windows, at[empty] + 53)
    return one


def _predict(blocks: list[_Block], residuals: list[np.ndarray], wrap: int, means: int, rounds: bool) -> np.ndarray:
    """Returns the samples of one channel, int64 [samples].

    The sums of a damaged stream may wrap around; the check of the samples rejects the result.
    """
    history, offsets, parts = np.zeros(wrap, np.int64), [0] * means, [np.zeros(0, np.int64)]
    for block, x in zip(blocks, residuals):
        offset = _offset(offsets, block.shift, rounds)
        if block.function == _DIFF0:
            x = x + offset
        elif block.function == _QLPC:
            x = _linear_prediction(x, block.coefficients, history, offset, rounds)
        elif block.function != _ZERO:
            x = _summed(x, block.function, history)
        history = x[-wrap:] if len(x) >= wrap else np.concatenate([history, x])[-wrap:]
        if means:
            half = block.size // 2 if rounds else 0
            mean = _truncated(int(x.sum()) + half, block.size) << (block.shift if rounds else 0)
            offsets = offsets[1:] + [mean]
        parts.append(x << block.shift if block.shift else x)
    return np.concatenate(parts)


def _summed(residuals: np.ndarray, order: int, history: np.ndarray) -> np.ndarray:
    """Inverts differences of an order with as many cumulative sums, each of which starts from the last samples."""
    c, b, a = history[-3:].tolist()
    begins = ((a,), (a - b, a), (a - 2 * b + c, a - b, a))[order - 1]
    for begin in begins:
        residuals = np.cumsum(residuals)
        residuals += begin
    return residuals


def _linear_prediction(residuals, coefficients, history: np.ndarray, offset: int, rounds: bool) -> np.ndarray:
    """Inverts linear prediction sample by sample, because each prediction is rounded to a whole number."""
    order, multiply, half = len(coefficients), operator.mul, 1 << _LPC_BITS if rounds else 0
    backwards = coefficients[::-1]
    x = (history[len(history) - order :] - offset).tolist()
    for at, residual in enumerate(residuals.tolist()):
        x.append(residual + ((half + sum(map(multiply, backwards, x[at:]))) >> _LPC_BITS))
        if not at % 64 and abs(x[-1]) >> 40:
            raise _damaged()
    try:
        return np.array(x[order:], np.int64) + offset
    except OverflowError as error:
        raise _damaged() from error


def _truncated(value: int, by: int) -> int:
    """Returns the quotient rounded towards zero, as in C."""
    return value // by if value >= 0 else -(-value // by)


def _offset(offsets: list[int], shift: int, rounds: bool) -> int:
    if not offsets:
        return 0
    if not rounds:
        return _truncated(sum(offsets), len(offsets))
    mean = _truncated(sum(offsets) + len(offsets) // 2, len(offsets))
    return mean if shift == 0 else (mean >> (shift - 1)) >> 1
