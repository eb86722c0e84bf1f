"""Returns memory to the system. Otherwise, the C library keeps freed memory, in separate arenas for many threads."""

import ctypes

_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # parameters of mallopt, from glibc's malloc.h
_MEBIBYTE = 2**20


def _glibc():
    try:
        library = ctypes.CDLL("libc.so.6")
        return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
    except OSError:  # another system
        return None


def bound() -> bool:
    """Limits the number of arenas, and makes large blocks return to the system when they are freed.

    Call it before threads start. For other programs, MALLOC_ARENA_MAX=2 and MALLOC_MMAP_THRESHOLD_=1048576 do the same.

    Returns:
      Whether it succeeded.
    """
    library = _glibc()
    if library is None:
        return False
    wishes = ((_ARENA_MAX, 2), (_MMAP_THRESHOLD, _MEBIBYTE), (_TRIM_THRESHOLD, 16 * _MEBIBYTE))
    done = [library.mallopt(name, value) for name, value in wishes]  # a list, so that all are tried even if one fails
    return all(done)


def give_back() -> None:
    """Returns freed memory to the system."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)
