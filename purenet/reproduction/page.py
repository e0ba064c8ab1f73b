"""The page: what was found, in sentences computed from the results, in one file."""

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from purenet.reproduction import hypothesis
from purenet.reproduction.experiments import AMBIGUITIES, INIT_SCALE, SIZES

__all__ = ["findings", "render"]

CLOSE = 0.1  # losses within 10 % agree
THIN = "\u202f"  # a narrow space that does not break
SPIKE = 2  # times the loss of the epoch before
GOAL = 0.95  # test accuracy whose time is compared between batch sizes


def render(results: dict[str, Any], pictures: dict[str, str], folder: Path) -> str:
    """Write the page as one HTML document that loads nothing.

    Parameters
    ----------
    results : dict
        What results.json holds.
    pictures : dict of str
        File names of the figures.
    folder : Path
        Where they are.

    Returns
    -------
    str
        HTML.
    """
    env = Environment(
        loader=PackageLoader("purenet.reproduction", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"fixed": _fixed, "percent": _percent, "seconds": _seconds, "signed": _signed}
    images = {
        name: "data:image/png;base64," + base64.b64encode((folder / file).read_bytes()).decode()
        for name, file in pictures.items()
    }
    return env.get_template("page.html.j2").render(
        **results,
        found=findings(results),
        images=images,
        ambiguities=AMBIGUITIES,
        sizes=SIZES,
        init_scale=INIT_SCALE,
    )


def findings(results: dict[str, Any]) -> dict[str, Any]:
    """Compute what the page says.

    Parameters
    ----------
    results : dict
        What results.json holds.

    Returns
    -------
    dict
        ``experiments``, ``explanation``, ``batches``, ``momentum``, ``noise``: the numbers and
        judgements of each section.
    """
    return {
        "experiments": [_experiment(e) for e in results["experiments"]],
        "explanation": _explanation(results),
        "batches": _batches(results["batches"]),
        "momentum": _momentum(results["momenta"], results["plan"]["seeds"]),
        "noise": [_noise(moment) for moment in results["noise"]],
    }


def _experiment(e: dict[str, Any]) -> dict[str, Any]:
    ratios = {k: e["typical"][int(k)] / e["printed"]["losses"][k] for k in e["losses"]}
    raced = e["race"]["seconds"]
    own = next(name for name in raced if name != "plain")
    total = {name: sum(seconds) for name, seconds in raced.items()}
    per_epoch = {name: t / len(raced[name]) for name, t in total.items()}
    plain, double = e["race"]["losses"]["plain"], e["race"]["losses"]["float64"]
    spikes = [
        (run["seed"], k)
        for run in e["runs"]
        for k in range(1, len(run["losses"]))
        if run["losses"][k] > SPIKE * run["losses"][k - 1]
    ]
    return {
        "spikes": spikes,
        "ratios": ratios,
        "agrees": all(abs(ratio - 1) <= CLOSE for ratio in ratios.values()),
        "compared": len(ratios),
        "off": [k for k, ratio in ratios.items() if abs(ratio - 1) > CLOSE],
        "largest": max(abs(ratio - 1) for ratio in ratios.values()),
        "own": own,
        "share": {name: t / total["plain"] for name, t in total.items() if name != "plain"},
        "whole": {name: t * e["asked"] for name, t in per_epoch.items()},
        "difference": max(abs(a / b - 1) for a, b in zip(plain, double, strict=True)),
    }


def _explanation(results: dict[str, Any]) -> dict[str, Any]:
    """Weigh the divisor, which fits nothing, against the subset, which fits num and η."""
    rows = [row for row in results["divisor"] if not row["changes"]]
    joint, images = results["subset"]["joint"], results["train_images"]
    misfit = math.sqrt(sum(row["misfit"] ** 2 for row in rows) / len(rows))
    pass_of = [e["printed"]["seconds"] / e["asked"] for e in results["experiments"]]
    third = results["experiments"][2]
    printed = [third["printed"]["losses"][k] for k in third["losses"]]
    penalty = {
        name: hypothesis.misfit((loss["mean"] for loss in third[name].values()), printed)
        for name in ("losses", "without_penalty")
    }
    return {
        "rows": rows,
        "better": [
            (row, variant)
            for row in rows
            for variant in results["divisor"]
            if variant["changes"]
            and variant["experiment"] == row["experiment"]
            and variant["epochs"] == row["epochs"]
            and variant["misfit"] < row["misfit"]
        ],
        "penalty": penalty,
        "misfit": misfit,
        "divisor_wins": misfit < joint["misfit"],
        "explains": misfit < CLOSE,
        "accuracy_off": max(
            abs(e["test_accuracy"]["mean"] - e["printed"]["accuracy"])
            for e in results["experiments"][:2]
        ),
        "subset_accuracy_off": max(
            abs(b["test_accuracy"]["mean"] - e["printed"]["accuracy"])
            for b, e in zip(joint["experiments"], results["experiments"], strict=False)
        ),
        "per_pass": pass_of,
        # Printed time an image of experiment 2, were it a subset, over that of experiment 3.
        "slower": pass_of[1] / joint["num"] * images / pass_of[2],
    }


def _batches(batches: list[dict[str, Any]]) -> dict[str, Any]:
    rows = []
    for b in batches:
        whole = [p for p in b["points"] if p["accuracy"] is not None]
        there = next((p for p in whole if p["accuracy"] >= GOAL), None)
        rows.append({**b, "last": whole[-1] if whole else None, "there": there})
    reached = [row for row in rows if row["there"]]
    return {
        "goal": GOAL,
        "rows": rows,
        "fastest": min(reached, key=lambda row: row["there"]["seconds"], default=None),
        "fewest": min(reached, key=lambda row: row["there"]["updates"], default=None),
    }


def _momentum(momenta: list[dict[str, Any]], seeds: int) -> dict[str, Any]:
    without = next(m for m in momenta if m["momentum"] == 0)
    best = min((m for m in momenta if m["momentum"]), key=lambda m: float(m["last_loss"]["mean"]))
    rows = []
    for m in momenta:
        stable = [float(rate) for rate, loss in m["losses"].items() if loss and loss < 1]
        rows.append({**m, "stable": max(stable, default=None)})
    judged = {
        name: _compare(best[name], without[name], seeds, better)
        for name, better in (("first_loss", -1), ("last_loss", -1), ("test_accuracy", 1))
    }
    return {"without": without, "best": best, "judged": judged, "rows": rows}


def _compare(a: dict[str, float], b: dict[str, float], seeds: int, better: int) -> dict[str, Any]:
    """Say whether a is better or worse than b by more than twice the standard error."""
    difference = a["mean"] - b["mean"]
    if a["spread"] is None:
        return {"difference": difference, "error": None, "verdict": "unknown"}
    error = math.sqrt((a["spread"] ** 2 + b["spread"] ** 2) / seeds)
    verdict = "the same"
    if abs(difference) > 2 * error:
        verdict = "better" if difference * better > 0 else "worse"
    return {"difference": difference, "error": error, "verdict": verdict}


def _noise(m: dict[str, Any]) -> dict[str, Any]:
    n, N = np.array(m["sizes"], float), m["images"]
    corrected = np.array(m["variances"]) * (N - 1) / (N - n)
    slope = np.polyfit(np.log(n), np.log(corrected), 1)[0]
    ratios = corrected * n / m["trace"]
    return {
        "epochs": m["epochs"],
        "slope": float(slope),
        "off": float(np.abs(ratios - 1).max()),
        "trace": m["trace"],
        "scale": m["trace"] / m["gradient"],
    }


def _fixed(value: Any, digits: int = 4) -> str:
    if isinstance(value, dict):
        mean, spread = _fixed(value["mean"], digits), value["spread"]
        return mean if spread is None else f"{mean} ± {_fixed(spread, digits)}"
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _percent(value: Any, digits: int = 2) -> str:
    if isinstance(value, dict):
        scaled = {k: None if v is None else 100 * v for k, v in value.items()}
        return f"{_fixed(scaled, digits)}{THIN}%"
    return "–" if value is None else f"{100 * value:.{digits}f}{THIN}%"


def _seconds(value: Any) -> str:
    if isinstance(value, dict):
        spread = value["spread"]
        return _seconds(value["mean"]) + ("" if spread is None else f" ± {spread:.2g}{THIN}s")
    return f"{value:.3g}{THIN}s"
