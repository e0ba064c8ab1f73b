"""Tables of what the sections have measured, and the text beside the figures."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Figure(NamedTuple):
    """What stands beside a figure."""

    alt: str
    caption: str
    sections: str


NAMES = {
    "products": "matrix products alone",
    "train": "**purenet.train**",
    "train_numpy": "purenet.train without the extra `fast`",
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
FIGURES = {
    "peers": Figure(
        "Bars for each library: its time as a multiple of that of purenet.train",
        "Training time by each library, relative to purenet.train",
        "mini-batch full-batch floor",
    ),
    "batch-sizes": Figure(
        "Curves over the batch size: microseconds for each update and for each example",
        "Cost of an update and of an example, by batch size",
        "step",
    ),
    "accuracies": Figure(
        "Curves over the batch size: seconds of training to 90, 97 and 98 % test accuracy",
        "Training time to a test accuracy, by batch size",
        "accuracy",
    ),
    "sizes": Figure(
        "Lines over the number of parameters: milliseconds for a step of wide and of deep networks",
        "Cost of a step by size, with fitted exponents; deep networks have layers of 256 units",
        "scaling",
    ),
}
FOLDER = "figures/performance"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
Results = dict[str, list[dict[str, Any]]]  # the cases of each section


def write(
    machine: Mapping[str, Any], results: Results, output: Path, figures: Iterable[str]
) -> None:
    """Write table.md, with the figures that were drawn, and results.json."""
    figures = set(figures)
    parts: list[str] = []
    for make, shown in (
        (_peers_table, ["peers"]),
        (_floor_table, []),
        (_busy_table, []),
        (_batch_size_table, ["batch-sizes", "accuracies"]),
        (_scaling_table, ["sizes"]),
        (_memory_table, []),
        (_start_table, []),
    ):
        parts += [_figure(name) for name in shown if name in figures]
        parts.append(make(results))
    text = "\n".join([*filter(None, parts), _conditions(machine)])
    (output / "table.md").write_text(text, encoding="utf-8")
    content = {"machine": machine, "sections": results}
    (output / "results.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def publish(output: Path, docs: Path) -> None:
    """Put the tables between the marks in docs/performance.md, and copy the figures to docs."""
    measured = (output / "table.md").read_text(encoding="utf-8")
    put_between(docs / "performance.md", BEGIN, measured, END)
    shutil.copytree(output / FOLDER, docs / FOLDER, dirs_exist_ok=True)


def put_between(page: Path, begin: str, text: str, end: str) -> None:
    """Replace what stands between two marks of a page."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    text = f"{before}{begin}\n\n{text}\n{end}{after}"
    page.write_text(text, encoding="utf-8", newline="\n")


def load(output: Path) -> tuple[dict[str, Any], Results]:
    """Return what pytest-benchmark recorded of the machine and of each section."""
    machine: dict[str, Any] = {}
    results: Results = {}
    for path in sorted(output.glob("*.json")):
        if path.name != "results.json":
            recorded = json.loads(path.read_text(encoding="utf-8"))
            info = recorded["machine_info"]
            machine = {key: info[key] for key in ("versions", "pools")}
            machine |= {key: info["cpu"][key] for key in ("brand_raw", "count")}
            results[path.stem] = [
                {
                    "test": case["name"].split("[")[0],
                    **(case["params"] or {}),
                    "seconds": case["stats"]["median"],
                    "seconds IQR": case["stats"]["iqr"],
                    "rounds": case["stats"]["rounds"],
                    **case["extra_info"],
                }
                for case in recorded["benchmarks"]
            ]
    return machine, results


