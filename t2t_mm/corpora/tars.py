"""Reads files inside tar archives in place. Nothing is unpacked, so no name in an archive can write to the disk.

A member is denoted by `ARCHIVE.tar#OFFSET+SIZE`, in bytes of the archive, which can be used like a path.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from t2t_mm.corpora.example import CorpusError, MediaError, Report

LARGEST_FILE = 1 << 28  # maximum size of an image or audio file in bytes
_MEMBER = re.compile(r"(.+\.tar)#(\d{1,15})\+(\d{1,9})", re.DOTALL)


def read_file(path: str) -> bytes:
    """Returns the bytes of an image or audio file, or of a member of an archive.

    Raises:
      MediaError: it is missing, truncated or too large.
    """
    try:
        if _MEMBER.fullmatch(path):
            return _read_member(path)
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise MediaError(f"{path}: {getattr(error, 'strerror', error)}") from error
    if len(data) > LARGEST_FILE:
        raise MediaError(f"{path}: more than {LARGEST_FILE >> 20} MiB.")
    return data


def state_of(path: str) -> tuple[int, int] | None:
    """Returns the size and modification time of a file, or of the archive of a member, or None if it does not exist."""
    member = _MEMBER.fullmatch(path)
    try:
        found = os.stat(member[1] if member else path)
    except (OSError, ValueError):  # for instance a sentence, which may be too long for a path
        return None
    return found.st_size, found.st_mtime_ns


def _read_member(path: str) -> bytes:
    member = _MEMBER.fullmatch(path)
    assert member is not None  # the caller has checked this
    archive, offset, size = member.groups()
    with open(archive, "rb") as file:
        file.seek(int(offset))
        data = file.read(int(size))
    if len(data) != int(size):
        raise MediaError(f"{path}: truncated: the archive ends within this member.")
    return data


def members(path: str, report: Report) -> Iterator[tuple[str, int, int]]:
    """Yields (name, offset, size) of each file in a tar, in order. Links and devices are reported; folders are skipped.

    Raises:
      CorpusError: the tar cannot be read or is truncated.
      TooManyBadExamples: there are more unexpected members than `report` allows.
    """
    try:
        with open(path, "rb") as file:
            yield from _walk(file, path, 0, os.path.getsize(path), report)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from error


def nested_members(path: str, report: Report) -> Iterator[tuple[str, str, int, int]]:
    """Yields (name of the inner tar, name of the file, offset, size) of each file in each tar inside a tar.

    An inner tar that cannot be read is reported.

    Raises:
      CorpusError, TooManyBadExamples: see `members`.
    """
    size_of_all = os.path.getsize(path)
    for inner, offset, size in members(path, report):
        try:
            with open(path, "rb") as file:
                found = list(_walk(file, f"{path}:{inner}", offset, min(offset + size, size_of_all), report))
        except CorpusError as error:
            report.skip(f"{path}:{inner}", str(error).removeprefix(f"{path}:{inner}: "))
            continue
        for name, begin, length in found:
            yield inner, name, begin, length


def _walk(file, origin: str, begin: int, end: int, report: Report) -> Iterator[tuple[str, int, int]]:
    """Yields (name, offset, size) of the files of the tar between `begin` and `end` of an open file."""
    try:
        with tarfile.open(fileobj=cast(BinaryIO, _Window(file, begin, end)), mode="r:") as archive:
            for member in archive:
                where = f"{origin}:{member.name}"
                offset = begin + member.offset_data
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    report.skip(where, "not a regular file in the archive")
                elif member.size < 0 or offset + member.size > end:
                    raise CorpusError(f"{where}: the archive is truncated within this member. Download it again.")
                else:
                    yield member.name, offset, member.size
                cast(Any, archive).members = []  # to save memory, because tarfile keeps every header
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise CorpusError(f"{origin}: not a readable tar: {error}. Download it again.") from error


class _Window:
    """A part of an open file, with the interface of a file."""

    def __init__(self, file, begin: int, end: int):
        self._file, self._begin, self._end, self._at = file, begin, end, 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end - self._begin}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._end - self._begin - self._at, 0)
        self._file.seek(self._begin + self._at)
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data
