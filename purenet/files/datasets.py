"""Images and labels: MNIST itself, and IDX files and .npz archives laid out like it.

Files come from elsewhere, so none is believed: memory grows only with bytes that are really there,
at most 4 GiB of them unpacked from a compressed file, nothing is unpickled, and a damaged file
raises ValueError with its name and what was expected.
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

__all__ = ["load", "mnist", "read_idx"]

Examples: TypeAlias = tuple[NDArray[Any], NDArray[Any]]  # images and labels
Dataset: TypeAlias = tuple[Examples, Examples]  # for training and for testing

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def mnist() -> Dataset:
    """Return the MNIST handwritten digits, which come with the package.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of numpy.ndarray
        Images of 28 × 28 pixels, row by row, 0 for background to 255 for ink: uint8, of shapes
        (60000, 784) and (10000, 784); and their labels, 0 to 9: uint8, (60000,) and (10000,).
        The arrays are new at each call.

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
        return _dataset(_read_npz(file, "mnist.npz"))


def load(source: str | os.PathLike[str]) -> Dataset:
    """Return a data set of images and labels, in two parts: for training and for testing.

    Parameters
    ----------
    source : str or path
        The word ``"mnist"``, for `mnist`; or an .npz file with the arrays x_train, y_train, x_test
        and y_test; or a folder with the four IDX files of MNIST, Fashion-MNIST, KMNIST or one split
        of EMNIST, under the names they are distributed by, gzipped or not. If a file is there both
        ways, the plain one is read.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of numpy.ndarray
        Images, flattened to shape (n, features), and their integer labels, of shape (n,). Numbers
        are as in the files: neither scaled nor converted, but for the byte order of this machine.

    Raises
    ------
    ValueError
        A damaged file; files that are missing from the folder or not the only ones of their kind;
        or arrays that are not real numbers (images), one integer >= 0 for each image (labels), with
        at least one image in each part and equally many features in both.
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
        return _dataset([(str(file), read_idx(file)) for file in _find_idx(path)])
    with reading.open_regular(path) as file:
        return _dataset(_read_npz(file, str(path)))


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file: 00 00, a type, the rank, the sizes of the axes, the elements; big-endian.

    Parameters
    ----------
    path : str or path
        The file, gzipped or not, which its first two bytes tell, not its name.

    Returns
    -------
    numpy.ndarray
        An array of the file's shape, of dtype uint8, int8, int16, int32, float32 or float64 (types
        08, 09, 0B, 0C, 0D and 0E), in the byte order of this machine.

    Raises
    ------
    ValueError
        A file that is not exactly one IDX array, or a damaged gzip stream. A size that the header
        claims is never allocated ahead of the data.
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
    """Return the one array that a stream holds, of a file's length or compressed."""
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
        # One byte beyond the end is asked for: it tells excess, and has gzip compare its checksum.
        data = reading.read_up_to(stream, size + 1)
        found = len(data)
    if found != size:
        count = "more" if found > size else f"only {found}"
        raise ValueError(f"expected {size} bytes for {dtype.name} of shape {shape}, got {count}")
    return reading.native(np.frombuffer(data, dtype).reshape(shape))


def _find_idx(folder: Path) -> list[Path]:
    """Return the IDX files of the training images and labels, then of the test images and labels.

    EMNIST prefixes the names by that of the split, and has ``test`` where the others have ``t10k``.
    Hidden files are left alone: ``._NAME`` is what an archive from macOS may hold beside NAME.
    """
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    stems: list[str] = []
    prefixes: set[str | None] = set()
    for part in ("train", "t10k|test"):
        for content in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            pattern = re.compile(rf"(([^.].*-)?({part})-{content})(\.gz)?")
            found = {match[1]: match[2] for match in map(pattern.fullmatch, present) if match}
            if len(found) != 1:
                names = " or ".join(f"[PREFIX-]{word}-{content}[.gz]" for word in part.split("|"))
                got = ", ".join(found) or "none"
                raise ValueError(f"{folder}: expected one file named {names}, got {got}")
            stems += found.keys()
            prefixes |= set(found.values())
    if len(prefixes) != 1:
        raise ValueError(f"{folder}: expected files of one data set, got {', '.join(stems)}")
    return [folder / (stem if stem in present else f"{stem}.gz") for stem in stems]


def _read_npz(file: IO[bytes], name: str) -> list[tuple[str, NDArray[Any]]]:
    """Return the four arrays of an .npz archive, each with a name for messages."""
    try:
        arrays = _parse_npz(file)
    except Exception as error:  # a damaged archive makes zipfile and NumPy raise a dozen types
        why = str(error) or repr(error)
        raise ValueError(f"{name}: expected an .npz file of {', '.join(_KEYS)}: {why}") from error
    return [(f"{name}: {key}", array) for key, array in zip(_KEYS, arrays, strict=True)]


def _parse_npz(file: IO[bytes]) -> list[NDArray[Any]]:
    """Return the four arrays of an .npz archive."""
    with zipfile.ZipFile(file) as archive:
        found = reading.members(archive)
        if not set(_KEYS) <= set(found):
            raise ValueError(f"it holds {', '.join([*found][:10]) or 'nothing'}")
        return [reading.read_member(archive, found[key]) for key in _KEYS]


def _dataset(named: list[tuple[str, NDArray[Any]]]) -> Dataset:
    """Return checked x_train, y_train, x_test and y_test as two parts, the images flattened."""
    train, test = (_part(*named[i], *named[i + 1]) for i in (0, 2))
    if train[0].shape[1] != test[0].shape[1]:
        raise ValueError(
            f"{named[2][0]}: expected {train[0].shape[1]} features as in {named[0][0]}, "
            f"got {test[0].shape[1]}"
        )
    return train, test


def _part(x_name: str, x: NDArray[Any], y_name: str, y: NDArray[Any]) -> Examples:
    """Return the images, flattened, and the labels of one part."""
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
