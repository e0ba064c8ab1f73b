"""Read files without trusting them."""

import io
import math
import os
import stat
import zipfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from purenet.params import native

__all__ = [
    "LIMIT",
    "check_unpacked",
    "members",
    "open_regular",
    "read_member",
    "read_npy",
    "read_single",
    "read_up_to",
]

LIMIT = 1 << 32
"""The most bytes that are unpacked from one compressed file: 4 GiB."""

BLOCK = 1 << 20
"""Bytes that are read at once: 1 MiB."""

_MAX_HEADER = 4096  # bytes: 64 axes of 20 digits need fewer
_NPY_HEADERS: dict[tuple[int, ...], tuple[int, Callable[[IO[bytes]], Any]]] = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a file for reading, refusing pipes and devices, which may never end.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    io.BufferedReader
        The open file.

    Raises
    ------
    ValueError
        A pipe or a device.
    OSError
        A file that cannot be opened.
    """
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{os.fspath(path)} is not a regular file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file. Without O_NONBLOCK a pipe would wait until somebody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # Windows has no pipes among files


def read_up_to(stream: IO[bytes] | io.BufferedIOBase, size: int) -> bytearray:
    """Read at most `size` bytes. Memory grows with the bytes that are there, not with `size`.

    Parameters
    ----------
    stream : file
        Binary stream.
    size : int
        Number of bytes.

    Returns
    -------
    bytearray
        The bytes. They are fewer than `size` if the stream ends before.
    """
    data = bytearray()
    while chunk := stream.read(min(BLOCK, size - len(data))):
        data += chunk
    return data


def read_npy(stream: IO[bytes], length: int) -> NDArray[Any]:
    """Read an .npy stream of `length` bytes: one array of real numbers and nothing after it.

    Nothing is unpickled. The size that the header claims is compared with `length` before memory
    is allocated.

    Parameters
    ----------
    stream : file
        Binary stream.
    length : int
        Number of bytes in the stream.

    Returns
    -------
    numpy.ndarray
        The array, in C order and in the byte order of this machine.

    Raises
    ------
    ValueError
        A stream that is not such an array.
    """
    magic = stream.read(8)
    version = tuple(magic[6:])
    if magic[:6] != b"\x93NUMPY" or version not in _NPY_HEADERS:
        raise ValueError(f"expected an .npy file of version 1.0 or 2.0, got {magic.hex(' ')}")
    width, parse = _NPY_HEADERS[version]
    size_field = stream.read(width)
    header_size = int.from_bytes(size_field, "little")
    if header_size > _MAX_HEADER:
        raise ValueError(f"expected a header of at most {_MAX_HEADER} bytes, got {header_size}")
    shape, fortran_order, dtype = parse(io.BytesIO(size_field + stream.read(header_size)))
    if dtype.kind not in "iuf" or min(shape, default=0) < 0:
        raise ValueError(f"expected an array of real numbers, got {dtype} of shape {shape}")
    size, found = dtype.itemsize * math.prod(shape), length - 8 - width - header_size
    if size == found:
        data = read_up_to(stream, size)
        # zipfile compares the checksum of a member when it reads the end.
        found = len(data) + len(stream.read(1))
    if size != found:
        raise ValueError(f"expected {size} bytes for {dtype} of shape {shape}, got {found}")
    order: Any = "F" if fortran_order else "C"
    return native(np.frombuffer(data, dtype).reshape(shape, order=order))


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """List the members of an .npz archive by the names of their arrays.

    Parameters
    ----------
    archive : zipfile.ZipFile
        The open archive.

    Returns
    -------
    dict of zipfile.ZipInfo
        The member of each name, the ending .npy left out.

    Raises
    ------
    ValueError
        A name that comes twice, a compression method that NumPy does not write, or more than
        `LIMIT` bytes to unpack.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    unpacked_size = 0
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"it holds {name} twice")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed by method {info.compress_type}, not by deflate")
        unpacked_size += info.file_size * (info.compress_type == zipfile.ZIP_DEFLATED)
        found[name] = info
    check_unpacked(unpacked_size)
    return found


def check_unpacked(size: int) -> None:
    """Refuse compressed content of more than `LIMIT` bytes when unpacked.

    Parameters
    ----------
    size : int
        Number of bytes when unpacked.

    Raises
    ------
    ValueError
        A size above `LIMIT`.
    """
    if size > LIMIT:
        raise ValueError(f"it unpacks to {size} bytes, more than {LIMIT}: keep it uncompressed")


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """Read one array of an .npz archive, as `read_npy` does.

    Parameters
    ----------
    archive : zipfile.ZipFile
        The open archive.
    info : zipfile.ZipInfo
        The member that holds the array.

    Returns
    -------
    numpy.ndarray
        The array, in C order and in the byte order of this machine.

    Raises
    ------
    ValueError
        A member that is not an array of real numbers. The message names the member.
    """
    try:
        with archive.open(info) as stream:
            return read_npy(stream, info.file_size)
    except ValueError as error:
        raise ValueError(f"{info.filename}: {error}") from error


def read_single(stream: IO[bytes]) -> NDArray[Any]:
    """Read the array of an .npz archive that holds one, as `read_npy` does.

    Parameters
    ----------
    stream : file
        Binary stream of the archive.

    Returns
    -------
    numpy.ndarray
        The array, in C order and in the byte order of this machine.

    Raises
    ------
    ValueError
        An archive of no array or of several, or a member that is not an array of real numbers.
    """
    with zipfile.ZipFile(stream) as archive:
        found = members(archive)
        if len(found) != 1:
            raise ValueError(f"expected one array, got {', '.join([*found][:10]) or 'none'}")
        return read_member(archive, *found.values())