def _figure(name: str) -> str:
    """Return a figure in Markdown, with the command that measures and draws it."""
    alt, caption, sections = FIGURES[name]
    command = f"`python -m benchmarks {sections} --docs`"
    return f"![{alt}]({FOLDER}/{name}.svg)\n\n*{caption}. {command}*\n"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table. Columns after the first are aligned to the right."""
    header = list(header)
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _peers_table(results: Results) -> str:
    """Return the seconds of each contestant and their ratio to those of purenet.train."""
    contests = {key: results[key][0]["contestants"] for key in CONTESTS if key in results}
    present = [name for name in NAMES if any(name in contest for contest in contests.values())]

    def cell(figures: Mapping[str, float] | None) -> str:
        if figures is None:
            return ""
        spread = f" ± {figures['ratio IQR'] / 2:.2f}" if figures["ratio IQR"] else ""
        return f"{figures['seconds']:.3f} s, {figures['ratio']:.2f}{spread} ×"

    rows = [[NAMES[n], *(cell(contest.get(n)) for contest in contests.values())] for n in present]
    return table(["training by", *(CONTESTS[key] for key in contests)], rows) if contests else ""


def _floor_table(results: Results) -> str:
    """Return the speed of `train`, of its matrix products alone and of one large product."""
    rows = []
    for case in results.get("floor", []):
        figures = case["contestants"]
        row = [f"{case['batch_size'] or 'full'}, {case['dtype']}, {_threads(case['threads'])}"]
        row += [f"{figures['products']['seconds']:.3f} s"]
        for name in ("train", "train_numpy"):
            seconds, ratio, spread = (figures[name][k] for k in ("seconds", "ratio", "ratio IQR"))
            row.append(f"{seconds:.3f} s, {ratio:.2f} ± {spread / 2:.2f} ×")
        rows.append(row + [f"{figures[n]['GFLOP/s']:.0f}" for n in ("train", "products", "gemm")])
    header = ["batch", "products alone", "purenet.train", "without the extra"]
    header += ["GFLOP/s of purenet.train", "of the products", "of a 4096³ product"]
    return table(header, rows) if rows else ""


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _batch_size_table(results: Results) -> str:
    """Return, for each batch size, the cost of a step and the time to each test accuracy."""
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
                    row.append(f"{epochs:.1f} epochs, {seconds:.2f} s")
                else:
                    row.append(f"not in {run['epochs']:.1f} epochs, {run['seconds']:.0f} s")
        else:
            row += [""] * 4
        rows.append(row)
    header = ["batch"]
    for dtype in ("float32", "float64"):
        header += [f"ms per step, {dtype}", "µs per example"]
    header += ["learning rate", "training to 90 % test accuracy", "to 97 %", "to 98 %"]
    return table(header, rows) if rows else ""


def families(results: Results) -> dict[str, NDArray[Any]]:
    """Return, for each quantity that grows, its values, the seconds and the parameters."""
    points: dict[str, list[tuple[int, float, int]]] = {}
    for case in results.get("scaling", []):
        kind, value = case["case"].split()
        points.setdefault(kind, []).append((int(value), case["seconds"], case["parameters"]))
    return {kind: np.array(rows, float).T for kind, rows in points.items()}


def exponent(x: ArrayLike, y: ArrayLike) -> float:
    """Fit y ∝ x^k by least squares on the logarithms, and return k."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _scaling_table(results: Results) -> str:
    """Return how the cost grows with each quantity, and the fitted exponent."""
    growing = families(results)
    if "width" in growing:
        _, seconds, parameters = growing["width"]
        growing["parameters, by width"] = np.array([parameters, seconds, parameters])
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


def _memory_table(results: Results) -> str:
    """Return what a step allocates, and the memory of whole processes."""
    rows = []
    for case in results.get("memory", []):
        if "peak bytes" in case and "order" not in case:
            what = f"a step after warm-up, batch {case['batch_size'] or 'full'}, {case['dtype']}"
            rows.append([what, f"{case['peak bytes']:,} bytes at the peak"])
        elif "order" in case:
            what = f"training on {case['GB']:.0f} GB of pixels in a file, {case['order']} order"
            rows.append([what, f"{case['anonymous bytes'] / 1e6:.0f} MB anonymous"])
    for name, figures in contest_of(results, "mini-batch").items():
        if name in NAMES:
            rows.append([f"{NAMES[name]}, MNIST", f"{figures['peak bytes'] / 1e6:.0f} MB peak"])
    return table(["what", "memory"], rows) if rows else ""


def _busy_table(results: Results) -> str:
    """Return the seconds of an epoch beside a busy process, for each number of BLAS threads."""
    rows = [
        [NAMES[case["name"]], *(f"{f['seconds']:.2f} s" for f in case["contestants"].values())]
        for case in results.get("busy", [])
    ]
    if not rows:
        return ""
    threads = results["busy"][0]["contestants"]
    return table(["an epoch beside a busy process", *(_threads(int(t)) for t in threads)], rows)


def _start_table(results: Results) -> str:
    """Return the seconds from the start of a process to each test accuracy."""
    rows = [
        [f"`purenet train` to {goal} test accuracy", f"{seconds:.1f} s"]
        for case in results.get("start", [])
        for goal, seconds in case["to"].items()
    ]
    return table(["from the start of the process", "median over seeds"], rows) if rows else ""


def contest_of(results: Results, key: str) -> dict[str, dict[str, Any]]:
    """Return the figures of each contestant in a section, or nothing if it has not been run."""
    return results[key][0]["contestants"] if key in results else {}


def _conditions(machine: Mapping[str, Any]) -> str:
    """Say how and on which machine the figures were measured."""
    if not machine:
        return ""
    parts = [f"{machine['brand_raw']}, {machine['count']} cores"]
    parts += [", ".join(f"{name} {version}" for name, version in machine["versions"].items())]
    for pool in machine["pools"]:
        threads = _threads(pool["num_threads"])
        parts.append(
            f"{pool['internal_api']} {pool['version']} ({pool['architecture']}, {threads})"
        )
    method = (
        "Contestants take turns. Times are medians over the rounds. Ratios are medians of the "
        "ratios within each round, ± half their interquartile range."
    )
    return f"{method} {'; '.join(parts)}.\n"
