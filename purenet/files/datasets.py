"""Images and labels: MNIST itself, scikit-learn's digits, and data sets in files and folders.

Files are not trusted. Memory grows only with bytes that are really there, and at most 4 GiB are
unpacked from a compressed file. Nothing is unpickled. A damaged file raises ValueError with the
name of the file and what was expected.
"""

import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from purenet.extras import require
from purenet.files import class_folders, idx, reading
from purenet.files.idx import read as read_idx

__all__ = ["class_names", "digits", "load", "mnist", "read_idx"]

LabelledImages: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
Dataset: TypeAlias = tuple[LabelledImages, LabelledImages]  # for training and for testing

_KEYS = ("x_train", "y_train", "x_test", "y_test")


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


def digits() -> Dataset:
    """Return the 1,797 handwritten digits of 8 × 8 pixels that come with scikit-learn.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of numpy.ndarray
        Pixels, divided by 16, the largest, which float32 holds exactly: shapes (1500, 64) and
        (297, 64), in the order of scikit-learn. Their labels, from 0 to 9.

    Raises
    ------
    ImportError
        scikit-learn is missing.

    References
    ----------
    E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = digits()
    >>> x_train.shape, x_train.dtype, float(x_train.max()), x_test.shape
    ((1500, 64), dtype('float32'), 1.0, (297, 64))
    """
    require("the digits of scikit-learn", "sklearn", "sklearn")
    from sklearn.datasets import load_digits  # noqa: PLC0415  # an optional library

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    return (x[:1500], y[:1500]), (x[1500:], y[1500:])


def load(source: str | os.PathLike[str]) -> Dataset:
    """Return a data set: images and labels for training, and images and labels for testing.

    Parameters
    ----------
    source : str or path
        One of these:

        - ``"mnist"`` for `mnist`, or ``"digits"`` for `digits`;
        - an .npz file with the arrays x_train, y_train, x_test and y_test;
        - a folder with the four files of MNIST, Fashion-MNIST, KMNIST, Kuzushiji-49 or EMNIST under
          their original names: IDX files, gzipped or not, or the .npz files of KMNIST. If a folder
          holds several data sets, as that of EMNIST does, FOLDER/emnist-letters names one;
        - a folder of folders that are named after classes and hold PNG or JPEG pictures of
          characters, which are cut out and centred as in MNIST (`purenet.pictures.normalise`).
          Folders train and test around them are used as such; otherwise every sixth picture of a
          class, beginning with the first, is for testing.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of numpy.ndarray
        Images, flattened to shape (n, features), and their integer labels, shape (n,). Values and
        dtypes are those of the files, in the byte order of this machine. EMNIST's files hold images
        transposed; these are turned.

    Raises
    ------
    ValueError
        A damaged file; a folder that lacks one of the files or holds several of its kind; images
        that are not real numbers, or no image; labels that are not one integer >= 0 per image;
        training and test images with different numbers of features.
    OSError
        A source that does not exist or cannot be read.
    ImportError
        Pillow or scikit-learn is missing for pictures or for ``"digits"``.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load("mnist")
    >>> x_test.shape, y_test.shape
    ((10000, 784), (10000,))
    """
    if source in BY_NAME:
        return BY_NAME[str(source)]()
    path = Path(source)
    if _holds_class_folders(path):
        return _check_dataset(class_folders.load(path))
    if files := _find_files(path):
        return _check_dataset([(str(file), _read_array(file)) for file in files])
    with reading.open_regular(path) as file:
        return _check_dataset(_read_npz(file, str(path)))


def class_names(source: str | os.PathLike[str]) -> list[str] | None:
    """Return the names of the classes of a data set, in the order of their labels.

    Parameters
    ----------
    source : str or path
        As for `load`.

    Returns
    -------
    list of str or None
        The names of the folders, or the characters in EMNIST's mapping file, with ``?`` for a label
        that it lacks. None if there are no names, or if they are the labels themselves.

    Raises
    ------
    ValueError
        A damaged mapping file, or a folder that lacks one of the files of a data set.
    OSError
        A source that cannot be read.

    Examples
    --------
    >>> class_names("mnist")
    """
    path = Path(source)
    if source in BY_NAME:
        return None
    if _holds_class_folders(path):
        return class_folders.class_names(path)
    if files := _find_files(path):
        mapping = files[0].with_name(re.sub("train-.*", "mapping.txt", files[0].name))
        if mapping.exists():
            names = idx.read_mapping(mapping)
            labels = range(max(names, default=-1) + 1)
            if any(names.get(label) != str(label) for label in labels):
                return [names.get(label, "?") for label in labels]
    return None


BY_NAME: dict[str | os.PathLike[str], Callable[[], Dataset]] = {"mnist": mnist, "digits": digits}


def _holds_class_folders(path: Path) -> bool:
    return path.is_dir() and not idx.are_in(path)


def _find_files(path: Path) -> list[Path] | None:
    """Return the four files of a folder, or of one data set in a folder. None: it is neither."""
    if path.is_dir():
        return idx.find(path)
    return idx.find(path.parent, path.name) if idx.are_in(path.parent, path.name) else None


def _read_array(path: Path) -> NDArray[Any]:
    """Return the array of one of the four files, with the images of EMNIST turned."""
    if path.suffix != ".npz":
        array = read_idx(path)
    else:
        with (
            reading.open_regular(path) as file,
            _expecting(f"{path}: expected an .npz file of one array"),
        ):
            array = reading.read_single(file)
    if path.name.startswith("emnist-") and array.ndim == 3:
        array = np.ascontiguousarray(array.swapaxes(1, 2))
    return array


@contextmanager
def _expecting(what: str) -> Iterator[None]:
    """Turn errors into ValueError: zipfile and NumPy raise a dozen types for damaged files."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what}: {str(error) or repr(error)}") from error


def _read_npz(file: IO[bytes], name: str) -> list[tuple[str, NDArray[Any]]]:
    """Return the four arrays of an .npz file, each with a name for messages."""
    with _expecting(f"{name}: expected an .npz file of {', '.join(_KEYS)}"):
        arrays = _parse_npz(file)
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
