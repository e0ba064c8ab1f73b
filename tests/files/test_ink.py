"""Claims about characters cut out of pictures: what does not change them, what is refused."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from purenet.files.datasets import mnist
from purenet.files.ink import normalise

Grey = NDArray[np.uint8]

DIGITS = mnist()[1][0].reshape(-1, 28, 28)
NEAR = 0.06 * 255  # the most of 600 digits is 0.051
digits = st.integers(0, 199).map(lambda i: DIGITS[i])


def drawn(
    digit: Grey,
    size: int = 84,
    before: tuple[int, int] = (20, 30),
    after: tuple[int, int] = (25, 15),
) -> Grey:
    """Return a digit enlarged, dark on light, with so many rows and columns of paper around it."""
    large = Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC)
    ink = np.pad(np.asarray(large), list(zip(before, after, strict=True)))
    return (230 - ink * 0.7).round().astype(np.uint8)


def distance(a: Grey, b: Grey) -> float:
    """Return the mean difference of two pictures, in levels of grey from 0 to 255.

    A centre of mass that lies between two pixels may be rounded either way, so the least difference
    counts of those where one picture is moved by at most a pixel.
    """
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]).astype(int)
    steps = (-1, 0, 1)
    moved = (np.roll(a, (down, right), (0, 1)) for down in steps for right in steps)
    return min(float(np.abs(other - b).mean()) for other in moved)


def extent(picture: Grey, axis: int) -> tuple[int, int]:
    """Return the first row or column with ink, and their number."""
    places = np.flatnonzero(picture.any(axis=1 - axis))
    return int(places[0]), int(np.ptp(places)) + 1


def bar(height: int, width: int, top: int = 30, left: int = 40) -> Grey:
    """Return a picture of 120 × 120 pixels with a dark rectangle."""
    paper = np.full((120, 120), 220, np.uint8)
    paper[top : top + height, left : left + width] = 30
    return paper


# What stays as it is.


def test_the_digits_of_mnist_stay_as_they_are() -> None:
    """Each of the 10,000 test images, 28 × 28 and light on dark, comes back bit for bit."""
    assert all(np.array_equal(normalise(digit)[0], digit) for digit in DIGITS)
    assert not np.shares_memory(normalise(DIGITS[0]), DIGITS)


def test_without_inversion_every_picture_of_the_right_size_stays_as_it_is() -> None:
    """`invert=False` says that a picture is light on dark, even if most of it is light."""
    light = 255 - DIGITS[0]
    assert np.array_equal(normalise(light, invert=False)[0], light)
    assert not np.array_equal(normalise(light)[0], light)


# What makes no difference.


@given(digits)
def test_a_digit_of_mnist_drawn_on_paper_comes_back(digit: Grey) -> None:
    """Three times as large, dark on light and off-centre, it comes back within 6 % of the range."""
    assert distance(normalise(drawn(digit))[0], digit) < NEAR


@given(digits, st.tuples(*[st.integers(3, 60)] * 2), st.tuples(*[st.integers(3, 60)] * 2))
def test_the_place_on_the_paper_makes_no_difference(
    digit: Grey, before: tuple[int, int], after: tuple[int, int]
) -> None:
    """With other margins the result differs by less than one level."""
    one, other = normalise(drawn(digit)), normalise(drawn(digit, 84, before, after))
    assert distance(one, other) < 1


@given(digits, st.floats(0, 2 * np.pi), st.floats(0, 0.3))
def test_uneven_light_makes_no_difference(digit: Grey, angle: float, strength: float) -> None:
    """Light that falls off to one side by up to 45 % changes the result by less than 6 %."""
    picture = drawn(digit)
    v, u = np.mgrid[-1 : 1 : picture.shape[0] * 1j, -1 : 1 : picture.shape[1] * 1j]
    light = 1 - strength * (1 + (u * np.cos(angle) + v * np.sin(angle)) / np.sqrt(2)) * 0.75
    dimmed = (picture * light).round().astype(np.uint8)
    assert distance(normalise(dimmed), normalise(picture)) < NEAR


@given(digits, st.sampled_from([None, True]))
def test_dark_on_light_is_light_on_dark(digit: Grey, invert: bool | None) -> None:  # noqa: FBT001
    """The negative of a picture gives the same result but for rounding."""
    picture = drawn(digit)
    one = normalise(picture, invert=invert)
    other = normalise(~picture, invert=None if invert is None else False)
    assert np.abs(one.astype(int) - other).max() <= 1


def test_a_large_picture_is_read_as_a_small_one() -> None:
    """A digit of 2,400 × 2,400 pixels on a picture of 14 million pixels reads as in a small one."""
    small = drawn(DIGITS[0], 240, (60, 60), (60, 60))
    large = np.asarray(Image.fromarray(small).resize((3600, 3600), Image.Resampling.BICUBIC))
    assert distance(normalise(large), normalise(small)) < 3


@settings(max_examples=20)
@given(digits, st.integers(0, 2**32 - 1))
def test_a_noisy_picture_is_read(digit: Grey, seed: int) -> None:
    """Noise of 2 % of the range changes the result by less than 6 %."""
    picture = drawn(digit)
    noise = np.random.default_rng(seed).normal(0, 5, picture.shape)
    noisy = (picture + noise).clip(0, 255).round().astype(np.uint8)
    assert distance(normalise(noisy), normalise(picture)) < NEAR


# Where ink is placed.


@pytest.mark.parametrize("side", [8, 14, 28, 64])
@settings(max_examples=20)
@given(digits)
def test_ink_fills_its_box_and_is_centred_by_mass(side: int, digit: Grey) -> None:
    """The longer side is 20/28 of the picture's, and the centre of mass as in MNIST."""
    picture = normalise(drawn(digit, 200), side)[0]
    assert picture.shape == (side, side)
    assert max(extent(picture, axis)[1] for axis in (0, 1)) == round(side * 20 / 28)
    for axis in (0, 1):
        mass = picture.sum(axis=1 - axis)
        centre = np.average(np.arange(side) + 0.5, weights=mass)
        start, n = extent(picture, axis)
        at_an_edge = start == 0 or start + n == side
        assert side / 2 - 0.01 <= centre < side / 2 + 1.01 or at_an_edge


