"""From a PyTorch module to a model that trains, and back.

| Module | What it is |
|---|---|
| ``export`` | ``from_torch``: the export from end to end |
| ``tensors`` | the parameters and buffers of a module: names, ties, what is frozen |
| ``example`` | the example inputs: names, the axis of the batch |
| ``exporters`` | PyTorch's two exporters, told to leave everything in the graph |
| ``graph`` | what is done to the exported graph: names, the record of what is a parameter |
| ``restore`` | ``to_torch``: trained weights into a module |
"""

from __future__ import annotations

from .export import from_torch
from .restore import to_torch

__all__ = ["from_torch", "to_torch"]
