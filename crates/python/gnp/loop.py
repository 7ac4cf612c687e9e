"""Training on the user's own ONNX Runtime."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gnp import _contract as contract
from gnp import _gnp
from gnp._measures import Counts, was_skipped
from gnp._paths import as_path
from gnp._places import Place, first_not_finite
from gnp._runtime import Runtime
from gnp._step_interface import EvaluationInterface, ModelFile, StepInterface
from gnp.batches import Array, Batch, Input, as_batch, convert
from gnp.errors import GnpError
from gnp.fitting import Trainable

_HELP_STATE = "it belongs to another model, or to this one rewritten with another optimizer"


class Loop(Trainable):
    """Trains a step model in a session of the ``onnxruntime`` that is installed, from 1.17 on.

    The state stays where the session computes: two sets of buffers take turns, one that a step reads and one that it
    writes. So nothing of it is copied from step to step, and a step that comes to a number which is none is not taken.

        loop = gnp.Loop("step.onnx")
        for x, y in loader:
            print(loop.step((x, y), lr=0.05)["loss"])

    It may be used from several threads, which then take turns.

    Args:
        step: A step model: the path of its file, its bytes, an ``onnx.ModelProto`` or a ``gnp.StepModel``.
        evaluation: Its evaluation model, in the same forms; ``step.evaluation()`` where there is such a method.
        session_options: The ``onnxruntime.SessionOptions``. Nothing of them is changed, but that the kernels are
            registered with them. Without any: deterministic computation, and on the processor no memory patterns, which
            take much memory and save no time.
        providers: As ``onnxruntime.InferenceSession`` takes them; without any CUDA, where ONNX Runtime is made for it,
            and the processor.
        kernels: ``"none"``; the path of a library with gnp's kernels; ``"auto"``: those that came with this package, on
            the processor and with ONNX Runtime 1.19 or newer.
        seed: What is drawn at random depends on it and on the number of the step.

    Attributes:
        session: The ``onnxruntime.InferenceSession``.

    Raises:
        GnpError: The model is no step model or cannot be read, ONNX Runtime refuses it, or a package is missing.
    """

    def __init__(
        self,
        step: object,
        *,
        evaluation: object = None,
        session_options: Any = None,
        providers: Sequence[Any] | None = None,
        kernels: str | os.PathLike[str] = "auto",
        seed: int = 0,
    ) -> None:
        self._runtime = Runtime(session_options, providers, kernels)
        model = ModelFile(step)
        self._interface = StepInterface.of(model)
        self.session = self._runtime.open(model)
        self._device = self._runtime.device(self.session)
        precision = (model.metadata(contract.CONFIG_KEY) or {}).get("precision", "float32")
        if precision == "float16" and self._device.kind == "cpu":
            warnings.warn(
                "the step model computes in float16, for which ONNX Runtime has kernels on few processors: without them"
                " it computes in float32, and rounds nothing",
                stacklevel=2,
            )
        self._evaluation = evaluation if evaluation is not None else getattr(step, "evaluation", None)
        self._evaluator: _Evaluator | None = None
        self._defaults = dict(self._interface.hyperparameters)
        if contract.SEED in self._defaults:
            self._defaults[contract.SEED] = self._scalar(contract.SEED, seed)
        self._places = [Place(self._runtime.ort, self._interface.state, self._device) for _ in range(2)]
        for slot in self._interface.state:
            self._places[0].write(slot.name, model.initial(slot))
        self._turns = [_Turn(self, self._places[at], self._places[1 - at]) for at in range(2)]
        self._now = 0
        self._lock = threading.Lock()

    @property
    def batch_inputs(self) -> tuple[Input, ...]:
        """What is fed in each step: data, then the labels."""
        return self._interface.batch

    @property
    def defaults(self) -> dict[str, float]:
        """What the hyperparameters are where nothing else is given, by the names of their inputs."""
        return {name: float(value) for name, value in self._defaults.items() if name != contract.SEED}

    def __repr__(self) -> str:
        batch = ", ".join(f"{port.name}: {port}" for port in self.batch_inputs)
        return f"<gnp.Loop on {self._device.kind} ({batch}; {len(self._interface.state)} tensors of state)>"

    def step(
        self,
        batch: object,
        *,
        lr: float | None = None,
        r: float | None = None,
        alpha: float | None = None,
        **others: float,
    ) -> dict[str, float | Array]:
        fitting = as_batch(self._interface.batch, batch)
        named = {contract.LEARNING_RATE: lr, contract.R: r, contract.ALPHA: alpha, **others}
        numbers = self._defaults | {
            name: self._scalar(name, value) for name, value in named.items() if value is not None
        }
        with self._lock:
            turn = self._turns[self._now]
            outputs = turn.run(fitting, numbers)
            # Labels without a class make the loss NaN too, and need other help.
            Counts.of(outputs, fitting.samples)
            self._check_finite(outputs, turn.writes, numbers)
            self._now = 1 - self._now
        return outputs

    def evaluate(self, batch: object) -> dict[str, float | Array]:
        fitting = as_batch(self._interface.batch, batch)
        with self._lock:
            if self._evaluator is None:
                self._evaluator = self._make_evaluator()
            return self._evaluator.run(fitting, self._places[self._now])

    def state_dict(self) -> dict[str, Array]:
        with self._lock:
            return self._places[self._now].read()

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        if not isinstance(state, Mapping):
            raise GnpError(f"a state is a mapping from names to arrays, not {type(state).__qualname__}")
        taken = self._in_order(state)
        found = first_not_finite(taken)
        if found is not None:
            raise GnpError(f"`{found[0]}` holds {found[1]}, which is no number to go on with", kind="diverged")
        with self._lock:
            # Into the buffers that the next step would have written: what is interrupted changes nothing.
            for name, array in taken.items():
                self._places[1 - self._now].write(name, array)
            self._now = 1 - self._now

    def save(self, path: str | os.PathLike[str]) -> None:
        state = self.state_dict()
        found = first_not_finite(state)
        if found is not None:
            raise GnpError(f"`{found[0]}` holds {found[1]}: the state is not saved", kind="diverged")
        _gnp.write_state(as_path(path), state)

    def load(self, path: str | os.PathLike[str]) -> None:
        state = _gnp.read_state(as_path(path))
        try:
            self.load_state_dict(state)
        except GnpError as error:
            error.file = os.fspath(path)
            raise

    def _scalar(self, name: str, value: object) -> Array:
        """A hyperparameter as it is fed."""
        default = self._interface.hyperparameters.get(name)
        if default is None:
            known = ", ".join(known for known in self._interface.hyperparameters if known != contract.SEED)
            raise GnpError(f"the step model has no hyperparameter `{name}`", help=f"it has {known}")
        try:
            array = convert(f"the hyperparameter `{name}`", np.asarray(value).reshape(()), default.dtype)
        except (TypeError, ValueError, RuntimeError, GnpError) as error:
            raise GnpError(f"the hyperparameter `{name}` is {value!r}; expected one {default.dtype}") from error
        if not np.isfinite(array):
            raise GnpError(f"the hyperparameter `{name}` is {value!r}; expected a number")
        return array

    def _in_order(self, state: Mapping[str, object]) -> dict[str, Array]:
        """The tensors of ``state``, as those of this model."""
        taken = {}
        for slot in self._interface.state:
            if slot.name not in state:
                raise GnpError(f"the state lacks `{slot.name}`", help=_HELP_STATE)
            try:
                taken[slot.name] = slot.take(state[slot.name], "the state")
            except GnpError as error:
                error.help = error.help or _HELP_STATE
                raise
        unknown = [name for name in state if name not in taken]
        if unknown:
            raise GnpError(f"the model has no state `{unknown[0]}`", help=_HELP_STATE)
        return taken

    def _check_finite(
        self, outputs: Mapping[str, float | Array], following: Place, numbers: Mapping[str, Array]
    ) -> None:
        # The next step has a smaller scale, where there is one.
        may_overflow = was_skipped(outputs) and outputs[contract.SCALED_BY] > 1.0
        allowed = (contract.GRAD_NORM, contract.MIXED_GRAD_NORM) if may_overflow else ()
        found = next(
            (
                (name, value)
                for name, value in outputs.items()
                if isinstance(value, float) and not np.isfinite(value) and name not in allowed
            ),
            None,
        )
        what = f"`{found[0]}` is {found[1]}" if found else ""
        if found is None:
            found = following.not_finite()
            what = f"`{found[0]}` would become {found[1]}" if found else ""
        if found is not None:
            rate = numbers.get(contract.LEARNING_RATE)
            was = "" if rate is None else f" (it was {rate} here)"
            raise GnpError(
                f"{what}: the step was not taken",
                kind="diverged",
                help=f"lower the learning rate{was} or r, or warm it up for longer",
            )

    def _make_evaluator(self) -> _Evaluator:
        source = self._evaluation() if callable(self._evaluation) else self._evaluation
        if source is None:
            raise GnpError(
                "there is no evaluation model", help="name one: gnp.Loop(…, evaluation=…), or give a gnp.StepModel"
            )
        model = ModelFile(source)
        interface = EvaluationInterface.of(model, self._interface)
        return _Evaluator(self._runtime, self._runtime.open(model), interface, model)


class _Turn:
    """A binding of the session: what a step reads and writes when it is this one's turn.

    Attributes:
        writes: The place of the next state.
    """

    def __init__(self, loop: Loop, reads: Place, writes: Place) -> None:
        interface, ort = loop._interface, loop._runtime.ort
        self._runtime, self._session, self._value = loop._runtime, loop.session, ort.OrtValue.ortvalue_from_numpy
        self._on_processor = loop._device.is_cpu
        self.writes = writes
        self._binding = loop.session.io_binding()
        self._numbers: dict[str, Array] = {}
        self._scalars = {name: np.zeros((), np.float32) for name, scalar in interface.outputs.items() if scalar}
        self._others = [name for name, scalar in interface.outputs.items() if not scalar]
        self._names = list(interface.outputs)
        self._reads = reads.values
        self._bind_state()
        for name, following in interface.nexts.items():
            self._binding.bind_ortvalue_output(following, writes.values[name])
        for name, scalar in self._scalars.items():
            self._binding.bind_ortvalue_output(name, self._value(scalar, "cpu", 0))
        # Outputs are numbered in the order in which they are bound.
        self._first = len(interface.nexts) + len(self._scalars)

    def run(self, batch: Batch, numbers: Mapping[str, Array]) -> dict[str, float | Array]:
        """What the step model returns, but for the next state."""
        binding = self._binding
        try:
            for name, array in batch.items():
                binding.bind_cpu_input(name, array)
            for name, number in numbers.items():
                bound = self._numbers.get(name)
                if bound is None or bound != number:
                    binding.bind_ortvalue_input(name, self._value(number, "cpu", 0))
                    self._numbers[name] = number
            # What ONNX Runtime made for the last batch would have to have the size of this one.
            for name in self._others:
                binding.bind_output(name, "cpu")
            if not self._on_processor:
                # What a node of the processor reads is copied there when it is bound: anew for each step.
                self._bind_state()
                binding.synchronize_inputs()
            self._session.run_with_iobinding(binding)
            if not self._on_processor:
                binding.synchronize_outputs()
            made = binding.get_outputs_as_ortvaluevector() if self._others else ()
            others = {name: made[self._first + at].numpy() for at, name in enumerate(self._others)}
        except Exception as error:
            raise self._runtime.error("ONNX Runtime could not take the step", error) from error
        scalars = self._scalars
        return {name: float(scalars[name]) if name in scalars else others[name] for name in self._names}

    def _bind_state(self) -> None:
        for name, value in self._reads.items():
            self._binding.bind_ortvalue_input(name, value)


class _Evaluator:
    """The session of an evaluation model."""

    def __init__(self, runtime: Runtime, session: Any, interface: EvaluationInterface, model: ModelFile) -> None:
        self._runtime, self._session, self._interface = runtime, session, interface
        self._binding = session.io_binding()
        # What has an initializer and is no state keeps it.
        for name in {entry.name for entry in session.get_inputs()} & model.initializers.keys():
            if name not in interface.state:
                self._binding.bind_cpu_input(name, model.array(name))

    def run(self, batch: Batch, place: Place) -> dict[str, float | Array]:
        """What the evaluation model returns with the state in ``place``."""
        binding, interface = self._binding, self._interface
        try:
            for name in interface.batch:
                binding.bind_cpu_input(name, batch[name])
            for name in interface.state:
                binding.bind_ortvalue_input(name, place.values[name])
            for name in interface.outputs:
                binding.bind_output(name, "cpu")
            binding.synchronize_inputs()
            self._session.run_with_iobinding(binding)
            arrays = binding.copy_outputs_to_cpu()
        except Exception as error:
            raise self._runtime.error("ONNX Runtime could not evaluate", error) from error
        return {name: float(array) if array.ndim == 0 else array for name, array in zip(interface.outputs, arrays)}
