"""Write files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["PART", "flush", "replacing", "write"]

PART = ".part-"
"""Prefix of the names of files that are not whole yet."""

_PIECE = 1 << 20  # bytes
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)  # Windows: no line ends


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Provide the path of a temporary file, and rename that file to `path` at the end.

    The temporary file lies in the same folder, because a rename is atomic only inside one file
    system. It is flushed before the rename, which may otherwise reach the disk before the data.
    The folder, which holds the name, is flushed after the rename. If the caller or the system
    fails before the rename, an earlier file at `path` stays as it was.

    Parameters
    ----------
    path : Path
        The file to replace or to create.

    Yields
    ------
    Path
        The temporary file, for the caller to write.

    Raises
    ------
    OSError
        The file cannot be written. The error names `path`.
    """
    part = path.with_name(f"{PART}{os.getpid()}-{path.name}")
    try:
        try:
            yield part
            flush(part)
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):  # the first error says more
                os.unlink(part)
            raise
        flush(path.parent)
    except OSError as error:  # errors of open files lack the name
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def flush(path: Path) -> None:
    """Make the system write a file, or the names in a folder, to the disk.

    Parameters
    ----------
    path : Path
        The file or folder. On Windows, which flushes no folders, nothing is done for a folder.

    Raises
    ------
    OSError
        The system cannot write it.
    """
    folder = path.is_dir()
    if folder and not hasattr(os, "O_DIRECTORY"):
        return
    # Windows flushes only a file that is open for writing, and POSIX opens no folder for writing.
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : path-like
        The file. An earlier file there is replaced. If the write fails, it stays as it was.
    content : bytes
        Content of the file.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    with replacing(Path(path)) as part:
        descriptor = os.open(part, _NEW, 0o666)
        try:
            rest = memoryview(content)
            while rest:  # os.write may write only a part
                rest = rest[os.write(descriptor, rest[:_PIECE]) :]
        finally:
            os.close(descriptor)
