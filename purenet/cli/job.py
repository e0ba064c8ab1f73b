"""What `purenet train` does between options and table: settings, figures and checkpoints."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import purenet
from purenet import REPORT, Config, DivergenceError, Evaluation, State
from purenet.cli.folder import Earlier, RunFolder
from purenet.files import checkpoints, datasets
from purenet.files.datasets import Examples
from purenet.params import Params, sizes
from purenet.training import Epoch

__all__ = ["DTYPES", "PRESETS", "Job", "prepare_job", "run_job"]

PRESETS: dict[str, dict[str, Any]] = {
    "default": {"init_scale": "he", **asdict(Config())},
    "report": {"init_scale": 0.01, **asdict(REPORT)},
}
DTYPES = ("float32", "float64")
SETTINGS: dict[str, Any] = {"data": "mnist", "layers": None, "dtype": "float32"}
SETTINGS |= PRESETS["default"]
PACE = 1000  # the most steps between two looks at clock and signals
MAY_CHANGE = {"data", "epochs"}  # data may lie elsewhere; a fingerprint tells whether they are it


class Job(NamedTuple):
    """What is to be trained, on what, and from where.

    Parameters
    ----------
    settings : dict
        What config.json holds.
    cfg : Config
        Hyperparameters.
    data, test : (array, array)
        Examples and labels.
    fingerprint : str
        Of both.
    params : dict of array
        Parameters to start from.
    state : State or None
        The state that belongs to them, of a run that goes on.
    """

    settings: dict[str, Any]
    cfg: Config
    data: Examples
    test: Examples
    fingerprint: str
    params: Params
    state: State | None


def prepare_job(folder: Path, given: dict[str, Any], earlier: Earlier | None) -> Job:
    """Make a job of options, and of what an earlier process of the run has left.

    Parameters
    ----------
    folder : Path
        That of the run, for messages.
    given : dict
        The options that were given; other keys are left alone.
    earlier : Earlier or None
        Where to go on, or None for a new run.

    Returns
    -------
    Job
        Options not given are those of the earlier process, of the preset, or the defaults.

    Raises
    ------
    ValueError
        Bad options or data; other data, network or hyperparameters than those of a run to go on.
    OSError
        Data that cannot be read.
    """
    settings = dict(SETTINGS) if earlier is None else _settings(folder, earlier.settings)
    truth, saved = dict(settings), earlier.saved if earlier else None
    if saved:
        truth |= asdict(saved.cfg)
        truth |= {"layers": sizes(saved.params), "dtype": str(saved.params["W1"].dtype)}
    if "preset" in given:
        kept = {"epochs": settings["epochs"]} if earlier else {}
        settings |= PRESETS[given["preset"]] | kept
    settings |= {name: given[name] for name in SETTINGS if name in given}
    for name in truth.keys() - MAY_CHANGE if earlier else ():
        if settings[name] != truth[name]:
            raise ValueError(
                f"{folder} is a run with {name} {truth[name]}, which cannot become "
                f"{settings[name]}: only epochs may change when a run goes on"
            )

    data, test = datasets.load(settings["data"])
    fingerprint = checkpoints.fingerprint(*data, *test)
    if saved and saved.fingerprint != fingerprint:
        raise ValueError(
            f"{settings['data']} is not the data of {folder}: it is {fingerprint}, "
            f"the run is on {saved.fingerprint}"
        )
    classes = 1 + max(int(y.max()) for _, y in (data, test))
    settings["layers"] = settings["layers"] or [data[0].shape[1], 200, 50, classes]
    cfg = Config(**{field.name: settings[field.name] for field in fields(Config)})
    versions = {"purenet": purenet.__version__, "numpy": np.__version__}
    settings = versions | {
        name: settings[name] for name in ("data", "layers", "init_scale", "dtype")
    }
    settings |= asdict(cfg)
    if saved:
        return Job(settings, cfg, data, test, fingerprint, saved.params, saved.state)
    params = purenet.init(
        settings["layers"], seed=cfg.seed, scale=settings["init_scale"], dtype=settings["dtype"]
    )
    return Job(settings, cfg, data, test, fingerprint, params, None)


def _settings(folder: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that config.json holds, refusing what no run has written."""
    types = {"data": str, "layers": list, "dtype": str}
    for name in SETTINGS:
        if name not in found or not isinstance(found[name], types.get(name, object)):
            raise ValueError(f"{folder}/config.json is not that of a run: look at its {name!r}")
    if found["dtype"] not in DTYPES:
        raise ValueError(f"{folder}/config.json is not that of a run: look at its 'dtype'")
    return {name: found[name] for name in SETTINGS}