@pytest.mark.parametrize(
    ("height", "width", "box"), [(60, 60, (20, 20)), (60, 12, (20, 4)), (15, 60, (5, 20))]
)
def test_the_aspect_of_ink_is_kept(height: int, width: int, box: tuple[int, int]) -> None:
    """A rectangle of ink keeps its proportions, and is as light as can be."""
    picture = normalise(bar(height, width))[0]
    assert (extent(picture, 0)[1], extent(picture, 1)[1]) == box
    assert picture.max() == 255
    assert (picture > 127).sum() == box[0] * box[1]


# Several marks.


@settings(max_examples=20)
@given(st.lists(digits, min_size=2, max_size=5))
def test_characters_side_by_side_are_read_from_left_to_right(row: list[Grey]) -> None:
    """Each result is near the one of the character alone, whatever stands beside it."""
    alone = [
        drawn(digit, before=(10 + 7 * i, 5), after=(60 - 7 * i, 5)) for i, digit in enumerate(row)
    ]
    found = normalise(np.hstack(alone), split=True)
    assert len(found) == len(row)
    for picture, digit in zip(found, alone, strict=True):
        assert distance(picture, normalise(digit)[0]) < 4
    with pytest.raises(ValueError, match=f"expected one character, found {len(row)} apart from"):
        normalise(np.hstack(alone))


def test_parts_of_one_character_belong_together() -> None:
    """A bar above the rest, and a small piece close beside it, are parts of one character."""
    picture = bar(50, 14, top=40)
    above, beside = picture.copy(), picture.copy()
    above[28:34, 40:70] = 30
    beside[50:60, 56:66] = 30
    assert extent(normalise(above)[0], 0)[1] == 20
    assert len(normalise(above)) == len(normalise(beside)) == 1
    assert extent(normalise(beside)[0], 1)[1] > extent(normalise(picture)[0], 1)[1]


def test_specks_are_left_out() -> None:
    """A mark that is much smaller than the character, and not a part of it, is no character."""
    picture = bar(50, 14)
    with_speck = picture.copy()
    with_speck[10:14, 100:104] = 30
    assert distance(normalise(with_speck), normalise(picture)) < 1


