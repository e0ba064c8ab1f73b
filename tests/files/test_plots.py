"""Claims about the curves of a run."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from purenet.files.plots import curves


def figures(**others: float) -> dict[str, float]:
    """Return the figures of an epoch, some of them replaced."""
    return {"epoch": 2, "loss": 2.0, "test_loss": 3.0, "test_accuracy": 0.5} | others


def test_curves_show_each_figure(tmp_path: Path) -> None:
    """Another value of any figure gives another picture; equal figures give equal pictures."""
    changes: list[dict[str, float]] = [
        {},
        {"epoch": 3},
        {"loss": 1.0},
        {"test_loss": 1.0},
        {"test_accuracy": 1.0},
        {},
    ]
    pictures = []
    for change in changes:
        curves(tmp_path / "curves.png", [figures(epoch=1), figures(**change)])
        with Image.open(tmp_path / "curves.png") as picture:
            pictures.append(picture.tobytes())
    assert len(set(pictures)) == 5
    assert pictures[0] == pictures[5]


def test_svg_has_its_text_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Equal histories give equal files, which hold words and neither a date nor a version."""
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        curves(file, [figures(epoch=1), figures()])
    one, two = (file.read_text() for file in files)
    assert one == two
    assert ">nats per example</text>" in one
    assert "<metadata>" not in one


@pytest.mark.parametrize("prefix", ["val_", "test_", None])
def test_curves_of_a_history_from_python_can_be_drawn(tmp_path: Path, prefix: str | None) -> None:
    """The history of `train`, with or without validation data, is drawn like that of a run."""
    row = {"epoch": 1, "loss": 2.0}
    if prefix:
        row |= {f"{prefix}loss": 3.0, f"{prefix}accuracy": 0.5}
    curves(tmp_path / "curves.svg", [row])
    drawn = (tmp_path / "curves.svg").read_text()
    assert ("validation" in drawn) == (prefix == "val_")


def test_curves_without_matplotlib_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which command installs Matplotlib."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"^plots need matplotlib: pip install 'purenet\[plot\]'"):
        curves(tmp_path / "curves.png", [figures()])


@pytest.mark.parametrize("losses", [(0.0,), (1.0, 0.0), (1e-300, 1e30)])
def test_any_finite_losses_can_be_drawn(tmp_path: Path, losses: tuple[float, ...]) -> None:
    """Losses of 0, which have no logarithm, and of a wide range are drawn without a warning."""
    curves(
        tmp_path / "curves.svg",
        [figures(epoch=e, loss=x, test_loss=x) for e, x in enumerate(losses)],
    )
    assert "<svg" in (tmp_path / "curves.svg").read_text()
