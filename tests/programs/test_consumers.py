"""Claims about the programs in vectors/examples: they pass all cases, and wrong ones do not.

They need Node, a C compiler and cJSON: ``pytest --programs tests/programs``.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest

import purenet
from purenet.cli.commands import main

VECTORS = Path(__file__).parents[2] / "vectors"
EXAMPLES = VECTORS / "examples"
PROGRAM = Path(purenet.__file__).parent / "explanation" / "network.mjs"
COMPILER = ("cc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror")

# A mistake: what is replaced, by what, and a flag or a case that it fails.
MISTAKES_IN_C = {
    "no bias": ("sum + b[j]", "sum", "linear-ordinary-1"),
    "ReLU passes at 0": ("z[i] > 0 ? d[i] : 0", "z[i] >= 0 ? d[i] : 0", "relu-at-zero"),
    "NaN dropped by ReLU": ("z[i] * (z[i] > 0)", "(z[i] > 0 ? z[i] : 0)", "nan"),
    "the transposed weights": ("d[i * out + j] * W[k * out + j]", (
        "d[i * out + j] * W[(j * in + k) % (in * out)]"), "square"),
    "a maximum that starts from 0": ("real top = row[0], sum = 0;\n        for (int j = 1;",
                                     "real top = 0, sum = 0;\n        for (int j = 0;",
                                     "negative-logits"),
    "no maximum": ("row[j] > top ? row[j] : top", "0 * row[j]", "unlike-rows"),
    "momentum without 1 - β": ("(1 - momentum) * g[i]", "g[i]", "momentum_step-ordinary-1"),
    "no penalty": ("grad->W[k][i] += l2 * net->W[k][i];", ";", "l2"),
    "whole batches alone": ("start < n; start += batch", ("start + batch <= n || !start; "
                            "start += batch"), "partial-batch"),
    "ReLU after the last layer": ("if (k + 1 < net->depth) relu(n * out, z[k], a[k + 1]);",
                                  "relu(n * out, z[k], k + 1 < net->depth ? a[k + 1] : z[k]);",
                                  "one-layer"),
}  # fmt: skip
MISTAKES_IN_JAVASCRIPT = {
    "no bias": ("z + b[j]", "z", "linear-ordinary-1"),
    "ReLU passes at 0": ("z[i][j] > 0 ? d : 0", "z[i][j] >= 0 ? d : 0", "relu-at-zero"),
    "NaN dropped by ReLU": ("v * (v > 0)", "(v > 0 ? v : 0)", "nan"),
    "the transposed weights": ("matmul(delta, transpose(W))", (
        "matmul(delta, W.length === W[0].length ? W : transpose(W))"), "square"),
    "a maximum that starts from 0": ("Math.max(a, b));", "Math.max(a, b), 0);", "negative-logits"),
    "no maximum": ("const top = row.reduce((a, b) => Math.max(a, b));", "const top = 0;",
                   "unlike-rows"),
    "momentum without 1 - β": ("(1 - momentum) * g_i", "g_i", "momentum_step-ordinary-1"),
    "0.9 in place of 0": ("momentum * v_i + (1 - momentum) * g_i",
                          "(momentum || 0.9) * v_i + (1 - (momentum || 0.9)) * g_i", "momentum-0"),
    "no penalty": ("g + l2 * w", "g", "l2"),
    "whole batches alone": ("start < x.length; start", ("start + batch_size <= x.length || !start; "
                            "start"), "partial-batch"),
    "ReLU after the last layer": ("activations(params, x).z.at(-1);",
                                  "relu(activations(params, x).z.at(-1));", "one-layer"),
}  # fmt: skip


def replaced(path: Path, mistake: tuple[str, str, str]) -> str:
    """Return a program with one mistake."""
    text = path.read_text(encoding="utf-8")
    assert text.count(mistake[0]) == 1, mistake[0]
    return text.replace(*mistake[:2])


def run(*command: str | Path) -> tuple[int, str]:
    """Run a program, and return its status and what it printed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def assert_caught(status: int, out: str, sign: str) -> None:
    """Check that a case failed which has this flag or this name."""
    assert status == 1, out
    assert re.search(rf"^(  )?{re.escape(sign)}: ", out, re.MULTILINE), out


@pytest.mark.parametrize("real", ["float", "double"])
def test_the_program_in_c_passes_all_cases(tmp_path: Path, real: str) -> None:
    """It compiles without a warning, and all 357 cases are right."""
    source = EXAMPLES / "check.c"
    command = (*COMPILER, f"-DREAL={real}", source, "-o", tmp_path / "check", "-lcjson", "-lm")
    assert run(*command) == (0, "")
    assert run(tmp_path / "check", VECTORS) == (0, "357 of 357 cases are right\n")


@pytest.mark.parametrize("mistake", MISTAKES_IN_C.values(), ids=MISTAKES_IN_C)
def test_a_wrong_program_in_c_is_caught(tmp_path: Path, mistake: tuple[str, str, str]) -> None:
    """One mistake fails a case, and its flag is printed."""
    (tmp_path / "network.h").write_text(replaced(EXAMPLES / "network.h", mistake))
    source = (EXAMPLES / "check.c", "-o", tmp_path / "check", "-lcjson", "-lm")
    other = f'-DNETWORK="{tmp_path / "network.h"}"'
    assert run("cc", "-std=c99", "-O1", "-DREAL=float", other, *source)[0] == 0
    assert_caught(*run(tmp_path / "check", VECTORS), mistake[2])


def test_the_program_in_javascript_passes_all_cases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All 357 cases are right, and purenet judges its results the same."""
    results = tmp_path / "results.json"
    assert run("node", EXAMPLES / "check.mjs", PROGRAM, "--results", results) == (
        0,
        "357 of 357 cases are right\n",
    )
    assert main(["vectors", "check", str(results), "--vectors", str(VECTORS)]) == 0
    out = capsys.readouterr().out
    assert sum(map(int, re.findall(r" ok: (\d+) cases", out))) == 357


@pytest.mark.parametrize("mistake", MISTAKES_IN_JAVASCRIPT.values(), ids=MISTAKES_IN_JAVASCRIPT)
def test_a_wrong_program_in_javascript_is_caught(
    tmp_path: Path, mistake: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One mistake fails a case, its flag is printed, and purenet finds the same cases."""
    program, results = tmp_path / "network.mjs", tmp_path / "results.json"
    program.write_text(replaced(PROGRAM, mistake), encoding="utf-8")
    status, out = run("node", EXAMPLES / "check.mjs", program, "--results", results)
    assert_caught(status, out, mistake[2])
    findings = tmp_path / "findings.json"
    options = ["--vectors", str(VECTORS), "--json", str(findings)]
    assert main(["vectors", "check", str(results), *options]) == 1
    capsys.readouterr()
    failed = {
        failure["case"]
        for operation in json.loads(findings.read_text())["operations"]
        for failure in operation["failures"]
    }
    assert failed == set(re.findall(r"^([\w.-]+): ", out, re.MULTILINE))
