"""From a model to a step model, and from a trained state back to the model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from . import _gnp
from ._optional import require
from ._paths import as_path
from ._words import in_python
from .errors import GnpError
from .report import Report

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from typing_extensions import Unpack

    from .options import ArtifactOptions, RewriteOptions

ModelLike = Union[str, "os.PathLike[str]", bytes, "onnx.ModelProto"]
"""A model: its file, its bytes, or the message itself."""


def rewrite(
    model: ModelLike, *, folder: str | os.PathLike[str] | None = None, **options: Unpack[RewriteOptions]
) -> StepModel:
    """Makes a step model of a model: loss, both gradients and the update as one graph.

    Args:
        model: An ordinary (forward) model: its file, its bytes, or an ``onnx.ModelProto``. Weights of a file are not
            copied.
        folder: Where the external data of a model in memory lies.
        **options: What ``gnp-rewrite`` has as flags: ``loss``, ``optimizer``, ``r``, ``alpha``, ``train``, ``freeze``,
            … (:class:`gnp.options.RewriteOptions` has all of them).

    Raises:
        GnpError: Where the model cannot be trained, or an option does not fit it.

    >>> step = rewrite("models/mlp/model.onnx", loss="cross-entropy", r=0.05, alpha=1.0)
    >>> step.report.numbers
    85002
    """
    step = StepModel(_gnp.Step.rewrite(_source(model), None if folder is None else as_path(folder), dict(options)))
    for warning in step.report.warnings:
        warnings.warn(warning, stacklevel=2)
    return step


def make_artifacts(
    model: str | os.PathLike[str], output: str | os.PathLike[str], **options: Unpack[ArtifactOptions]
) -> dict[str, Any]:
    """Makes the artifacts of ONNX Runtime's training API of a model, as ``gnp-rewrite --emit ort-training`` does.

    Args:
        model: The file of an ordinary model.
        output: The folder to write.
        **options: What ``gnp-rewrite`` has as flags.

    Returns:
        Its report, with the files that were written.

    Raises:
        GnpError: Where the model cannot be trained, or the folder cannot be written.
    """
    return _files(model, output, {"emit": "ort-training", **options})


def rewrite_artifacts(
    folder: str | os.PathLike[str], output: str | os.PathLike[str], **options: Unpack[ArtifactOptions]
) -> dict[str, Any]:
    """Puts the penalty into training artifacts that are there, as ``gnp-rewrite artifacts/ -o artifacts_gnp/`` does.

    Args:
        folder: The folder of artifacts, or a training model.
        output: What to write likewise.
        **options: What ``gnp-rewrite`` has as flags for artifacts: ``r``, ``alpha``, ``expose``, ``metrics``, …

    Returns:
        Its report.

    Raises:
        GnpError: Where these are no artifacts, or the output cannot be written.
    """
    return _files(folder, output, dict(options))


class StepModel:
    """A step model: one graph that takes a batch and the state, and returns the next state.

    :func:`rewrite` makes one, :meth:`load` reads one.
    """

    def __init__(self, step: _gnp.Step) -> None:
        self._step = step
        self._report: Report | None = None

    @classmethod
    def load(cls, step: ModelLike, *, forward: ModelLike | None = None) -> StepModel:
        """Reads a step model.

        Args:
            step: The step model.
            forward: The model that it was made of; where it is not given, the file of its name beside the step model.
                It is needed to evaluate, and to write trained models.

        Raises:
            GnpError: Where it is no step model.
        """
        return cls(_gnp.Step.open(_source(step), None if forward is None else _source(forward)))

    @property
    def report(self) -> Report:
        """What was made of the model, and why.

        Raises:
            GnpError: Where the step model was loaded, not made.
        """
        if self._report is None:
            report, text = self._step.report(), self._step.described(True)
            if report is None or text is None:
                raise GnpError(
                    "the step model was made before: its report is not known", help="make it with gnp.rewrite"
                )
            self._report = Report._of(report, text)
        return self._report

    @property
    def proto(self) -> onnx.ModelProto:
        """The step model as a message of the package ``onnx``."""
        return _proto(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The bytes of the step model's file, with all its weights in them.

        Raises:
            GnpError: Where that is more than protobuf allows in memory, 2 GiB: :meth:`save` has no limit.
        """
        return self._step.to_bytes()

    def save(self, file: str | os.PathLike[str], *, force: bool = False, external_data: str = "copy") -> Path:
        """Writes the step model.

        Args:
            file: The file.
            force: Replace a file that exists.
            external_data: What becomes of the model's external data where the file is in another folder: ``"copy"``,
                ``"link"`` or ``"keep"``.

        Raises:
            GnpError: Where the file exists, or cannot be written; what existed is then as it was.
        """
        self._step.write(as_path(file), force, external_data)
        return Path(file)

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The state that training begins with: parameters, statistics, optimizer slots, the number of the step."""
        return self._step.initial_state()

    @property
    def state_names(self) -> list[str]:
        """The names of what is in the state."""
        return self._step.state_names()

    def evaluation(self) -> onnx.ModelProto:
        """The evaluation model: it takes a batch and a state, and returns the loss and the predictions.

        Raises:
            GnpError: Where the model that the step model was made of is not known.
        """
        return _proto(self._step.evaluation())

    def trained(self, state: Mapping[str, np.ndarray]) -> onnx.ModelProto:
        """The model that the step model was made of, with the weights of ``state``; all else is as it was.

        Raises:
            GnpError: Where the model is not known, or the state is that of another.
        """
        return _proto(self._step.trained(_state(state)))

    def save_trained(
        self,
        state: Mapping[str, np.ndarray],
        file: str | os.PathLike[str],
        *,
        force: bool = False,
        external_data: str = "copy",
    ) -> Path:
        """Writes that model. Weights that did not train go from file to file.

        Raises:
            GnpError: As :meth:`trained` and :meth:`save`.
        """
        self._step.write_trained(_state(state), as_path(file), force, external_data)
        return Path(file)

    def __repr__(self) -> str:
        report = self._step.report()
        if report is None:
            return f"<gnp.StepModel with a state of {len(self.state_names)} tensors>"
        return f"<gnp.StepModel of {self.report.config['model']}: {self.report.numbers:,} numbers train>"

    def _repr_html_(self) -> str | None:
        return self.report._repr_html_() if self._step.report() is not None else None


def _files(source: str | os.PathLike[str], output: str | os.PathLike[str], options: dict[str, Any]) -> dict[str, Any]:
    import json

    report: dict[str, Any] = json.loads(
        _gnp.rewrite_files({"input": as_path(source), "output": as_path(output), **options})
    )
    for warning in report.get("warnings", []):
        warnings.warn(in_python(warning), stacklevel=3)
    return report


def _source(model: ModelLike) -> str | bytes:
    """What the binding reads: a path, or bytes."""
    if isinstance(model, (str, bytes)):
        return model
    if isinstance(model, os.PathLike):
        return os.fspath(model)
    if hasattr(model, "SerializeToString"):
        try:
            return bytes(model.SerializeToString())
        except Exception as error:  # noqa: BLE001  (protobuf's own kinds differ from version to version)
            raise GnpError(
                f"the model cannot be handed over in memory: {error}",
                help="protobuf allows 2 GiB: save it with external data, and name the file",
            ) from error
    if hasattr(model, "to_bytes"):
        return model.to_bytes()
    raise GnpError(f"expected a model, not {type(model).__name__}", help="a path, bytes, or an onnx.ModelProto")


def _proto(data: bytes) -> onnx.ModelProto:
    proto: onnx.ModelProto = require("onnx", "for models in memory").load_from_string(data)
    return proto


def _state(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not isinstance(state, Mapping):
        raise GnpError(f"expected a state, a dictionary of arrays by name, not {type(state).__name__}")
    import numpy as np

    return {str(name): np.asarray(array) for name, array in state.items()}
