"""Images and labels: MNIST itself, and data sets in IDX files or .npz files.

Files are not trusted. Memory grows only with bytes that are really there, and at most 4 GiB are
unpacked from a compressed file. Nothing is unpickled. A damaged file raises ValueError with the
name of the file and what was expected.
"""

import gzip
import math
import os
import re
import struct
import zipfile
import zlib
from importlib import resources
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from purenet.files import reading
from purenet.params import native

__all__ = ["load", "mnist", "read_idx"]

LabelledImages: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
Dataset: TypeAlias = tuple[LabelledImages, LabelledImages]  # for training and for testing

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def mnist() -> Dataset:
    """Return the MNIST handwritten digits, which come with the package.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of numpy.ndarray
        Images of 28 × 28 pixels, row by row, from 0 (background) to 255 (ink): uint8, shapes
        (60000, 784) and (10000, 784). Their labels, from 0 to 9: uint8, shapes (60000,) and
        (10000,). Each call returns new arrays.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
    recognition", 1998, section III.A.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = mnist()
    >>> x_train.shape, x_test.shape, y_train[:5]
    ((60000, 784), (10000, 784), array([5, 0, 4, 1, 9], dtype=uint8))
    """
    with resources.files("purenet").joinpath("data", "mnist.npz").open("rb") as file:
        return _check_dataset(_read_npz(file, "mnist.npz"))


def load(source: str | os.PathLike[str]) -> Dataset:
    """Return a data set: images and labels for training, and images and labels for testing.

    Parameters
    ----------
    source : str or path
        One of three: ``"mnist"`` for `mnist`; an .npz file with the arrays x_train, y_train, x_test
        and y_test; or a folder with the four IDX files of MNIST, Fashion-MNIST, KMNIST or one split
        of EMNIST under their original names, gzipped or not. If a file is there in both forms,
        the uncompressed one is read.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of numpy.ndarray
        Images, flattened to shape (n, features), and their integer labels, shape (n,). Values and
        dtypes are those of the files, in the byte order of this machine.

    Raises
    ------
    ValueError
        A damaged file; a folder that lacks one of the files or holds several of its kind; images
        that are not real numbers, or no image; labels that are not one integer >= 0 per image;
        training and test images with different numbers of features.
    OSError
        A source that does not exist or cannot be read.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load("mnist")
    >>> x_test.shape, y_test.shape
    ((10000, 784), (10000,))
    """
    if source == "mnist":
        return mnist()
    path = Path(source)
    if path.is_dir():
        return _check_dataset([(str(file), read_idx(file)) for file in _find_idx(path)])
    with reading.open_regular(path) as file:
        return _check_dataset(_read_npz(file, str(path)))


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
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
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    with reading.open_regular(path) as file:
        try:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _parse_idx(unpacked)
            return _parse_idx(file, os.fstat(file.fileno()).st_size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: expected a whole gzip stream: {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _parse_idx(stream: BufferedIOBase, length: int | None = None) -> NDArray[Any]:
    """Return the array in a stream. `length` is the size of the file; None means compressed."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES:
        types = " ".join(f"{code:02x}" for code in _IDX_DTYPES)
        raise ValueError(
            f"expected an IDX file, which starts with 00 00, a type ({types}) and the rank, "
            f"got {magic.hex(' ') or 'nothing'}"
        )
    dtype, rank = np.dtype(_IDX_DTYPES[magic[2]]), magic[3]
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


def _find_idx(folder: Path) -> list[Path]:
    """Return the files of the training images, training labels, test images and test labels.

    EMNIST puts the name of the split in front, and writes ``test`` where the others write ``t10k``.
    Hidden files are ignored, because an archive from macOS may hold ``._NAME`` beside NAME.
    """
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    stems: list[str] = []
    prefixes: set[str | None] = set()
    for part in ("train", "t10k|test"):
        for content in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            pattern = re.compile(rf"(([^.].*-)?({part})-{content})(\.gz)?")
            matches = [match for name in present if (match := pattern.fullmatch(name))]
            prefix_of_stem = {match[1]: match[2] for match in matches}
            if len(prefix_of_stem) != 1:
                names = " or ".join(f"[PREFIX-]{word}-{content}[.gz]" for word in part.split("|"))
                got = ", ".join(prefix_of_stem) or "none"
                raise ValueError(f"{folder}: expected one file named {names}, got {got}")
            stems += prefix_of_stem.keys()
            prefixes |= set(prefix_of_stem.values())
    if len(prefixes) != 1:
        raise ValueError(f"{folder}: expected files of one data set, got {', '.join(stems)}")
    return [folder / (stem if stem in present else f"{stem}.gz") for stem in stems]


def _read_npz(file: IO[bytes], name: str) -> list[tuple[str, NDArray[Any]]]:
    """Return the four arrays of an .npz file, each with a name for messages."""
    try:
        arrays = _parse_npz(file)
    except Exception as error:  # zipfile and NumPy raise a dozen types for damaged files
        why = str(error) or repr(error)
        raise ValueError(f"{name}: expected an .npz file of {', '.join(_KEYS)}: {why}") from error
    return [(f"{name}: {key}", array) for key, array in zip(_KEYS, arrays, strict=True)]


def _parse_npz(file: IO[bytes]) -> list[NDArray[Any]]:
    """Return x_train, y_train, x_test and y_test."""
    with zipfile.ZipFile(file) as archive:
        members = reading.members(archive)
        if not set(_KEYS) <= set(members):
            raise ValueError(f"it holds {', '.join([*members][:10]) or 'nothing'}")
        return [reading.read_member(archive, members[key]) for key in _KEYS]


def _check_dataset(arrays: list[tuple[str, NDArray[Any]]]) -> Dataset:
    """Return the named arrays x_train, y_train, x_test and y_test as a data set, or refuse them."""
    x_train, y_train, x_test, y_test = arrays
    train, test = _check_pair(*x_train, *y_train), _check_pair(*x_test, *y_test)
    if train[0].shape[1] != test[0].shape[1]:
        raise ValueError(
            f"{x_test[0]}: expected {train[0].shape[1]} features as in {x_train[0]}, "
            f"got {test[0].shape[1]}"
        )
    return train, test


def _check_pair(x_name: str, x: NDArray[Any], y_name: str, y: NDArray[Any]) -> LabelledImages:
    """Return images, flattened, and their labels, or refuse them."""
    if x.ndim < 2 or x.size == 0:
        raise ValueError(
            f"{x_name}: expected images, real numbers of shape (n, ...) with n >= 1, "
            f"got {x.dtype} of shape {x.shape}"
        )
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(
            f"{y_name}: expected integers of shape ({len(x)},), one label for each image of "
            f"{x_name}, got {y.dtype} of shape {y.shape}"
        )
    if y.min() < 0:
        raise ValueError(f"{y_name}: expected labels >= 0, got {y.min()}")
    return x.reshape(len(x), -1), y
