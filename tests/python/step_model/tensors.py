"""Tensors by name in a file of the format safetensors."""

import json
from pathlib import Path

import numpy as np

ELEMENTS = {"F32": np.float32, "I64": np.int64}


def write(path: Path, tensors: dict[str, np.ndarray]):
    """Writes a file: the length of a table, the table as JSON, the elements."""
    table, begin = {}, 0
    names = {np.dtype(element): name for name, element in ELEMENTS.items()}
    for name, tensor in tensors.items():
        offsets = [begin, begin := begin + tensor.nbytes]
        table[name] = {"dtype": names[tensor.dtype], "shape": tensor.shape, "data_offsets": offsets}
    header = json.dumps(table).encode()
    parts = [len(header).to_bytes(8, "little"), header, *(tensor.tobytes() for tensor in tensors.values())]
    path.write_bytes(b"".join(parts))


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads a file."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    table = json.loads(content[8:begin])
    table.pop("__metadata__", None)
    tensors = {}
    for name, entry in table.items():
        first, end = (begin + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(content[first:end], ELEMENTS[entry["dtype"]]).reshape(entry["shape"])
    return tensors
