"""The package as a whole: its names, and what importing it costs."""

import subprocess
import sys

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
