"""The table of what the sections have measured."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

NAMES = {
    "products": "matrix products alone",
    "engine": "**purenet.train**",
    "inplace": "purenet.train without the extra `fast`",
    "jax_scan": "JAX, scan over an epoch",
    "jax_step": "JAX, jitted step",
    "torch_compile": "PyTorch, compiled step",
    "torch_eager": "PyTorch, eager",
    "sklearn_mlp": "scikit-learn MLPClassifier",
    "pure": "`backward`, `momentum_step`",
    "listing": "the report's listing, float64",
}
CONTESTS = {
    "mini-batch": "epoch, batches of 128",
    "one-thread": "the same, one thread",
    "full-batch": "full-batch step",
    "by-hand": "100 steps, no shuffling",
}
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
Results = dict[str, list[dict[str, Any]]]  # of each section its cases


def write(machine: Mapping[str, Any], results: Results, output: Path) -> None:
    """Write table.md and results.json of the sections there are."""
    parts = [part(results) for part in (peers, floor, busy, batch_sizes, scaling, memory, start)]
    text = "\n".join([*filter(None, parts), conditions(machine)])
    (output / "table.md").write_text(text, encoding="utf-8")
    both = {"machine": machine, "sections": results}
    (output / "results.json").write_text(json.dumps(both, indent=1), encoding="utf-8")


def publish(output: Path, docs: Path) -> None:
    """Put the table between the marks in docs/performance.md, and the figure beside it."""
    page = docs / "performance.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    measured = (output / "table.md").read_text(encoding="utf-8")
    page.write_text(f"{before}{BEGIN}\n\n{measured}\n{END}{after}", encoding="utf-8")
    (docs / "figures").mkdir(exist_ok=True)
    shutil.copy(output / "performance.png", docs / "figures")


def load(output: Path) -> tuple[dict[str, Any], Results]:
    """Return what pytest-benchmark has kept of the machine, and of each section."""
    machine: dict[str, Any] = {}
    results: Results = {}
    for path in sorted(output.glob("*.json")):
        if path.name != "results.json":
            kept = json.loads(path.read_text(encoding="utf-8"))
            machine = {
                key: kept["machine_info"][key] for key in ("python_version", "versions", "pools")
            }
            machine |= {key: kept["machine_info"]["cpu"][key] for key in ("brand_raw", "count")}
            results[path.stem] = [
                {
                    "test": case["name"].split("[")[0],
                    **(case["params"] or {}),
                    "seconds": case["stats"]["median"],
                    "seconds IQR": case["stats"]["iqr"],
                    "rounds": case["stats"]["rounds"],
                    **case["extra_info"],
                }
                for case in kept["benchmarks"]
            ]
    return machine, results


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table, numbers on the right."""
    header = list(header)
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def peers(results: Results) -> str:
    """Seconds of each contestant, and its ratio to purenet.train."""
    contests = {key: results[key][0]["contestants"] for key in CONTESTS if key in results}
    present = [name for name in NAMES if any(name in contest for contest in contests.values())]

    def cell(figures: Mapping[str, float] | None) -> str:
        if figures is None:
            return ""
        spread = f" ± {figures['ratio IQR'] / 2:.2f}" if figures["ratio IQR"] else ""
        return f"{figures['seconds']:.3f} s, {figures['ratio']:.2f}{spread} ×"

    rows = [[NAMES[n], *(cell(contest.get(n)) for contest in contests.values())] for n in present]
    return table(["peers", *(CONTESTS[key] for key in contests)], rows) if contests else ""


def floor(results: Results) -> str:
    """Engine, its products and the machine's best product, as seconds and rates."""
    rows = []
    for case in results.get("floor", []):
        of = case["contestants"]
        engine, spread = of["engine"]["ratio"], of["engine"]["ratio IQR"] / 2
        rows.append(
            [
                f"{case['batch_size'] or 'full'}, {case['dtype']}, {_threads(case['threads'])}",
                f"{of['products']['seconds']:.3f} s",
                f"{of['engine']['seconds']:.3f} s",
                f"{engine:.2f} ± {spread:.2f} ×",
                *(f"{of[name]['GFLOP/s']:.0f}" for name in ("engine", "products", "gemm")),
            ]
        )
    header = ["batch", "products alone", "purenet.train", "ratio"]
    header += ["GFLOP/s", "of products", "of a 4096³ product"]
    return table(header, rows) if rows else ""


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def batch_sizes(results: Results) -> str:
    """Costs and times to accuracies of each batch size."""
    cases = {(c["test"], c["batch_size"], c["dtype"]): c for c in results.get("step", [])}
    training = {c["batch_size"]: c for c in results.get("accuracy", [])}
    rows = []
    for size in dict.fromkeys([key[1] for key in cases] + list(training)):
        row = [str(size or "full")]
        for dtype in ("float32", "float64"):
            step, epoch = (
                cases.get(("test_step", size, dtype)),
                cases.get(("test_epoch", size, dtype)),
            )
            if step and epoch:
                row += [f"{step['seconds'] / step['updates'] * 1e3:.3g}"]
                row += [f"{epoch['seconds'] / epoch['examples'] * 1e6:.3g}"]
            else:
                row += ["", ""]
        if run := training.get(size):
            row.append(f"{run['learning rate']:g}")
            for goal in ("90%", "97%", "98%"):
                if goal in run["reached"]:
                    epochs, seconds = run["reached"][goal]
                    row.append(f"{epochs:.1f}: {seconds:.2f} s")
                else:
                    row.append(f"not in {run['epochs']:.1f}: {run['seconds']:.0f} s")
        else:
            row += [""] * 4
        rows.append(row)
    header = ["batch", "ms a step, float32", "µs a sample", "ms a step, float64", "µs a sample"]
    header += ["η", "epochs: time to 90 %", "to 97 %", "to 98 %"]
    return table(header, rows) if rows else ""