def test_a_neighbour_does_not_show_in_the_box_of_a_character() -> None:
    """Of two slanted strokes whose boxes overlap, each is read alone."""
    one, both = np.full((2, 120, 120), 220, np.uint8)
    for row in range(20, 100):
        one[row, 20 + row // 2 : 30 + row // 2] = 30
        both[row, 20 + row // 2 : 30 + row // 2] = both[row, 50 + row // 2 : 60 + row // 2] = 30
    first, second = normalise(both, split=True)
    assert distance(first, normalise(one)) < 1
    assert distance(second, normalise(one)) < 1


@pytest.mark.parametrize(("height", "expected"), [(10, 1), (20, 2)])
def test_a_character_has_at_least_three_tenths_of_the_tallest_height(
    height: int, expected: int
) -> None:
    """Beside a stroke of 50 pixels, one of 20 is a character, and one of 10 is a speck."""
    picture = bar(50, 14, left=20)
    picture[50 : 50 + height, 80:90] = 30
    assert len(normalise(picture, split=True)) == expected


def test_what_is_faint_everywhere_is_no_stroke() -> None:
    """A mark of a third of the darkness is left out, even if it is as tall."""
    picture = bar(50, 14, left=20)
    picture[30:80, 80:90] = 160
    assert len(normalise(picture, split=True)) == 1


def test_a_frame_around_a_character_is_left_out() -> None:
    """A dark line along the edges of the picture is not the character."""
    picture = bar(50, 14)
    framed = picture.copy()
    framed[:4], framed[-4:], framed[:, :4], framed[:, -4:] = 30, 30, 30, 30
    assert distance(normalise(framed), normalise(picture)) < 1


def test_ink_that_covers_half_of_the_picture_is_found() -> None:
    """Thick strokes that fill the picture are read; the edges tell what is paper."""
    ring = np.hypot(*np.mgrid[-1:1:100j, -1:1:100j])
    picture = np.where((ring > 0.35) & (ring < 0.95), 0, 255).astype(np.uint8)
    assert (picture < 128).mean() > 0.5
    found = normalise(picture)[0]
    assert found[14, 14] == 0
    assert extent(found, 0)[1] == extent(found, 1)[1] == 20


def test_the_darker_side_of_uneven_light_is_no_ink() -> None:
    """A picture is dark on light by its strokes, though more pixels are lighter than the rest."""
    rng = np.random.default_rng(0)
    picture = bar(60, 6) + rng.integers(-3, 4, (120, 120))
    picture[:, :50] += 8
    same = normalise(picture.clip(0, 255).astype(np.uint8))
    assert distance(same, normalise(bar(60, 6))) < NEAR


@pytest.mark.parametrize("split", [False, True])
def test_many_marks_are_refused_at_once(split: bool) -> None:  # noqa: FBT001
    """A page of 121 strokes is an error, with the number of marks."""
    page = np.tile(np.pad(np.full((6, 3), 30, np.uint8), 3, constant_values=220), (11, 11))
    with pytest.raises(ValueError, match=r"^expected characters, found 121 marks, more"):
        normalise(page, split=split)


def test_long_winding_ink_is_one_mark() -> None:
    """A spiral of six turns, whose pixels are far apart along the line, is one character."""
    t = np.linspace(0.5, 12 * np.pi, 6000)
    picture = np.full((200, 200), 220, np.uint8)
    rows, columns = (100 + 2.4 * t * f(t) for f in (np.sin, np.cos))
    for down in (0, 1):
        for right in (0, 1):
            picture[rows.astype(int) + down, columns.astype(int) + right] = 30
    assert len(normalise(picture, split=True)) == 1


# What is refused.


def papers() -> dict[str, Grey]:
    """Return pictures without a character."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[-1:1:200j, -1:1:300j]
    found: dict[str, Any] = {
        "black": np.zeros((28, 28)),
        "white": np.full((28, 28), 255),
        "one pixel": np.full((1, 1), 200),
        "one row": np.full((1, 5000), 200),
        "faint": np.where(bar(50, 14) < 100, 215, 230),
        "noise": rng.integers(0, 256, (200, 300)),
        "noisy paper": 220 + rng.normal(0, 8, (200, 300)),
        "light from one side": 150 + 60 * u - 20 * v,
        "a vignette": 240 - 50 * (u**2 + v**2) + rng.normal(0, 3, u.shape),
        "a photo": load_sample_image("china.jpg") @ [0.299, 0.587, 0.114],
    }
    return {name: np.clip(grey, 0, 255).astype(np.uint8) for name, grey in found.items()}


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("grey", papers().values(), ids=papers())
def test_a_picture_without_a_character_is_refused(grey: Grey, split: bool) -> None:  # noqa: FBT001
    """The error says what a character needs."""
    with pytest.raises(ValueError, match=r"^no ink found: a character must stand out from an even"):
        normalise(grey, split=split)