def run_job(job: Job, run: RunFolder, every: int, unit: str) -> Iterator[dict[str, float] | None]:
    """Train, write figures and checkpoints, and return often, so that the caller may stop.

    Parameters
    ----------
    job : Job
        What to train.
    run : RunFolder
        Where figures and checkpoints go.
    every : int
        How many units apart checkpoints are; there is one after the first epoch in any case.
    unit : {"epochs", "steps", "s"}
        Epochs, steps, or seconds.

    Returns
    -------
    iterator of dict or None
        The figures of an epoch; None inside epochs, about ten times a second if steps are short.

    Raises
    ------
    ValueError
        Data that do not fit the network, before the first epoch.
    ArithmeticError
        Training, or the test loss, stopped being finite; the state before it is noted for the run.
    """
    # A look at clock and signals costs a copy of the parameters: one for 10¹⁰ operations.
    size = job.cfg.batch_size or len(job.data[0])
    operations = 6 * size * sum(p.size for p in job.params.values())
    steps = max(1, min(PACE, 10**10 // operations, every if unit == "steps" else PACE))
    records = purenet.epochs(job.params, job.data, job.cfg, state=job.state, record_every=steps)
    _evaluate(job, job.params)  # refuse bad test data now, not after an epoch
    run.settings = job.settings
    return _train(job, run, records, every, unit)


def _train(
    job: Job, run: RunFolder, records: Iterator[Epoch], every: int, unit: str
) -> Iterator[dict[str, float] | None]:
    n, size = len(job.data[0]), job.cfg.batch_size or len(job.data[0])

    def now(state: State) -> float:
        if unit == "s":
            return time.monotonic()
        return state.epochs if unit == "epochs" else state.epochs * -(-n // size) + state.steps

    start = job.state or State({}, 0)
    saved_at, first = now(start), job.state is None
    try:
        for record, figures in _measured(job, records, start.steps * size):
            if figures is not None:
                run.add(figures)
            run.keep(record.params, job.cfg, record.state, job.fingerprint)
            mark = now(record.state)
            if mark - saved_at >= every or (first and figures is not None):
                run.save()
                saved_at, first = mark, False
            yield figures
    except DivergenceError as error:
        if error.state.epochs or error.state.steps:
            run.keep(error.params, job.cfg, error.state, job.fingerprint)
        raise


def _measured(
    job: Job, records: Iterator[Epoch], done: int
) -> Iterator[tuple[Epoch, dict[str, float] | None]]:
    """Time each epoch, of whose first so many examples are done, and test it at its end."""
    n, seconds = len(job.data[0]), 0.0
    started = time.perf_counter()
    for record in records:
        seconds += time.perf_counter() - started
        if record.state.steps:
            yield record, None
        else:
            loss, accuracy = _evaluate(job, record.params)
            if not math.isfinite(loss):
                raise ArithmeticError(
                    f"the test loss stopped being finite in epoch {record.epoch}; "
                    "a smaller learning rate or input scale may help"
                )
            yield (
                record,
                {
                    "epoch": record.epoch,
                    "loss": record.loss,
                    "test_loss": loss,
                    "test_accuracy": accuracy,
                    "seconds": round(seconds, 4),
                    "samples_per_second": round((n - done) / seconds, 1),
                },
            )
            seconds, done = 0.0, 0
        started = time.perf_counter()


def _evaluate(job: Job, params: Params) -> Evaluation:
    return purenet.evaluate(params, job.test, l2=job.cfg.l2, input_scale=job.cfg.input_scale)
