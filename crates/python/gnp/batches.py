"""What a batch may be, and how it becomes NumPy arrays: without a copy where that is possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnp.errors import GnpError

Array = NDArray[Any]

# How far probabilities may be beyond 0 and 1, which they can be by rounding.
_SLACK = 1e-3

# The devices of DLPack whose memory the processor reads: CPU, CUDA's and ROCm's pinned memory, CUDA's managed memory.
_ON_HOST = {1, 3, 11, 13}


@dataclass(frozen=True)
class Range:
    """The numbers that an input, or a part of it, may hold: those from 0 to ``last``, and ``ignored``.

    Attributes:
        last: The largest; None where it is known only when the model runs.
        ignored: A number that stands for none of them: of a label that does not count.
        part: Axis, start and end of the places that it is about, where it is not about all; negative places count from
            the end.
    """

    last: int | None
    ignored: int | None = None
    part: tuple[int, int, int] | None = None

    def first_outside(self, array: Array) -> tuple[int, ...] | None:
        """The place of the first element that is outside; None where all are inside."""
        if self.last is None or array.size == 0:
            return None
        # Most arrays are wholly inside, which is quicker to see.
        if array.min() >= -_SLACK and array.max() <= self.last + _SLACK:
            return None
        outside = ~((array >= -_SLACK) & (array <= self.last + _SLACK))
        if self.ignored is not None:
            outside &= array != self.ignored
        if self.part is not None:
            axis, start, end = self.part
            places = [slice(None)] * axis + [slice(start, end)]
            elsewhere = np.ones(array.shape, bool)
            elsewhere[tuple(places)] = False
            outside &= ~elsewhere
        return tuple(int(i) for i in np.argwhere(outside)[0]) if outside.any() else None

    def __str__(self) -> str:
        numbers = "any number" if self.last is None else f"0 to {self.last}"
        return numbers if self.ignored is None else f"{numbers}, or {self.ignored}, which does not count"


@dataclass(frozen=True)
class Input:
    """An input of a model. ``str(input)`` is its element type and shape: ``float32 [batch, 1, 28, 28]``.

    Attributes:
        name: Its name.
        dtype: Its element type.
        shape: Its sizes, outermost first; a name or None where the model leaves one open.
        ranges: The numbers that it may hold, where it is known that not all have a meaning.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]
    ranges: tuple[Range, ...] = ()

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"

    def accepts_shape(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of ``shape`` may be fed; a size that the model names may be any."""
        return len(shape) == len(self.shape) and all(
            not isinstance(size, int) or size == found for size, found in zip(self.shape, shape)
        )

    def take(self, value: object, where: str = "the batch") -> Array:
        """The array that is fed for ``value``.

        Args:
            value: A NumPy array, anything with ``__dlpack__`` in memory that the processor reads, or what
                :func:`numpy.asarray` takes.
            where: What it is a part of, for messages.

        Returns:
            An array of :attr:`dtype` and :attr:`shape`, contiguous: ``value`` itself, or a view of its memory, where it
            is one already.

        Raises:
            GnpError: It is no array, has another shape, holds what :attr:`dtype` cannot, or numbers out of range.
        """
        array = _as_array(self.name, value)
        if not self.accepts_shape(array.shape):
            raise GnpError(
                f"the input `{self.name}` is {self}, but {where} has {array.dtype} {list(array.shape)}",
                help=_shape_help(self, array),
            )
        if array.size == 0 and 0 not in self.shape:
            raise GnpError(f"{where} is empty: the input `{self.name}` has the shape {list(array.shape)}")
        array = convert(f"the input `{self.name}`", array, self.dtype)
        for numbers in self.ranges:
            place = numbers.first_outside(array)
            if place is not None:
                raise GnpError(
                    f"the input `{self.name}` holds {array[place]} at {list(place)}; expected {numbers}",
                    help="look at how the data are numbered; a model with more classes or tokens has other ranges",
                )
        return array if array.flags.c_contiguous else array.copy("C")


class Batch(dict[str, Array]):
    """A batch that fits ``inputs``: arrays by the names of the inputs, in their order.

    Attributes:
        inputs: What it fits.
        samples: How many samples it has: the size of the first axis of the first input.
    """

    def __init__(self, inputs: Sequence[Input], arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.inputs = inputs
        shape = next(iter(self.values())).shape if self else ()
        self.samples = shape[0] if shape else 1


def as_batch(inputs: Sequence[Input], batch: object) -> Batch:
    """The batch of ``inputs`` that a user gave.

    Args:
        inputs: What is fed, the labels last.
        batch: A mapping from their names to arrays, or a tuple or list in their order; where there is one input, an
            array too. :meth:`Input.take` has what an array may be.

    Raises:
        GnpError: It is none of these, or does not fit; the message names the input.
    """
    if isinstance(batch, Batch) and batch.inputs is inputs:
        return batch
    values = _by_name(inputs, batch)
    arrays: dict[str, Array] = {}
    sizes: dict[str, tuple[int, str]] = {}
    for port in inputs:
        array = arrays[port.name] = port.take(values[port.name])
        for name, size in zip(port.shape, array.shape):
            if isinstance(name, str):
                before, other = sizes.setdefault(name, (size, port.name))
                if before != size:
                    raise GnpError(
                        f"`{name}` is {before} in the input `{other}`, but {size} in the input `{port.name}`",
                        help="feed as many labels as samples" if port is inputs[-1] else None,
                    )
    return Batch(inputs, arrays)


def convert(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """``array`` with elements of ``dtype``: itself where it has such, else a copy.

    Floats are rounded to shorter floats. All other elements keep their values.

    Raises:
        GnpError: They cannot; the message begins with ``name``.
    """
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "biuf":
        raise GnpError(
            f"{name} takes {dtype}, and cannot be made of elements of type {array.dtype}",
            help=f"convert them to {dtype} before",
        )
    if np.can_cast(array.dtype, dtype, "safe"):
        return array.astype(dtype)
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
        if array.dtype.kind == "f" and dtype.kind == "f":
            lost = np.isinf(converted) & np.isfinite(array)
        else:
            # Back again they are what they were; whole numbers that wrap around are too, but for their sign.
            lost = (converted.astype(array.dtype) != array) | ((converted < 0) != (array < 0))
    if lost.any():
        place = tuple(int(i) for i in np.argwhere(lost)[0])
        raise GnpError(
            f"{name} takes {dtype}, which cannot hold {array[place]}, the {array.dtype} at {list(place)}",
            help=f"convert it to {dtype} before, if what is lost does not matter",
        )
    return converted


def _by_name(inputs: Sequence[Input], batch: object) -> Mapping[Any, object]:
    names = [port.name for port in inputs]
    expected = ", ".join(f"`{port.name}`: {port}" for port in inputs)
    if isinstance(batch, Mapping):
        missing = [name for name in names if name not in batch]
        unknown = [name for name in batch if name not in names]
        if missing:
            raise GnpError(
                f"the batch lacks `{missing[0]}`; it has {', '.join(map(str, batch)) or 'nothing'}",
                help=f"the model takes {expected}",
            )
        if unknown:
            raise GnpError(
                f"the model has no input `{unknown[0]}`", help=f"leave it out of the batch; the model takes {expected}"
            )
        return batch
    if isinstance(batch, (tuple, list)):
        if len(batch) != len(names):
            raise GnpError(
                f"the model takes {len(names)} arrays, but the batch has {len(batch)}",
                help=f"the model takes, in this order, {expected}",
            )
        return dict(zip(names, batch))
    if len(names) == 1:
        return {names[0]: batch}
    raise GnpError(
        "a batch is a mapping from input names to arrays, or a tuple or list of arrays, not "
        f"{type(batch).__module__}.{type(batch).__qualname__}",
        help=f"the model takes {expected}",
    )


def _as_array(name: str, value: Any) -> Array:
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        try:
            device = int(value.__dlpack_device__()[0])
            if device in _ON_HOST:
                return np.from_dlpack(value)
        except Exception:
            device = 1  # What DLPack refuses, NumPy may take in another way.
        if device not in _ON_HOST:
            raise GnpError(
                f"the input `{name}` is in the memory of another device (number {device} of DLPack)",
                help="bring it to the processor before: .cpu() in PyTorch, jax.device_get in JAX",
            )
    try:
        return np.asarray(value)
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise GnpError(f"the input `{name}` is no array: NumPy cannot read {kind} ({said})") from error


def _shape_help(port: Input, array: Array) -> str | None:
    if array.ndim == len(port.shape) + 1 and array.shape[-1] == 1:
        return "the last axis has one place: leave it out"
    if array.ndim == len(port.shape) - 1:
        return "one axis is missing: that of the samples, or that of the channels"
    return None
