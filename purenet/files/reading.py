"""Files that are read without being believed."""

import io
import math
import os
import stat
import zipfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LIMIT",
    "check_unpacked",
    "members",
    "native",
    "open_regular",
    "read_member",
    "read_npy",
    "read_up_to",
]

LIMIT = 1 << 32
"""The most bytes that are unpacked from one compressed file: 4 GiB."""

CHUNK = 1 << 20  # bytes

_HEADER = 4096  # bytes; 64 axes of 20 digits need fewer
_NPY_HEADERS: dict[tuple[int, ...], tuple[int, Callable[[IO[bytes]], Any]]] = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a file for reading, refusing pipes and devices, which may never end.

    Raises
    ------
    ValueError
        Not a regular file.
    OSError
        A file that cannot be opened.
    """
    # Without O_NONBLOCK a pipe that nobody writes to would be waited for.
    file = open(path, "rb", opener=_opener)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{os.fspath(path)} is not a regular file")
    return file


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_up_to(stream: IO[bytes] | io.BufferedIOBase, size: int) -> bytearray:
    """Read at most so many bytes; memory grows with what is there, not with what is asked for."""
    data = bytearray()
    while chunk := stream.read(min(CHUNK, size - len(data))):
        data += chunk
    return data


def native(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array as other libraries take it: rows together, this machine's byte order."""
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def read_npy(stream: IO[bytes], length: int) -> NDArray[Any]:
    """Read an .npy stream of so many bytes: one array of real numbers, and nothing after it.

    Nothing is unpickled, and the size that the header claims is compared with the length before
    memory is taken for it.

    Raises
    ------
    ValueError
        Another stream.
    """
    magic = stream.read(8)
    version = tuple(magic[6:])
    if magic[:6] != b"\x93NUMPY" or version not in _NPY_HEADERS:
        raise ValueError(f"expected an .npy file of version 1.0 or 2.0, got {magic.hex(' ')}")
    width, parse = _NPY_HEADERS[version]
    field = stream.read(width)
    used = int.from_bytes(field, "little")
    if used > _HEADER:
        raise ValueError(f"expected a header of at most {_HEADER} bytes, got {used}")
    shape, fortran_order, dtype = parse(io.BytesIO(field + stream.read(used)))
    if dtype.kind not in "iuf" or min(shape, default=0) < 0:
        raise ValueError(f"expected an array of real numbers, got {dtype} of shape {shape}")
    size, found = dtype.itemsize * math.prod(shape), length - 8 - width - used
    if size == found:
        data = read_up_to(stream, size)
        found = len(data) + len(stream.read(1))  # only at its end is a member's checksum compared
    if size != found:
        raise ValueError(f"expected {size} bytes for {dtype} of shape {shape}, got {found}")
    order: Any = "F" if fortran_order else "C"
    return native(np.frombuffer(data, dtype).reshape(shape, order=order))


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an .npz archive by the names of their arrays, checked to be harmless.

    Raises
    ------
    ValueError
        A name that comes twice, a method other than NumPy's two, or more than `LIMIT` bytes.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    unpacked = 0
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"it holds {name} twice")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed by method {info.compress_type}, not by deflate")
        unpacked += info.file_size * (info.compress_type == zipfile.ZIP_DEFLATED)
        found[name] = info
    check_unpacked(unpacked)
    return found


def check_unpacked(size: int) -> None:
    """Refuse compressed content that would be larger than the limit."""
    if size > LIMIT:
        raise ValueError(f"it unpacks to {size} bytes, more than {LIMIT}: keep it uncompressed")


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """Read one array of an archive, as `read_npy` does."""
    try:
        with archive.open(info) as stream:
            return read_npy(stream, info.file_size)
    except ValueError as error:
        raise ValueError(f"{info.filename}: {error}") from error
