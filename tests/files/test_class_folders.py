"""Claims about folders of pictures that are named after classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from purenet.files.datasets import class_names, load, mnist
from purenet.files.ink import normalise

DIGITS = mnist()[1][0].reshape(-1, 28, 28)


def write_class(folder: Path, first: int, count: int = 6, ending: str = "png") -> None:
    """Write digits of MNIST from `first` on as pictures of one class."""
    folder.mkdir(parents=True)
    for i in range(first, first + count):
        Image.fromarray(DIGITS[i]).save(folder / f"{i:03}.{ending}")


def test_each_folder_is_a_class_and_every_sixth_picture_is_for_testing(tmp_path: Path) -> None:
    """Classes are in the order of their names, pictures too; hidden and other files are ignored."""
    write_class(tmp_path / "cat", 10, 13)
    write_class(tmp_path / "Ant", 0)
    write_class(tmp_path / ".hidden", 30)
    for bystander in ("README", "cat/notes.txt", "cat/._010.png"):
        (tmp_path / bystander).write_text("nothing")
    (x, y), (x_test, y_test) = load(tmp_path)
    assert class_names(tmp_path) == ["Ant", "cat"]
    assert y.tolist() == [0] * 5 + [1] * 10
    assert y_test.tolist() == [0, 1, 1, 1]
    assert np.array_equal(x_test, DIGITS[[0, 10, 16, 22]].reshape(-1, 784))
    assert np.array_equal(x[:5], DIGITS[1:6].reshape(-1, 784))


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "Testing")])
def test_folders_for_training_and_testing_are_used_as_such(
    tmp_path: Path, parts: tuple[str, str]
) -> None:
    """No picture changes sides."""
    for part, first in zip(parts, (0, 50), strict=True):
        write_class(tmp_path / part / "a", first, 2)
        write_class(tmp_path / part / "b", first + 10, 3)
    (x, y), (x_test, y_test) = load(tmp_path)
    assert np.array_equal(x, DIGITS[[0, 1, 10, 11, 12]].reshape(-1, 784))
    assert np.array_equal(x_test, DIGITS[[50, 51, 60, 61, 62]].reshape(-1, 784))
    assert y.tolist() == y_test.tolist() == [0, 0, 1, 1, 1]
    assert class_names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("10", "9", "2"), ["2", "9", "10"]),
        (("2", "0", "1"), None),
        (("1", "0", "x"), ["0", "1", "x"]),
    ],
)
def test_classes_named_by_numbers_are_in_their_order(
    tmp_path: Path, names: tuple[str, ...], expected: list[str] | None
) -> None:
    """Numbers are sorted by value; 0, 1, 2, ... need no names, since they are the labels."""
    for i, name in enumerate(names):
        write_class(tmp_path / name, 10 * i, 2)
    assert class_names(tmp_path) == expected
    assert load(tmp_path)[0][1].tolist() == [0, 1, 2]


def test_pictures_are_cut_out_as_for_prediction(tmp_path: Path) -> None:
    """A JPEG of any size, dark on light, becomes the 784 pixels that `normalise` makes of it."""
    paper = np.full((60, 90), 220, np.uint8)
    paper[10:50, 20:30] = 30
    write_class(tmp_path / "a", 0, 2)
    write_class(tmp_path / "b", 10, 2, "JPG")
    Image.fromarray(paper).save(tmp_path / "b" / "0.jpeg")
    x_test = load(tmp_path)[1][0]
    with Image.open(tmp_path / "b" / "0.jpeg") as picture:
        assert np.array_equal(x_test[1], normalise(np.asarray(picture)).ravel())


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    """One class, a class without pictures, different classes and a bad picture are refused."""
    write_class(tmp_path / "one" / "a", 0)
    expected = r"expected the four files of a data set like MNIST .*, or folders of .*, named after"
    with pytest.raises(ValueError, match=f"one: {expected} at least two classes, got a$"):
        load(tmp_path / "one")
    with pytest.raises(ValueError, match=f"a: {expected} at least two classes, got no folder$"):
        load(tmp_path / "one" / "a")
    write_class(tmp_path / "one" / "b", 0, 1)
    with pytest.raises(
        ValueError, match=r"one: expected PNG or JPEG pictures of b for training, got none; if "
    ):
        load(tmp_path / "one")
    (tmp_path / "one" / "b" / "bad.png").write_text("text")
    with pytest.raises(
        ValueError, match=r"bad\.png cannot be read: expected a PNG or JPEG picture"
    ):
        load(tmp_path / "one")
    for name in ("train/a", "train/b", "test/a", "test/c"):
        write_class(tmp_path / "two" / name, 0, 1)
    message = r"two: expected the same classes for training and testing, got only once: b, c$"
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "two")
