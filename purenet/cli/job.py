"""Prepare and run the job of ``purenet train``, and save its figures and checkpoints."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import purenet
from purenet import REPORT, Config, DivergenceError, Evaluation, State
from purenet.cli.backends import Backend
from purenet.cli.folder import RunFolder, SavedRun, read_settings
from purenet.files import checkpoints, datasets
from purenet.files.datasets import LabelledImages
from purenet.params import Params, fingerprint, sizes
from purenet.training import Epoch

__all__ = ["DTYPES", "PRESETS", "Job", "prepare_job", "run_job"]

DTYPES = ("float32", "float64")
PRESETS: dict[str, dict[str, Any]] = {
    "default": {"init_scale": "he", **asdict(Config())},
    "report": {"init_scale": 0.01, **asdict(REPORT)},
}
DEFAULTS = {"data": "mnist", "layers": None, "dtype": "float32", **PRESETS["default"]}
MAY_CHANGE = {"data", "epochs"}  # the data may have moved: their fingerprint is compared instead
PACE = 1000  # most steps between two records, after each of which the caller checks for signals


class Job(NamedTuple):
    """Hold what is trained, on which data, and from which state.

    Parameters
    ----------
    settings : dict
        Content of config.json.
    cfg : Config
        Hyperparameters.
    data, test : (array, array)
        Images and labels for training and for testing.
    fingerprint : str
        Fingerprint of `data` and `test`.
    params : dict of array
        Parameters from which training starts.
    state : State or None
        The state that belongs to `params`, or None for a new run.
    classes : list of str or None
        The names of the classes, if the data have names.
    """

    settings: dict[str, Any]
    cfg: Config
    data: LabelledImages
    test: LabelledImages
    fingerprint: str
    params: Params
    state: State | None
    classes: list[str] | None


def prepare_job(
    folder: Path, options: dict[str, Any], saved_run: SavedRun | None, backend: Backend
) -> Job:
    """Make a job from the options and, for a resumed run, from its settings and checkpoint.

    Parameters
    ----------
    folder : Path
        The folder of the run, for messages.
    options : dict
        The options that the user gave. Keys that are not settings are ignored.
    saved_run : SavedRun or None
        The run to resume, or None for a new run.
    backend : Backend
        Where the job will run.

    Returns
    -------
    Job
        Settings that `options` lacks come from its preset, the saved run, the run that `from`
        names, or the defaults.

    Raises
    ------
    ValueError
        Bad options or data. For a resumed run also other data, another network, or other
        hyperparameters.
    OSError
        Data that cannot be read.
    """
    settings = _merge_settings(folder, options, saved_run)
    checkpoint = saved_run.checkpoint if saved_run else None

    data, test = datasets.load(settings["data"])
    found = fingerprint(*data, *test)
    if checkpoint and checkpoint.fingerprint != found:
        raise ValueError(
            f"{settings['data']} is not the data of {folder}: it is {found}, "
            f"the run is on {checkpoint.fingerprint}"
        )
    classes = datasets.class_names(settings["data"]) or (checkpoint and checkpoint.classes)
    labels = max(1 + int(y.max()) for _, y in (data, test))
    if classes:  # a mapping of EMNIST may lack labels
        classes += ["?"] * (labels - len(classes))
        labels = len(classes)
    layers = settings["layers"] or [data[0].shape[1], 200, 50, labels]
    if classes and layers[-1] != len(classes):
        raise ValueError(
            f"layers must end with {len(classes)}, the number of classes of {settings['data']}, "
            f"got {layers[-1]}"
        )
    cfg = Config(**{field.name: settings[field.name] for field in fields(Config)})
    dtype, scale, source = settings["dtype"], settings["init_scale"], settings.get("from")
    if checkpoint:
        params, state = checkpoint.params, checkpoint.state
    elif source:
        params, state = _trained_params(source, layers, dtype), None
    else:
        params, state = purenet.init(layers, seed=cfg.seed, scale=scale, dtype=dtype), None
    settings = {
        "purenet": purenet.__version__,
        "numpy": np.__version__,
        "data": settings["data"],
        "layers": layers,
        "init_scale": scale,
        "dtype": dtype,
        **asdict(cfg),
        **({"from": source} if source else {}),
    }
    if state is not None:
        state = state._replace(velocity=backend.place(state.velocity))
    return Job(settings, cfg, data, test, found, backend.place(params), state, classes)


def _merge_settings(
    folder: Path, options: dict[str, Any], saved_run: SavedRun | None
) -> dict[str, Any]:
    """Return the settings of a job, refusing options that would change a saved run."""
    chosen = {name: options[name] for name in DEFAULTS if name in options}
    preset = PRESETS[options["preset"]] if "preset" in options else {}
    if saved_run is None and options.get("from"):
        if "init_scale" in chosen:
            raise ValueError("--init-scale cannot be combined with --from: the weights are trained")
        earlier = _settings_of(options["from"])
        return DEFAULTS | earlier | preset | chosen | {"init_scale": None}
    if saved_run is None:
        return DEFAULTS | preset | chosen
    saved = _saved_settings(folder, saved_run.settings)
    settings = saved | preset | {"epochs": saved["epochs"]} | chosen
    if saved_run.checkpoint:  # its values take precedence over config.json
        params, cfg, *_ = saved_run.checkpoint
        saved |= {"layers": sizes(params), "dtype": str(params["W1"].dtype), **asdict(cfg)}
    for name in DEFAULTS:
        if name not in MAY_CHANGE and settings[name] != saved[name]:
            raise ValueError(
                f"{folder} is a run with {name} {saved[name]}, which cannot become "
                f"{settings[name]}: only epochs may change when a run goes on"
            )
    return settings


def _saved_settings(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return the settings in config.json, refusing those that no run has written."""
    types = {"data": str, "layers": list, "from": str}
    saved = {"from": ""} | content
    for name in (*DEFAULTS, "from"):
        valid = name in saved and isinstance(saved[name], types.get(name, object))
        if not valid or (name == "dtype" and saved[name] not in DTYPES):
            raise ValueError(
                f"{folder}/config.json does not belong to a run: it has no valid {name!r}"
            )
    return {name: content[name] for name in (*DEFAULTS, "from") if name in content}


