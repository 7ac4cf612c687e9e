"""What ``gnp-run`` does, as calls: from files to a folder with metrics, checkpoints and a report."""

from __future__ import annotations

import html
import importlib.util
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from . import _gnp
from ._installed import prefer_installed
from ._optional import require
from ._paths import as_path
from ._words import in_python
from .errors import GnpError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import RunOptions, SweepOptions

_LOGGER = logging.getLogger("gnp")

Config = Union[str, "os.PathLike[str]", Mapping[str, Any]]
"""A configuration: a TOML file as ``gnp-run --config`` takes it, or what would stand in one."""


def run(
    config: Config | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    progress: bool | None = None,
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
    **options: Unpack[RunOptions],
) -> Run:
    """Trains a model on data from files, as ``gnp-run`` does.

    Ctrl-C ends it after the step under way, with a checkpoint that ``resume=True`` goes on from; KeyboardInterrupt is
    then raised.

    Args:
        config: A configuration.
        resume: Go on with the run in the output folder.
        force: Replace the run in the output folder.
        progress: Whether to show a bar, which needs the package ``tqdm``; where it is not said, in terminals and
            notebooks.
        on_epoch: Called with what each epoch came to. What it raises ends the run.
        **options: What ``gnp-run`` has as flags: ``model``, ``data``, ``epochs``, ``loss``, ``lr``, ``out``, …, which
            take precedence over the configuration.

    Returns:
        The run.

    Raises:
        GnpError: Where the run cannot be begun or gone on with.
    """
    prefer_installed()
    file, given = _configured(config, dict(options))
    with _Told(progress, on_epoch) as told:
        folder, outcome = json.loads(_gnp.run_files(file, given, resume, force, told))
    return Run(Path(folder), outcome)


def sweep(
    config: Config | None = None,
    *,
    alpha: float | list[float] | None = None,
    r: float | list[float] | None = None,
    seeds: int | None = None,
    keep_weights: bool | None = None,
    jobs: int | None = None,
    arms: Mapping[str, str] | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    **options: Unpack[SweepOptions],
) -> Sweep:
    """Trains with many values of r and α, and seeds, and compares, as ``gnp-run sweep`` does.

    A sweep whose folder is there goes on. Ctrl-C stops it; the same call goes on from there.

    Args:
        config: What every run has in common.
        alpha: The weights of the perturbed gradient: 0 is plain training, 1 is SAM; 0, 0.2, …, 1 where none are given.
        r: The radii of the perturbation.
        seeds: Runs of each arm; 3 where not given.
        keep_weights: Begin with the model's own weights with every seed.
        jobs: Runs at a time; one a core where not given.
        arms: Other ways of training to compare with: the flags that each differs in, by its name:
            ``{"plain, 2× epochs": "--alpha 0 --epochs 40"}``.
        out: The folder of the sweep.
        progress: As in :func:`run`.
        **options: What each run has, as in :func:`run`.

    Returns:
        The sweep.

    Raises:
        GnpError: Where a run cannot be begun, or fails otherwise than by diverging.
    """
    file, given = _configured(config, dict(options))
    compared: dict[str, Any] = {"alpha": alpha, "r": r, "seeds": seeds, "keep_weights": keep_weights, "jobs": jobs}
    compared["arm"] = [f"{name} = {flags}" for name, flags in (arms or {}).items()] or None
    prefer_installed()
    compared["out"] = None if out is None else as_path(out)
    with _Told(progress, None) as told:
        folder, summary = json.loads(_gnp.sweep_files(file, compared, given, told))
    return Sweep(Path(folder), summary)


@dataclass(frozen=True)
class Run:
    """A run, in its folder. In a notebook it is its report."""

    folder: Path
    """Where its metrics, checkpoints, models and report are."""
    outcome: dict[str, Any]
    """What came of it: ``ended``, the ``last`` and the ``best`` epoch, ``seconds``, ``engine``, ``result``."""

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Run:
        """The run in a folder, which may still be under way.

        Raises:
            GnpError: Where there is none.
        """
        path = Path(folder)
        if not (path / "metrics.jsonl").is_file():
            raise GnpError(f"{path}: there is no run in this folder", kind="io", file=str(path))
        outcome = path / "outcome.json"
        return cls(path, json.loads(outcome.read_text("utf-8")) if outcome.is_file() else {})

    @property
    def model(self) -> Path | None:
        """The trained model: that of the best epoch, where the run keeps the best; the last otherwise."""
        found = [self.folder / name for name in ("best_model.onnx", "model.onnx")]
        return next((file for file in found if file.is_file()), None)

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """What each epoch came to, ready for ``pandas.DataFrame``."""
        return list(self._records("epoch"))

    @property
    def steps(self) -> list[dict[str, Any]]:
        """What each step came to, likewise."""
        return list(self._records("step"))

    @property
    def report(self) -> Path:
        """The page that shows its course."""
        return self.folder / "report.html"

    def _records(self, kind: str) -> Iterator[dict[str, Any]]:
        try:
            lines = (self.folder / "metrics.jsonl").read_text("utf-8").splitlines()
        except OSError as error:
            raise GnpError(f"{self.folder}: cannot read the metrics: {error.strerror}", kind="io") from error
        for line in lines:
            record = json.loads(line)
            if record.pop("kind") == kind:
                yield record

    def _repr_html_(self) -> str:
        return _page(self.report)


