"""The file of a state, in the format *safetensors*: a table of names, types and shapes in JSON, then the elements.

It is written here, and not by the package of that name, since training that is interrupted must be able to save
whatever is installed. The format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from gnp.batches import Array
from gnp.errors import GnpError

_DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
        "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4", "I32": "<i4",
        "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
    }.items()
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def write_state(path: str | os.PathLike[str], state: Mapping[str, Array]) -> None:
    """Writes ``state`` to ``path``, which holds either what it held before or all of it, whatever happens.

    Raises:
        GnpError: The file cannot be written.
    """
    # Longer elements first, so that each lies at a multiple of its size.
    names = sorted(state, key=lambda name: (-state[name].dtype.itemsize, name))
    table, end = {}, 0
    for name in names:
        array = state[name]
        begin, end = end, end + array.nbytes
        element = _NAMES[array.dtype.newbyteorder("<")]
        table[name] = {"dtype": element, "shape": list(array.shape), "data_offsets": [begin, end]}
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)

    def write(file: BinaryIO) -> None:
        file.write(len(header).to_bytes(8, "little") + header)
        for name in names:
            array = np.ascontiguousarray(state[name], state[name].dtype.newbyteorder("<"))
            file.write(array.reshape(-1).view(np.uint8).data)

    write_atomically(path, write)


def read_state(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Reads a file that :func:`write_state`, gnp-run or the package safetensors wrote.

    Returns:
        Arrays that nobody can write to.

    Raises:
        GnpError: The file cannot be read, or is none of this format.
    """
    file = os.fspath(path)
    try:
        with open(file, "rb") as opened:
            data = opened.read()
    except OSError as error:
        raise GnpError(f"cannot read the state {file}: {error.strerror}", kind="io", file=file) from error
    try:
        return _parse(data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise GnpError(
            f"{file} is no state in the format safetensors: {error}",
            kind="format",
            file=file,
            help="a state is what save() writes, or the file `checkpoint` in a checkpoint of gnp-run",
        ) from error


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], None]) -> None:
    """Has ``write`` fill a file beside ``path`` that then takes its place, links and permissions kept.

    Raises:
        GnpError: The file cannot be written; ``path`` is then as it was.
    """
    target = os.path.realpath(path)
    aside = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.{uuid.uuid4().hex[:8]}")
    try:
        try:
            with open(aside, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if os.path.exists(target):
                shutil.copymode(target, aside)
            os.replace(aside, target)
        except BaseException:
            if os.path.exists(aside):
                os.remove(aside)
            raise
    except OSError as error:
        name = os.fspath(path)
        raise GnpError(f"cannot write {name}: {error.strerror or error}", kind="io", file=name) from error


def _parse(data: bytes) -> dict[str, Array]:
    begin = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or begin > len(data):
        raise ValueError("it is shorter than its table")
    table: dict[str, Any] = json.loads(data[8:begin])
    if not isinstance(table, dict):
        raise ValueError("its table has no names")
    table.pop("__metadata__", None)
    state = {}
    for name, entry in table.items():
        dtype, shape, (first, last) = _DTYPES.get(entry["dtype"]), entry["shape"], entry["data_offsets"]
        if dtype is None:
            raise ValueError(f"`{name}` holds elements of type {entry['dtype']}")
        if not all(isinstance(number, int) and number >= 0 for number in [*shape, first, last]):
            raise ValueError(f"the sizes of `{name}` are no numbers")
        if last - first != math.prod(shape) * dtype.itemsize or begin + last > len(data):
            raise ValueError(f"the elements of `{name}` are not all there")
        elements = np.frombuffer(data, dtype, count=math.prod(shape), offset=begin + first)
        state[name] = elements.reshape(shape)
    return state