def _settings_of(source: Path) -> dict[str, Any]:
    """Return the settings of a trained network, the folder of a run or a model file."""
    params, cfg, *_ = checkpoints.load(source)
    data = (
        {"data": _saved_settings(source, read_settings(source))["data"]} if source.is_dir() else {}
    )
    dtype = str(params["W1"].dtype)
    return {"from": str(source), "layers": sizes(params), "dtype": dtype, **asdict(cfg), **data}


def _trained_params(source: str, layers: list[int], dtype: str) -> Params:
    """Return the parameters of a trained network, which must have these layers."""
    params = checkpoints.load(source).params
    if layers != sizes(params):
        ours, theirs = ("-".join(map(str, units)) for units in (layers, sizes(params)))
        raise ValueError(f"{source} is a network of {theirs}, which cannot become {ours}")
    return {name: p.astype(dtype) for name, p in params.items()}


def run_job(
    job: Job, run: RunFolder, every: int, unit: str, *, comm: Any = None
) -> Iterator[dict[str, float] | None]:
    """Train, save figures and checkpoints, and yield often so that the caller can stop.

    Parameters
    ----------
    job : Job
        What is trained.
    run : RunFolder
        Where figures and checkpoints are saved.
    every : int
        Interval between checkpoints. A new run also saves one after its first epoch.
    unit : {"epochs", "steps", "s"}
        Unit of `every`: epochs, steps or seconds.
    comm : mpi4py.MPI.Intracomm, optional
        As for `purenet.epochs`.

    Returns
    -------
    iterator of dict or None
        The figures after each epoch. None inside an epoch, about ten times a second if steps are
        short.

    Raises
    ------
    ValueError
        Data that do not fit the network, before the first epoch.
    ArithmeticError
        Training, or the test loss, stopped being finite. The state before that is staged in `run`.
    """
    # A record costs a copy of the parameters. 10¹⁰ operations between two records keep that cheap.
    size = job.cfg.batch_size or len(job.data[0])
    operations = 6 * size * sum(p.size for p in job.params.values())
    steps = max(1, min(PACE, 10**10 // operations))
    if unit == "steps":  # a checkpoint is saved at a record
        steps = every // math.ceil(every / steps)
    records = purenet.epochs(
        job.params, job.data, job.cfg, state=job.state, record_every=steps, comm=comm
    )
    _evaluate_test_data(job, job.params)  # refuse bad test data now, not after an epoch
    run.settings = job.settings
    return _train_and_save(job, run, records, every, unit)


def _train_and_save(
    job: Job, run: RunFolder, records: Iterator[Epoch], every: int, unit: str
) -> Iterator[dict[str, float] | None]:
    n, size = len(job.data[0]), job.cfg.batch_size or len(job.data[0])
    steps_per_epoch = math.ceil(n / size)

    def position(state: State) -> float:
        """Return how far the run is, in the unit of `every`."""
        if unit == "s":
            return time.monotonic()
        return state.epochs if unit == "epochs" else state.epochs * steps_per_epoch + state.steps

    about = {"fingerprint": job.fingerprint, "classes": job.classes}
    start = job.state or State({}, 0)
    saved_at, nothing_saved = position(start), job.state is None
    try:
        for record, figures in _with_figures(job, records, start.steps * size):
            if figures is not None:
                run.add(figures)
            run.stage(record.params, job.cfg, state=record.state, **about)
            here = position(record.state)
            if here - saved_at >= every or (nothing_saved and figures is not None):
                run.save()
                saved_at, nothing_saved = here, False
            yield figures
    except DivergenceError as error:
        if error.state.epochs or error.state.steps:
            run.stage(error.params, job.cfg, state=error.state, **about)
        raise


def _with_figures(
    job: Job, records: Iterator[Epoch], examples_done: int
) -> Iterator[tuple[Epoch, dict[str, float] | None]]:
    """Yield each record, and with the last record of an epoch the figures of the epoch.

    Times count training alone, not testing. An earlier process trained the first `examples_done`
    examples of the first epoch.
    """
    n, seconds = len(job.data[0]), 0.0
    started = time.perf_counter()
    for record in records:
        seconds += time.perf_counter() - started
        if record.state.steps:
            yield record, None
        else:
            loss, accuracy = _evaluate_test_data(job, record.params)
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
                    "samples_per_second": round((n - examples_done) / seconds, 1),
                },
            )
            seconds, examples_done = 0.0, 0
        started = time.perf_counter()


def _evaluate_test_data(job: Job, params: Params) -> Evaluation:
    return purenet.evaluate(params, job.test, l2=job.cfg.l2, input_scale=job.cfg.input_scale)
