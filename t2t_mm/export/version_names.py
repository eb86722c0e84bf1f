"""Tells which folders below an export are versions."""

_MOST = 2**63 - 1  # a version is a signed integer of 64 bits in the protocol of TensorFlow Serving


def version_of(name: str) -> int | None:
    """Returns the version that a folder with this name is, or None if it is none, as if its number is too large."""
    if not (name.isascii() and name.isdigit()):
        return None
    version = int(name)
    return version if version <= _MOST else None
