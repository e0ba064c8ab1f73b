"""The package as a whole: its names, and what importing it costs."""

import runpy
import subprocess
import sys

import pytest

import purenet


def test_public_names_are_these() -> None:
    """Adding or removing a public name is a decision, made here."""
    assert set(purenet.__all__) == {
        "REPORT",
        "Config",
        "DivergenceError",
        "Epoch",
        "Evaluation",
        "State",
        "TrainResult",
        "accuracy",
        "backward",
        "datasets",
        "epochs",
        "evaluate",
        "forward",
        "init",
        "init_velocity",
        "loss",
        "momentum_step",
        "predict",
        "predict_proba",
        "train",
    }
    assert all(hasattr(purenet, name) for name in purenet.__all__)


def test_importing_needs_no_extra() -> None:
    """`import purenet` loads none of the optional libraries."""
    optional = ["PIL", "hypothesis", "jax", "matplotlib", "mpmath", "numba", "torch"]
    code = f"import sys, purenet; print([name for name in {optional} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_package_runs_as_a_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m purenet` is the command line."""
    monkeypatch.setattr(sys, "argv", ["purenet", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("purenet", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"purenet {purenet.__version__}\n"