def families(results: Results) -> dict[str, Any]:
    """Return of what grows: its values, seconds and parameters."""
    points: dict[str, list[Any]] = {}
    for case in results.get("scaling", []):
        kind, value = case["case"].split()
        points.setdefault(kind, []).append((int(value), case["seconds"], case["parameters"]))
    return {kind: np.array(rows, float).T for kind, rows in points.items()}


def exponent(x: Any, y: Any) -> float:
    """Fit y ∝ x^k by least squares in logarithms, and return k."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def scaling(results: Results) -> str:
    """Exponents of cost against what grows."""
    growing = families(results)
    if "width" in growing:
        _, seconds, parameters = growing["width"]
        growing["parameters, by width"] = parameters, seconds, parameters
    rows = [
        [
            kind,
            f"{x[0]:,.0f} to {x[-1]:,.0f}",
            f"{seconds[0] * 1e3:.3g} to {seconds[-1] * 1e3:,.4g} ms",
            f"{exponent(x, seconds):.2f}",
        ]
        for kind, (x, seconds, _) in growing.items()
    ]
    return table(["what grows", "from, to", "cost", "fitted exponent"], rows) if rows else ""


def memory(results: Results) -> str:
    """Bytes a step allocates, and memory of a process that trains on a large file."""
    rows = []
    for case in results.get("memory", []):
        if "peak bytes" in case and "order" not in case:
            what = f"a step, batch {case['batch_size'] or 'full'}, {case['dtype']}, after warm-up"
            rows.append([what, f"{case['peak bytes']:,} bytes at most"])
        elif "order" in case:
            what = f"training on {case['GB']:.0f} GB of pixels in a file, rows {case['order']}"
            rows.append([what, f"{case['anonymous bytes'] / 1e6:.0f} MB anonymous"])
    for name, figures in contest_of(results, "mini-batch").items():
        if name in NAMES:
            rows.append([f"{NAMES[name]}, MNIST", f"{figures['peak bytes'] / 1e6:.0f} MB peak"])
    return table(["memory", "of the process"], rows) if rows else ""


def busy(results: Results) -> str:
    """Seconds of an epoch beside a busy process, for the threads that BLAS was set to."""
    rows = [
        [NAMES[case["name"]], *(f"{f['seconds']:.2f} s" for f in case["contestants"].values())]
        for case in results.get("busy", [])
    ]
    if not rows:
        return ""
    threads = results["busy"][0]["contestants"]
    return table(["an epoch beside a busy process", *(f"{t} threads" for t in threads)], rows)


def start(results: Results) -> str:
    """Seconds from the start of the process to accuracies."""
    rows = [
        [f"`purenet train` to {goal} test accuracy", f"{seconds:.1f} s"]
        for case in results.get("start", [])
        for goal, seconds in case["to"].items()
    ]
    return table(["from process start", "median of seeds"], rows) if rows else ""


def contest_of(results: Results, key: str) -> dict[str, dict[str, Any]]:
    return results[key][0]["contestants"] if key in results else {}


def conditions(machine: Mapping[str, Any]) -> str:
    """Say where it was measured."""
    if not machine:
        return ""
    versions = {"Python": machine["python_version"], **machine["versions"]}
    parts = [f"{machine['brand_raw']}, {machine['count']} cores"]
    parts += [", ".join(f"{name} {version}" for name, version in versions.items())]
    for pool in machine["pools"]:
        threads = _threads(pool["num_threads"])
        parts.append(
            f"{pool['internal_api']} {pool['version']} ({pool['architecture']}, {threads})"
        )
    spread = "Medians of rounds that take turns; ratios are medians of each round's, ± half their"
    return f"{spread} interquartile range. {'; '.join(parts)}.\n"
