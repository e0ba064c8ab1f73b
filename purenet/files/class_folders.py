"""Pictures in folders that are named after their classes."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purenet.files import pictures

__all__ = ["class_names", "load"]

FEATURES = 784
ENDINGS = {".png", ".jpg", ".jpeg"}
PARTS = [("train", "test"), ("training", "testing")]
TEST = 6  # one picture of a class in so many is for testing


def class_names(folder: Path) -> list[str] | None:
    """Return the names of the classes, in the order of their labels.

    Parameters
    ----------
    folder : Path
        As for `load`.

    Returns
    -------
    list of str or None
        The names, or None if they are the labels themselves, 0, 1, and so on.
    """
    names = [each.name for each in _sorted_classes(_parts(folder)[0])]
    return None if names == [str(label) for label in range(len(names))] else names


def load(folder: Path) -> list[tuple[str, NDArray[Any]]]:
    """Read pictures from folders, each character cut out and centred as in MNIST.

    Each class has a folder of PNG or JPEG pictures with its name. Labels count the classes from 0
    in the order of their names, or of their values if all names are numbers. If there are folders
    train and test (or training and testing), these hold the folders of the classes. Otherwise every
    sixth picture of a class, beginning with the first, is for testing.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    list of (str, array)
        Training images, training labels, test images and test labels, each with a name for
        messages. Images have shape (n, 784) and 8-bit pixels.

    Raises
    ------
    ValueError
        Fewer than two classes, a class with too few pictures, classes that differ between training
        and testing, or a picture that cannot be read.
    ImportError
        Pillow is missing.
    """
    train, test = _classes(folder)
    if len(train) < 2:
        raise ValueError(
            f"{folder}: expected the four files of a data set like MNIST (train-images-idx3-ubyte "
            "and so on), or folders of pictures, named after at least two classes, "
            f"got {', '.join(train) or 'no folder'}"
        )
    if train.keys() != test.keys():
        raise ValueError(
            f"{folder}: expected the same classes for training and testing, "
            f"got only once: {', '.join(sorted(train.keys() ^ test.keys())[:10])}"
        )
    arrays = []
    for part, classes in (("training", train), ("testing", test)):
        for name, paths in classes.items():
            if not paths:
                raise ValueError(
                    f"{folder}: expected PNG or JPEG pictures of {name} for {part}, got none; if "
                    "folders are for training and testing, they are named train and test"
                )
        x = [pictures.read(path, FEATURES) for paths in classes.values() for path in paths]
        y = np.repeat(range(len(classes)), [len(paths) for paths in classes.values()])
        arrays += [(f"{folder}: {part}", np.concatenate(x)), (f"{folder}: {part}", y)]
    return arrays


def _parts(folder: Path) -> list[Path]:
    """Return the folders for training and testing, or the folder itself if it holds the classes."""
    parts = {each.name.casefold(): each for each in _folders(folder)}
    for pair in PARTS:
        if parts.keys() == set(pair):
            return [parts[name] for name in pair]
    return [folder]


def _classes(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Return the pictures of each class for training, and those for testing."""
    train, *test = (
        {each.name: _pictures(each) for each in _sorted_classes(part)} for part in _parts(folder)
    )
    if test:
        return train, test[0]
    return (
        {name: [p for i, p in enumerate(paths) if i % TEST] for name, paths in train.items()},
        {name: paths[::TEST] for name, paths in train.items()},
    )


def _sorted_classes(part: Path) -> list[Path]:
    """Return the folders of the classes, by value if all names are numbers."""
    folders = _folders(part)
    numbers = all(each.name.isdecimal() for each in folders)
    return sorted(folders, key=lambda each: (int(each.name) if numbers else 0, each.name))


def _pictures(folder: Path) -> list[Path]:
    """Return the sorted pictures in a folder. Hidden files are ignored."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    )


def _folders(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
