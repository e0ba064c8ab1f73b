"""Cut written characters out of pictures and centre them, as the makers of MNIST did."""

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from purenet.extras import require
from purenet.params import check_integer

__all__ = ["normalise"]

Grey: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.floating[Any]]
Mask: TypeAlias = NDArray[np.bool_]

LONGEST = 1000  # pixels: a larger picture is reduced to this
BOX = 20 / 28  # a character's longer side, as a part of the picture's side
CONTRAST = 0.08  # least difference of ink and background, as a part of that of black and white
NOISE = 6  # least difference of ink and background, in standard deviations of the background
FAINT = 0.15  # least darkness of ink, as a part of that of the darkest ink
STRONG = 0.5  # least darkness of the darkest ink of a stroke, as a part of the same
MANY = 100  # most characters
SPECK = 0.3  # least height of a character, as a part of that of the tallest


class Mark(NamedTuple):
    """Hold where a character is: the numbers of its connected regions, and its box."""

    regions: list[int]
    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top


def normalise(
    grey: Grey, side: int = 28, *, invert: bool | None = None, split: bool = False
) -> Grey:
    """Cut a written character out of a picture, and centre it as in MNIST.

    The light on the paper is modelled as a quadratic function of the place and fitted to most of
    the pixels. What differs from it is ink. The ink is cropped, scaled to fit a box of 20 × 20
    pixels with its aspect kept, and placed in 28 × 28 pixels with its centre of mass in the middle.
    For another `side`, the box is in proportion. A picture of side × side pixels that is already
    light on dark stays as it is.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (height, width)
        Grey values, from 0 for black to 255 for white.
    side : int
        Height and width of the result.
    invert : bool, optional
        Whether the picture is dark on light. By default the picture itself tells.
    split : bool
        Whether the picture may hold several characters side by side.

    Returns
    -------
    numpy.ndarray of uint8, shape (n, side, side)
        The characters from left to right, ink 255 on a background of 0. Without `split`, n is 1.

    Raises
    ------
    ValueError
        There is no ink, or there are several characters without `split`; an array that is not as
        described above.
    ImportError
        Pillow is missing.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
    recognition", 1998, section III.A.

    Examples
    --------
    >>> import numpy as np
    >>> paper = np.full((100, 80), 230, np.uint8)
    >>> paper[20:60, 50:54] = 40  # a one, dark on light
    >>> one = normalise(paper)
    >>> one.shape, [int(n) for n in np.flatnonzero(one[0].any(axis=1))[[0, -1]]]
    ((1, 28, 28), [4, 23])
    """
    require("pictures", "images", "PIL")
    check_integer("side", side, least=1)
    if (
        not isinstance(grey, np.ndarray)
        or grey.dtype != np.uint8
        or grey.ndim != 2
        or 0 in grey.shape
    ):
        what = (
            f"{grey.dtype} of shape {grey.shape}" if hasattr(grey, "dtype") else type(grey).__name__
        )
        raise ValueError(f"grey must be a picture, uint8 of shape (height, width), got {what}")
    if grey.shape == (side, side) and _stays(grey, invert=invert):
        return grey[None].copy()
    longest = max(grey.shape)
    if longest > LONGEST:
        grey = _resize(grey, *(max(1, n * LONGEST // longest) for n in grey.shape))
    ink, noise, darkest = _find_ink(grey / np.float32(255), invert=invert)
    regions = _label(ink > max(FAINT * darkest, 4 * noise))
    marks = _characters(regions, ink > STRONG * darkest)
    if len(marks) > 1 and not split:
        raise ValueError(
            f"expected one character, found {len(marks)} apart from each other: "
            "split=True (--split) reads them from left to right"
        )
    characters = []
    for mark in marks:
        window = slice(mark.top, mark.bottom), slice(mark.left, mark.right)
        inside, own = np.isin(regions[window], mark.regions), ink[window]
        full = float(np.median(own[inside & (own > 2 * FAINT * darkest)]))
        empty = max(0.1 * full, 2 * noise)
        own = ((own - empty) / (full - empty)).clip(0, 1) * inside
        characters.append(_centre(own, side))
    return np.stack(characters)


def _edges(x: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels at the edges of a picture."""
    return np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]])


def _stays(grey: Grey, *, invert: bool | None) -> bool:
    """Tell whether a picture of the right size is light on dark, as `invert` says or as it looks.

    It looks so if at least half of the pixels at its edges are nearer to its darkest pixel.
    """
    darkest, lightest = int(grey.min()), int(grey.max())
    looks = bool(np.median(_edges(grey)) <= (darkest + lightest) / 2)
    return darkest < lightest and (looks if invert is None else not invert)


def _find_ink(x: Floats, *, invert: bool | None) -> tuple[Floats, float, float]:
    """Return the darkness of ink, the standard deviation of the paper, and the darkest ink.

    If ink covers so much that no light can be fitted to the paper, the edges are taken for paper.
    """
    edges = _edges(x)
    paper = np.median(edges)
    fitted = x - _fit_light(x)
    for ink, blank in ((fitted, fitted), (x - paper, edges - paper)):
        sign = 1 if invert is False or (invert is None and (ink**3).sum() > 0) else -1
        noise = 1.4826 * float(np.median(np.abs(blank)))  # of Gaussian noise
        darkest = float(np.sort(sign * ink, axis=None)[-max(5, ink.size // 2000) :].mean())
        if darkest >= max(CONTRAST, NOISE * noise):
            return sign * ink, noise, darkest
    raise ValueError("no ink found: a character must stand out from an even background")


def _resize(x: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    from PIL import Image  # noqa: PLC0415  # an optional library

    # Bicubic in Pillow averages over all pixels that a smaller one covers.
    return np.asarray(Image.fromarray(x).resize((width, height), Image.Resampling.BICUBIC))


def _fit_light(x: Floats) -> Floats:
    """Return the quadratic function of the place that fits most pixels.

    Iteratively reweighted least squares first minimise the sum of absolute differences, and then
    give no weight to what differs by more than six times the median difference (J. Tukey's
    biweight).
    """
    v, u = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in x.shape), indexing="ij")
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=2)
    every = math.ceil(max(x.shape) / 200)  # pixel counts
    few, values = terms[::every, ::every].reshape(-1, 6), x[::every, ::every].ravel()
    light = np.append(np.median(values), np.zeros(5))
    for step in range(16):
        r = np.abs(values - few @ light)
        scale = max(float(np.median(r)), 1e-3)
        weights = (1 - (r / (6 * scale)) ** 2).clip(0) ** 2 if step > 7 else 1 / r.clip(scale)
        weighted = few * weights[:, None]
        light = np.linalg.lstsq(weighted.T @ few, weighted.T @ values)[0]
    fitted: Floats = (terms @ light).astype(np.float32)
    return fitted


def _characters(regions: NDArray[np.intp], strong: Mask) -> list[Mark]:
    """Return the characters from left to right, each of connected ink and of parts close to it."""
    marks = _marks(regions, strong)
    tallest = max(mark.height for mark in marks)
    tall = [mark for mark in marks if mark.height > SPECK * tallest]
    height, width = regions.shape
    within = [
        mark
        for mark in tall  # a frame touches three or four edges
        if (mark.top == 0) + (mark.bottom == height) + (mark.left == 0) + (mark.right == width) < 3
    ]
    if len(within) > MANY:
        raise ValueError(f"expected characters, found {len(within)} marks, more than {MANY}")
    small = [mark for mark in marks if mark.height <= SPECK * tallest]
    found: list[Mark] = []
    for mark in sorted(within or tall, key=lambda mark: -mark.height) + small:
        for i, character in enumerate(found):
            if _is_part(mark, character):
                found[i] = _union(character, mark)
                break
        else:
            if mark.height > SPECK * found[0].height if found else True:
                found.append(mark)
    return sorted(found, key=lambda mark: mark.left)


def _marks(regions: NDArray[np.intp], strong: Mask) -> list[Mark]:
    """Return the connected regions that are strong somewhere."""
    rows, columns = np.nonzero(regions)
    numbers, index = np.unique(regions[rows, columns], return_inverse=True)
    boxes = np.full((4, len(numbers)), -max(regions.shape))
    for box, places in zip(boxes, (-rows, rows + 1, -columns, columns + 1), strict=True):
        np.maximum.at(box, index, places)
    chosen = np.unique(index[strong[rows, columns]])
    return [
        Mark(
            [int(numbers[i])],
            -int(boxes[0, i]),
            int(boxes[1, i]),
            -int(boxes[2, i]),
            int(boxes[3, i]),
        )
        for i in chosen
    ]


def _union(a: Mark, b: Mark) -> Mark:
    return Mark(
        a.regions + b.regions,
        min(a.top, b.top),
        max(a.bottom, b.bottom),
        min(a.left, b.left),
        max(a.right, b.right),
    )


def _is_part(mark: Mark, character: Mark) -> bool:
    """Tell whether a mark is above or below the rest of a character, or a small part of it."""
    height = character.height
    overlap = min(mark.right, character.right) - max(mark.left, character.left)
    gap = max(mark.top, character.top) - min(mark.bottom, character.bottom)
    narrower = min(mark.right - mark.left, character.right - character.left)
    stacked = gap > -0.2 * height and overlap > 0.3 * narrower
    return gap < 0.3 * height and (
        stacked or (mark.height < 0.6 * height and overlap > -0.08 * height)
    )


def _label(ink: Mask) -> NDArray[np.intp]:
    """Give each connected region a number. Its pixels share edges. Pixels without ink have 0.

    Each pixel starts with its own number, and takes the highest one in its row and in its column of
    the region, and then the number of the pixel that has that number, until nothing changes.
    """
    labels = np.where(ink, np.arange(1, ink.size + 1).reshape(ink.shape), 0)
    while True:
        spread = _spread(_spread(labels).T).T
        spread = np.append(0, spread.ravel())[spread]
        if np.array_equal(spread, labels):
            return labels
        labels = spread


def _spread(labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give all pixels of each run in a row the highest number in it."""
    flat = np.pad(labels, ((0, 0), (0, 1))).ravel()
    ends = np.flatnonzero(np.diff(flat > 0, prepend=False))  # a first pixel, one past the last, ...
    flat[flat > 0] = np.repeat(np.maximum.reduceat(flat, ends)[::2], np.diff(ends)[::2])
    return flat.reshape(len(labels), -1)[:, :-1]


def _centre(ink: Floats, side: int) -> Grey:
    """Scale ink, from 0 to 1, to fit the box, and place its centre of mass in the middle."""
    (mark,) = _marks((ink > 0.3).astype(np.intp), ink > 0.3)
    ink = ink[mark.top : mark.bottom, mark.left : mark.right]
    scale = max(1, round(side * BOX)) / max(ink.shape)
    ink = _resize(ink.astype(np.float32), *(max(1, round(n * scale)) for n in ink.shape)).clip(0)
    ink = (ink / ink.max()).clip(0, 1)
    picture = np.zeros((side, side), np.uint8)
    window = []
    for axis, n in enumerate(ink.shape):
        centre = np.average(np.arange(n) + 0.5, weights=ink.sum(axis=1 - axis))
        # The centres of mass in MNIST lie between 14 and 15 pixels from both edges.
        start = int(np.clip(math.ceil(side / 2 - centre), 0, side - n))
        window.append(slice(start, start + n))
    picture[tuple(window)] = np.rint(255 * ink)
    return picture
