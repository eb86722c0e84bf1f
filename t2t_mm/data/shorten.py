"""The shorten v2 bit stream (Robinson 1994, CUED/F-INFENG/TR.156), which compresses the samples of LDC's SPHERE files."""

import numpy as np

_MAGIC = b"ajkg"
_DIFF0, _DIFF1, _DIFF2, _DIFF3, _QUIT, _BLOCKSIZE, _BITSHIFT, _QLPC, _ZERO, _VERBATIM = range(10)
_SIXTEEN_BITS = (3, 5)  # file types: signed 16 bits, high or low byte first
_LPC_BITS = 5  # of a quantised predictor coefficient's fraction
_WRAP = 3  # samples kept from the last block at least, for the third difference


class ShortenError(ValueError):
    """The bytes are no complete shorten v2 stream of 16-bit samples."""


class _Bits:
    """Reads the variable-length integers of the format, most significant bit first."""

    def __init__(self, data: bytes):
        # As a string of digits: its search and int() are the fastest bit operations Python has.
        self._digits = (np.unpackbits(np.frombuffer(data, np.uint8)) + ord("0")).tobytes().decode("ascii")
        self._at = 0

    def unsigned(self, bits: int) -> int:
        """The number of zeros before the next one, then `bits` binary digits (Rice code)."""
        one = self._digits.find("1", self._at)
        end = one + 1 + bits
        if one < 0 or end > len(self._digits):
            raise ShortenError("the compressed samples end too early")
        high = one - self._at
        self._at = end
        return (high << bits) | int(self._digits[one + 1 : end], 2) if bits else high

    def signed(self, bits: int) -> int:
        value = self.unsigned(bits + 1)
        return ~(value >> 1) if value & 1 else value >> 1

    def long(self) -> int:
        return self.unsigned(self.unsigned(2))


def decode_shorten(data: bytes) -> np.ndarray:
    """The samples of a stream: int32 [samples, channels], exact.

    Raises:
      ShortenError: another version or sample type, or a damaged or truncated stream.
    """
    if data[:4] != _MAGIC or data[4:5] != b"\x02":
        raise ShortenError(f"no shorten version 2 stream (first bytes {data[:5]!r})")
    bits = _Bits(data[5:])
    kind, channels, block, max_order, means, skip = (bits.long() for _ in range(6))
    if kind not in _SIXTEEN_BITS or not 1 <= channels <= 8 or block > 1 << 16 or max_order > 64 or means > 64:
        raise ShortenError(f"sample type {kind} with {channels} channels is not read")
    for _ in range(skip):
        bits.unsigned(7)
    wrap, shift, channel = max(_WRAP, max_order), 0, 0
    history = [[0] * wrap for _ in range(channels)]
    offsets = [[0] * max(means, 1) for _ in range(channels)]
    blocks: list[list[list[int]]] = [[] for _ in range(channels)]
    while (function := bits.unsigned(2)) != _QUIT:
        if function == _BLOCKSIZE:
            block = bits.long()
        elif function == _BITSHIFT:
            shift = bits.unsigned(2)
        elif function == _VERBATIM:
            for _ in range(bits.unsigned(5)):
                bits.unsigned(8)
        elif function in (_DIFF0, _DIFF1, _DIFF2, _DIFF3, _QLPC, _ZERO):
            offset = _offset(offsets[channel], means, shift)
            samples = _block(bits, function, block, history[channel], offset)
            history[channel] = samples[-wrap:]
            samples = samples[wrap:]
            if means:
                mean = _truncated(sum(samples) + block // 2, block) << shift
                offsets[channel] = offsets[channel][1:] + [mean]
            blocks[channel].append([sample << shift for sample in samples])
            channel = (channel + 1) % channels
        else:
            raise ShortenError(f"unknown function {function} in the stream")
    columns = [[sample for part in parts for sample in part] for parts in blocks]
    if len({len(column) for column in columns}) > 1:
        raise ShortenError("the channels differ in length")
    return np.array(columns, np.int32).reshape(channels, -1).T


def _truncated(value: int, by: int) -> int:
    """Division as in C, towards zero."""
    return value // by if value >= 0 else -(-value // by)


def _offset(offsets: list[int], means: int, shift: int) -> int:
    if not means:
        return offsets[0]
    mean = _truncated(sum(offsets) + means // 2, means)
    return mean if shift == 0 else (mean >> (shift - 1)) >> 1


def _block(bits: _Bits, function: int, block: int, history: list[int], offset: int) -> list[int]:
    """`history` and the samples of the next block after it."""
    x = list(history)
    if function == _ZERO:
        return x + [0] * block
    width, signed = bits.unsigned(3), bits.signed
    if function == _DIFF0:
        return x + [signed(width) + offset for _ in range(block)]
    if function == _DIFF1:
        for _ in range(block):
            x.append(signed(width) + x[-1])
    elif function == _DIFF2:
        for _ in range(block):
            x.append(signed(width) + 2 * x[-1] - x[-2])
    elif function == _DIFF3:
        for _ in range(block):
            x.append(signed(width) + 3 * (x[-1] - x[-2]) + x[-3])
    else:
        order = bits.unsigned(2)
        if order > len(x):
            raise ShortenError(f"a predictor of order {order} in a stream of at most {len(x)}")
        coefficients = [signed(_LPC_BITS) for _ in range(order)]
        x = [sample - offset for sample in x]
        for _ in range(block):
            total = 1 << _LPC_BITS
            for back, coefficient in enumerate(coefficients, start=1):
                total += coefficient * x[-back]
            x.append(signed(width) + (total >> _LPC_BITS))
        x = history + [sample + offset for sample in x[len(history) :]]
    return x
