"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["PART", "flush", "replacing", "write"]

PART = ".part-"
"""The prefix of the name of a file that is not whole yet."""

CHUNK = 1 << 20  # bytes


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file to write, which then takes the place of another, or of none.

    It lies in the same folder, for a rename is atomic only inside one file system, and is flushed
    before the rename, for a rename may reach the disk before the data. After it the folder is
    flushed, which holds the name. Until the rename an earlier file is as it was.
    """
    part = path.with_name(f"{PART}{os.getpid()}-{path.name}")
    try:
        try:
            yield part
            flush(part)
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):  # the first error tells more
                os.unlink(part)
            raise
        flush(path.parent)
    except OSError as error:  # those of open files have no name
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : path-like
        The file; one that is there is replaced, and stays as it was if this fails.
    content : bytes
        What it will hold.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    with replacing(Path(path)) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            rest = memoryview(content)
            while rest:  # a write may take a part
                rest = rest[os.write(descriptor, rest[:CHUNK]) :]
        finally:
            os.close(descriptor)
