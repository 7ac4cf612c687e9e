"""Where the state of a step model lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnp.batches import Array, Input

# ONNX Runtime's own buffers begin at multiples of so many bytes, and some sums depend on where their operands begin.
_ALIGNMENT = 64


@dataclass(frozen=True)
class Device:
    """Where a session computes, in ONNX Runtime's words: ``cuda``, 0."""

    kind: str
    number: int = 0

    @property
    def is_cpu(self) -> bool:
        """Whether it is the processor."""
        return self.kind == "cpu"


class Place:
    """Buffers for a whole state: an OrtValue for each of its tensors, which stays where it is.

    Args:
        ort: The module onnxruntime.
        slots: The tensors, with whole shapes.
        device: Where they lie.

    Attributes:
        values: The OrtValues, by name.
    """

    def __init__(self, ort: Any, slots: Sequence[Input], device: Device) -> None:
        self.values: dict[str, Any] = {}
        self._arrays: dict[str, Array] = {}
        self._floats: Array = np.zeros(0, np.float32)
        if device.is_cpu:
            self._arrays, self._floats = _on_processor(slots)
            for name, array in self._arrays.items():
                self.values[name] = ort.OrtValue.ortvalue_from_numpy(array, "cpu", 0)
            return
        for slot in slots:
            make = ort.OrtValue.ortvalue_from_shape_and_type
            self.values[slot.name] = make(list(slot.shape), slot.dtype, device.kind, device.number)

    def write(self, name: str, array: Array) -> None:
        """Copies ``array`` here, as the tensor ``name``, of whose type and shape it is."""
        self.values[name].update_inplace(array)

    def read(self) -> dict[str, Array]:
        """A copy of the state."""
        return {name: np.array(value.numpy()) for name, value in self.values.items()}

    def not_finite(self) -> tuple[str, float] | None:
        """A float that is NaN or infinite, and the name of its tensor; on the processor alone, where that is cheap."""
        with np.errstate(all="ignore"):
            # Where one is, the sum of squares is none; where none is, it may still overflow.
            if np.isfinite(np.dot(self._floats, self._floats)):
                return None
        return first_not_finite(self._arrays)


def first_not_finite(state: Mapping[str, Array]) -> tuple[str, float] | None:
    """The first float that is NaN or infinite, and the name of its tensor."""
    for name, array in state.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return name, float(array[~np.isfinite(array)][0])
    return None


def _on_processor(slots: Sequence[Input]) -> tuple[dict[str, Array], Array]:
    """Arrays for ``slots``; those of float32 lie in one array of zeros, which is returned too."""
    floats = [slot for slot in slots if slot.dtype == np.float32]
    each = _ALIGNMENT // 4
    places, end = {}, 0
    for slot in floats:
        places[slot.name] = end
        end += -(-_size(slot) // each) * each
    memory = np.zeros(end + each, np.float32)
    begin = -(memory.ctypes.data // 4) % each
    memory = memory[begin : begin + end]
    arrays: dict[str, Array] = {}
    for slot in slots:
        if slot.name in places:
            place = places[slot.name]
            arrays[slot.name] = memory[place : place + _size(slot)].reshape(_shape(slot))
        else:
            arrays[slot.name] = np.zeros(_shape(slot), slot.dtype)
    return arrays, memory


def _shape(slot: Input) -> tuple[int, ...]:
    return tuple(size for size in slot.shape if isinstance(size, int))


def _size(slot: Input) -> int:
    return int(np.prod(_shape(slot), dtype=np.int64))