@dataclass(frozen=True)
class Sweep:
    """A sweep, in its folder. In a notebook it is a table and its figure."""

    folder: Path
    """Where its runs, the summary and the figure are."""
    summary: dict[str, Any]
    """What it came to: the ``baseline``, and for each of its ``arms`` means with standard errors."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """A record an arm, ready for ``pandas.DataFrame``: means, and standard errors behind ``_se``."""
        return [_flat(arm) for arm in self.summary["arms"]]

    @property
    def runs(self) -> list[Run]:
        """All runs."""
        return [Run.load(file.parent) for file in sorted((self.folder / "runs").rglob("metrics.jsonl"))]

    def _repr_html_(self) -> str:
        names = ["name", "test_error", "difference", "test_loss", "grad_norm"]
        shown = [name for name in names if any(record.get(name) is not None for record in self.records)]
        head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in shown)
        rows = "".join(f"<tr>{''.join(_cell(record, name) for name in shown)}</tr>" for record in self.records)
        figure = self.folder / "figure.svg"
        drawn = figure.read_text("utf-8") if figure.is_file() else ""
        return f"<div><table><tr>{head}</tr>{rows}</table>{drawn}</div>"


def _flat(arm: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {"name": arm["name"]}
    record.update(arm["point"] or {"r": None, "alpha": None})
    for name, value in arm.items():
        if isinstance(value, Mapping) and "mean" in value:
            record[name] = value["mean"]
            record[f"{name}_se"] = value["standard_error"]
    record["failed"] = len(arm["failed"])
    return record


def _cell(record: Mapping[str, Any], name: str) -> str:
    value, error = record.get(name), record.get(f"{name}_se")
    if value is None or isinstance(value, str):
        return f"<td style='text-align:left'>{html.escape(value or '')}</td>"
    scale, digits, end = (100, 2, " %") if name in ("test_error", "difference") else (1, 4, "")
    margin = "" if error is None else f" ± {scale * error:.{digits}f}"
    return f"<td>{scale * value:.{digits}f}{margin}{end}</td>"


def _page(file: Path) -> str:
    if not file.is_file():
        return f"<p>There is no report in {html.escape(str(file.parent))} yet.</p>"
    page = html.escape(file.read_text("utf-8"), quote=True)
    return f'<iframe srcdoc="{page}" style="width:100%; height:40em; border:1px solid #8884"></iframe>'


def _configured(config: Config | None, options: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The file of a configuration, and what is given beside it."""
    if isinstance(config, Mapping):
        return None, {**{str(n): v for n, v in config.items() if str(n).replace("-", "_") not in options}, **options}
    return None if config is None else as_path(config), options


class _Told:
    """Is told what happens in a run: logs it, warns, and moves a bar."""

    def __init__(self, progress: bool | None, on_epoch: Callable[[dict[str, Any]], object] | None) -> None:
        self._on_epoch = on_epoch
        self._bar: Any = None
        self._make = _bar_maker(progress)

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, what: str, about: str) -> None:
        found = json.loads(about)
        if what == "warning":
            warnings.warn(in_python(found), stacklevel=3)
        elif what == "info":
            _LOGGER.info("%s", found)
        elif what == "detail":
            _LOGGER.debug("%s", found)
        elif what == "begin":
            epochs, steps, done = found
            self._begin(epochs, done * epochs // max(steps, 1))
        elif what == "run":
            name, seed, epochs = found
            _LOGGER.info("%s, seed %d: %d epochs", name, seed, epochs)
            self._begin(None, 0)
        elif what == "epoch":
            self._epoch(found)

    def _begin(self, epochs: int | None, done: int) -> None:
        if self._make is not None and self._bar is None:
            self._bar = self._make(total=epochs, initial=done, unit="epoch")

    def _epoch(self, found: Any) -> None:
        # Of a sweep: the arm and the seed are before it.
        record = found[2] if isinstance(found, list) else found
        if self._bar is not None:
            known = {name: record.get(name) for name in ("loss", "test_error")}
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in known.items() if value is not None})
            self._bar.update(1)
        _LOGGER.info("epoch %d: %s", record["epoch"], record)
        if self._on_epoch is not None:
            self._on_epoch(record)


def _bar_maker(progress: bool | None) -> Callable[..., Any] | None:
    if progress is None:
        is_seen = "ipykernel" in sys.modules or sys.stderr.isatty()
        progress = is_seen and importlib.util.find_spec("tqdm") is not None
    return require("tqdm.auto", "to show progress").tqdm if progress else None
