"""Gives memory back: the C library keeps what was freed, and keeps an arena of it for each of many threads."""

import ctypes

_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # mallopt's names for them, in glibc's malloc.h
_MEBIBYTE = 2**20


def _glibc():
    try:
        library = ctypes.CDLL("libc.so.6")
        return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
    except OSError:  # another system
        return None


def bound() -> bool:
    """Few arenas, and large pieces straight from the system, to which they return when freed -> whether it worked.

    Call it before threads start. Elsewhere MALLOC_ARENA_MAX=2 and MALLOC_MMAP_THRESHOLD_=1048576 do the same.
    """
    library = _glibc()
    if library is None:
        return False
    wishes = ((_ARENA_MAX, 2), (_MMAP_THRESHOLD, _MEBIBYTE), (_TRIM_THRESHOLD, 16 * _MEBIBYTE))
    done = [library.mallopt(name, value) for name, value in wishes]  # all of them, also after one that is refused
    return all(done)


def give_back() -> None:
    """Returns to the system what has been freed."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)
