"""Members of a data folder or archive, one after the other, with nothing unpacked to disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

SPLITS = ("train", "test")
MAX_UNPACKED_BYTES = 1 << 30  # five times CIFAR-10: an archive that grows beyond it is a bomb


class DataError(ValueError):
    """Image data that cannot be used; the message names the file and the way out.

    >>> issubclass(DataError, ValueError)
    True
    """


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class Member:
    """A file or folder of the data: its path with ``/``, and how to read it.

    ``read(limit)`` gives the bytes and refuses more than ``limit`` of them.  The members of a tar
    archive come from a stream, so each is read before the next one is asked for.
    """

    name: str
    is_folder: bool
    read: Callable[[int], bytes]


def members(path: Path) -> Iterator[Member]:
    """Yield the members of a folder, tar (plain, gzip, xz) or zip archive; told by its content."""
    if path.is_dir():
        yield from _folder_members(path)
        return
    with path.open("rb") as file:
        start = file.read(262)
        file.seek(0)
        if start.startswith(b"PK\x03\x04"):
            yield from _zip_members(file, path.name)
        elif start.startswith(b"\xfd7zXZ\x00"):
            with lzma.open(file) as unpacked:
                yield from _tar_members(unpacked, path.name)
        elif start.startswith(b"\x1f\x8b"):
            with gzip.open(file) as unzipped:
                yield from _tar_members(unzipped, path.name)
        elif start[257:262] == b"ustar":
            yield from _tar_members(file, path.name)
        else:
            raise DataError(
                f"{path.name!r} is not a .tar, .tar.gz, .tar.xz or .zip archive; "
                "pass one of these, or the unpacked folder"
            )


def content_key(path: Path) -> str:
    """SHA-256 of an archive's bytes, or of the names, sizes and times of a folder's files.

    Reading 60,000 files takes too long to do it at every start, so a folder counts as unchanged
    while its place and each file's name, size, modification time and change time are.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256(os.fsencode(path.resolve()))
    for name, entry in _walk(path):
        s = entry.stat()
        line = f"{name}\0{s.st_size}\0{s.st_mtime_ns}\0{s.st_ctime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _walk(root: Path, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, os.DirEntry[str]]]:
    # Looks only where the layouts can be, so a wrong path does not walk through a whole disk.
    with os.scandir(root.joinpath(*prefix)) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        parts = (*prefix, entry.name)
        yield "/".join(parts), entry
        inside = any(split in parts[:2] for split in SPLITS)
        if entry.is_dir() and (inside or len(parts) == 1) and len(parts) <= 4:
            yield from _walk(root, parts)


def _folder_members(root: Path) -> Iterator[Member]:
    for name, entry in _walk(root):
        shown = f"{root.name}/{name}"

        def read(limit: int, entry: os.DirEntry[str] = entry, shown: str = shown) -> bytes:
            if not entry.is_file():  # a named pipe would wait for ever
                raise DataError(f"{shown!r} is not a regular file; remove it")
            with open(entry.path, "rb") as file:
                return _limited(file, os.fstat(file.fileno()).st_size, limit, shown)

        yield Member(name, entry.is_dir(), read)


def _tar_members(stream: Readable, source: str) -> Iterator[Member]:
    with _damage(source):
        tar = tarfile.open(fileobj=_Capped(stream, source), mode="r|")  # noqa: SIM115
    while True:
        with _damage(source):
            info = tar.next()
        if info is None:
            break
        name = _safe_name(info.name, source)
        if not (info.isdir() or info.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
            raise DataError(
                f"{source!r}: member {name!r} is a link or a special file; "
                "pack plain files and folders only"
            )

        def read(limit: int, info: tarfile.TarInfo = info, name: str = name) -> bytes:
            with _damage(source):
                file = tar.extractfile(info)
                assert file is not None
                return _limited(file, info.size, limit, f"{source}: {name}")

        yield Member(name, info.isdir(), read)
    # tarfile takes a damaged header or a cut between two members for the end; the true end is
    # two blocks of zeros (pax format), of which it has read one.
    with _damage(source):
        rest = b""
        while block := tar.fileobj.read(1 << 16):
            rest = block
            if block.strip(b"\0"):
                raise tarfile.ReadError("a damaged header")
        if not rest:
            raise tarfile.ReadError("no end mark")


def _zip_members(file: IO[bytes], source: str) -> Iterator[Member]:
    with _damage(source):
        archive = zipfile.ZipFile(file)
    for info in archive.infolist():
        name = _safe_name(info.orig_filename, source)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(
                f"{source!r}: member {name!r} is a link; pack plain files and folders only"
            )
        if info.flag_bits & 0x1:
            raise DataError(f"{source!r}: member {name!r} is encrypted; pack it without a password")

        def read(limit: int, info: zipfile.ZipInfo = info, name: str = name) -> bytes:
            with _damage(source), archive.open(info) as content:
                return _limited(content, info.file_size, limit, f"{source}: {name}")

        yield Member(name, info.is_dir(), read)


class _Capped(io.RawIOBase):
    """A stream that stops with a DataError beyond MAX_UNPACKED_BYTES."""

    def __init__(self, stream: Readable, source: str) -> None:
        self._stream, self._source, self._count = stream, source, 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._count += len(data)
        if self._count > MAX_UNPACKED_BYTES:
            raise DataError(
                f"{self._source!r} unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB, far more "
                "than CIFAR-10; unpack it yourself, check it, and pass the folder"
            )
        return data


def _limited(file: Readable, size: int, limit: int, shown: str) -> bytes:
    if size > limit:
        raise DataError(
            f"{shown!r} has {size} bytes, {limit} are allowed; it is not one of the data's files, "
            "remove it"
        )
    return file.read(limit)


def _safe_name(name: str, source: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or any(c in name for c in "\\\0") or ":" in name[1:2]:
        raise DataError(
            f"{source!r}: member {name!r} has a path outside the archive; "
            "do not unpack this archive, fetch the data from its source again"
        )
    return "/".join(parts)


@contextmanager
def _damage(source: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        lzma.LZMAError,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,  # zipfile: unknown compression; tarfile: headers nested without end
    ) as error:
        raise DataError(
            f"{source!r} is damaged or cut short ({error}); fetch or pack it again"
        ) from error
