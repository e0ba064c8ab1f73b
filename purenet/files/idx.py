"""IDX files, the format of MNIST, and the names that MNIST and its successors give to theirs."""

import gzip
import math
import os
import re
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purenet.files import reading
from purenet.params import native

__all__ = ["are_in", "find", "read", "read_mapping"]

PARTS = ("train", "t10k|test")
CONTENTS = (r"images[-.]idx3-ubyte|imgs\.npz", r"labels[-.]idx1-ubyte|labels\.npz")
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an array from an IDX file.

    The file holds, big-endian: two zero bytes, a byte for the type, a byte for the rank, the sizes
    of the axes in four bytes each, and the elements.

    Parameters
    ----------
    path : str or path
        The file. If its first two bytes are those of gzip, it is unpacked, whatever its name.

    Returns
    -------
    numpy.ndarray
        The array, with dtype uint8, int8, int16, int32, float32 or float64 (types 08, 09, 0B, 0C,
        0D and 0E), in the byte order of this machine.

    Raises
    ------
    ValueError
        A file that is not exactly one IDX array, or a damaged gzip stream. The size that the header
        claims is not allocated before the data are there.
    OSError
        A file that does not exist or cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes.fromhex("00 00 08 01  00 00 00 03  07 02 01"))
    ...     read(path)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    with reading.open_regular(path) as file:
        try:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _parse(unpacked)
            return _parse(file, os.fstat(file.fileno()).st_size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: expected a whole gzip stream: {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _parse(stream: BufferedIOBase, length: int | None = None) -> NDArray[Any]:
    """Return the array in a stream. `length` is the size of the file; None means compressed."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        types = " ".join(f"{code:02x}" for code in _DTYPES)
        raise ValueError(
            f"expected an IDX file, which starts with 00 00, a type ({types}) and the rank, "
            f"got {magic.hex(' ') or 'nothing'}"
        )
    dtype, rank = np.dtype(_DTYPES[magic[2]]), magic[3]
    axes = stream.read(4 * rank)
    if len(axes) < 4 * rank:
        raise ValueError(f"expected the sizes of {rank} axes in {4 * rank} bytes, got {len(axes)}")
    shape = struct.unpack(f">{rank}I", axes)
    size = dtype.itemsize * math.prod(shape)
    if length is None:
        reading.check_unpacked(size)
    found = size if length is None else length - 4 - 4 * rank
    if found == size:
        # One byte more is asked for: it detects excess, and makes gzip compare its checksum.
        data = reading.read_up_to(stream, size + 1)
        found = len(data)
    if found != size:
        count = "more" if found > size else f"only {found}"
        raise ValueError(f"expected {size} bytes for {dtype.name} of shape {shape}, got {count}")
    return native(np.frombuffer(data, dtype).reshape(shape))


def are_in(folder: Path, prefix: str | None = None) -> bool:
    """Tell whether a folder holds a file with a name that `find` knows.

    Parameters
    ----------
    folder : Path
        The folder, which need not exist.
    prefix : str, optional
        As for `find`.

    Returns
    -------
    bool
        Whether it holds one.
    """
    pattern = re.compile(f"{_before(prefix)}({'|'.join(PARTS)})-({'|'.join(CONTENTS)}).*")
    return folder.is_dir() and any(pattern.fullmatch(entry.name) for entry in folder.iterdir())


def find(folder: Path, prefix: str | None = None) -> list[Path]:
    """Find the files of a data set by their names.

    EMNIST puts the name of the data set in front and writes ``test`` where others write ``t10k``;
    KMNIST has .npz files with ``imgs`` too. Hidden files are ignored, because an archive from macOS
    may hold ``._NAME`` beside NAME.

    Parameters
    ----------
    folder : Path
        The folder.
    prefix : str, optional
        What stands in front of the names, if the folder holds several data sets.

    Returns
    -------
    list of Path
        The files of the training images, training labels, test images and test labels. If one is
        there in two forms, the uncompressed one comes before that with the ending .gz.

    Raises
    ------
    ValueError
        One of the files is missing, or there are several of its kind.
    """
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    stems: list[str] = []
    prefixes: set[str | None] = set()
    for part in PARTS:
        for content in CONTENTS:
            pattern = re.compile(rf"({_before(prefix)}({part})-({content}))(\.gz)?")
            matches = [match for name in present if (match := pattern.fullmatch(name))]
            prefix_of_stem = {match[1]: match[2] for match in matches}
            if len(prefix_of_stem) != 1:
                kind = content.partition("|")[0].replace("[-.]", "-")
                names = " or ".join(f"[PREFIX-]{word}-{kind}[.gz]" for word in part.split("|"))
                got = ", ".join(prefix_of_stem) or "none"
                sets = [name.removesuffix("-") for name in prefix_of_stem.values() if name]
                hint = f"; {folder}/{sets[0]} names one data set" if len(prefix_of_stem) > 1 else ""
                raise ValueError(f"{folder}: expected one file named {names}, got {got}{hint}")
            stems += prefix_of_stem.keys()
            prefixes |= set(prefix_of_stem.values())
    if len(prefixes) != 1:
        raise ValueError(f"{folder}: expected files of one data set, got {', '.join(stems)}")
    return [folder / (stem if stem in present else f"{stem}.gz") for stem in stems]


def _before(prefix: str | None) -> str:
    """Return a pattern of what stands before the names: `prefix`, or anything or nothing."""
    return "([^.].*-)?" if prefix is None else f"({re.escape(prefix)}-)"


def read_mapping(path: Path) -> dict[int, str]:
    """Read a mapping file of EMNIST, which has a line for each label: the label and its characters.

    Parameters
    ----------
    path : Path
        The file. Its characters are code points of ASCII, capital letters first.

    Returns
    -------
    dict of str
        The first character of each label.

    Raises
    ------
    ValueError
        A line that is not two or more numbers.
    OSError
        A file that cannot be read.
    """
    with reading.open_regular(path) as file:
        lines = file.read(reading.BLOCK).decode("utf-8-sig", "replace").split("\n")
    names = {}
    for i, line in enumerate(lines, 1):
        words = line.split()
        if words:
            if len(words) < 2 or not all(re.fullmatch("[0-9]{1,3}", word) for word in words):
                raise ValueError(
                    f"{path}: expected a label and code points in line {i}, got {line!r}"
                )
            names[int(words[0])] = chr(int(words[1]))
    return names
