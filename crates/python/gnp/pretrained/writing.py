"""A trained model in the layout of its folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from .. import _messages
from .._contract import STATE_KEY
from .._optional import require
from .._step_interface import ModelFile

# What is copied beside a trained model; and what of it speaks of other weights.
_COPIED = ("*.json", "*.txt", "*.model", "*.jinja")
_NOT_COPIED = ("*.index.json", "quantize_config.json", "ort_config.json")
# What a model with weights in a second file leaves in the first, by its size in bytes.
_SMALL = 1024


def copy_beside(source: Path, target: Path, scratch: Path) -> list[Path]:
    """Copies to `scratch` what belongs to the model in `source` and is not in `target` yet; the names."""
    found = {file.name for pattern in _COPIED for file in source.glob(pattern) if file.is_file()}
    left = {file.name for pattern in _NOT_COPIED for file in source.glob(pattern)}
    names = [name for name in sorted(found - left) if not (target / name).exists()]
    for name in names:
        shutil.copyfile(source / name, scratch / name)
    return [Path(name) for name in names]


def trained(model: Any) -> Any:
    """The message of a model that is no step model, with all of its weights."""
    file = ModelFile(model)
    if file.metadata(STATE_KEY) is not None:
        raise file.error(
            "this is a step model, which holds where training starts",
            kind="input",
            help="step.trained(trainer.state_dict()) is the trained model",
        )
    if any(tensor.external_data for tensor in file.proto.graph.initializer):
        if file.path is None:
            raise file.error(
                "the weights are in files beside the model", kind="input", help="give the path of its file"
            )
        helper = require("onnx.external_data_helper", "to read a model")
        try:
            helper.load_external_data_for_model(file.proto, os.path.dirname(os.path.abspath(file.path)))
        except Exception as error:
            raise file.error(f"cannot read its weights: {error}", kind="io") from error
    return file.proto


def write(model: Any, folder: Path, place: Path) -> list[Path]:
    """Writes `model` to `place` in `folder`, and large weights beside it; the files, the model last."""
    onnx = require("onnx", "to write a model")
    (folder / place).parent.mkdir(exist_ok=True)
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= _messages.LARGEST:
        onnx.save_model(model, folder / place)
        return [place]
    data = place.with_name(f"{place.name}_data")
    # The weights are moved out of the message that is written: it is not the caller's.
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    onnx.save_model(copied, folder / place, save_as_external_data=True, location=data.name, size_threshold=_SMALL)
    return [data, place]
