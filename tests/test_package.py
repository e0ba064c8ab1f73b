"""Claims about the package as a whole: its public names, and what an import loads."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import purenet


def test_public_names_are_these() -> None:
    """A public name is added or removed only together with this list."""
    assert set(purenet.__all__) == {
        "REPORT",
        "Checkpoint",
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
        "export",
        "forward",
        "init",
        "init_velocity",
        "load",
        "loss",
        "momentum_step",
        "pictures",
        "predict",
        "predict_proba",
        "save",
        "train",
    }
    assert all(hasattr(purenet, name) for name in purenet.__all__)


def test_the_citation_names_this_version() -> None:
    """CITATION.cff has the version of the package."""
    citation = (Path(__file__).parents[1] / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall("^version: (.*)$", citation, re.MULTILINE) == [purenet.__version__]


def test_importing_purenet_loads_no_optional_library() -> None:
    """`import purenet` works without any extra."""
    optional = ["PIL", "hypothesis", "jax", "matplotlib", "mpmath", "numba", "torch"]
    code = f"import sys, purenet; print([name for name in {optional} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_python_m_purenet_is_the_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m purenet --version` prints what `purenet --version` prints."""
    monkeypatch.setattr(sys, "argv", ["purenet", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("purenet", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"purenet {purenet.__version__}\n"


def test_tools_for_testing_name_their_extra() -> None:
    """Without Hypothesis, the error of an import says which command installs it."""
    code = "import sys; sys.modules['hypothesis'] = None; import purenet.testing.gradients"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1] == (
        "ImportError: the tools of purenet.testing need hypothesis: pip install "
        "'purenet[testing]', or pip install '.[testing]' in a clone of purenet"
    )


def test_dir_lists_the_public_names() -> None:
    """`dir` knows the names before any of them is used."""
    assert set(purenet.__all__) <= set(dir(purenet))
