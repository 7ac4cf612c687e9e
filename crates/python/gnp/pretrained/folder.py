"""Models in the layout of Hugging Face: a folder with ``config.json``, ``onnx/model.onnx`` and ``tokenizer.json``."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._optional import require
from .._paths import as_path
from .._step_interface import ModelFile
from ..errors import GnpError
from . import writing
from .pictures import Pictures
from .texts import INPUTS, Texts, check

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

_LOGGER = logging.getLogger("gnp")

PREPROCESSOR = "preprocessor_config.json"
# Where exporters put the model of full precision, best first.
_USUAL = ("onnx/model.onnx", "model.onnx")
# What ends the names of files that are no plain float32: those of optimum, transformers.js and sentence-transformers.
_REDUCED = re.compile(r"_(quantized|q?u?int8(_\w+)?|int4|fp16|bf16|bnb4|q\d+(f16)?|O\d)$")


@dataclass(frozen=True)
class Pretrained:
    """A model in its folder, with what belongs to it.

    Attributes:
        folder: The folder.
        path: The ONNX model: what :func:`gnp.rewrite` takes.
        config: What ``config.json`` says; empty where there is none.
        preprocessor: What ``preprocessor_config.json`` says; empty where there is none.
    """

    folder: Path
    path: Path
    config: dict[str, Any] = field(repr=False)
    preprocessor: dict[str, Any] = field(repr=False)

    @property
    def labels(self) -> list[str]:
        """The names of the classes by their number; empty where they have none."""
        names = self.config.get("id2label") or {}
        try:
            by_number = {int(number): str(name) for number, name in names.items()}
        except (TypeError, ValueError, AttributeError):
            return []
        # A class that has no name is called as transformers calls it.
        return [by_number.get(number, f"LABEL_{number}") for number in range(max(by_number, default=-1) + 1)]

    @functools.cached_property
    def pictures(self) -> Pictures | None:
        """What ``preprocessor_config.json`` says of pictures; None where it says nothing of them.

        Raises:
            GnpError: It says what cannot be.
        """
        try:
            return Pictures.of(self.preprocessor)
        except (TypeError, ValueError) as error:
            file = self.folder / PREPROCESSOR
            raise GnpError(f"{file}: {error}", kind="format", file=str(file)) from error

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The ``tokenizers.Tokenizer`` of ``tokenizer.json``.

        Raises:
            GnpError: There is no such file, or the package ``tokenizers`` is missing.
        """
        file = self.folder / "tokenizer.json"
        if not file.is_file():
            raise GnpError(
                f"{self.folder}: there is no tokenizer.json",
                kind="io",
                file=str(file),
                help="transformers makes one of vocab.txt or of vocab.json and merges.txt: "
                "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
            )
        tokenizers = require("tokenizers", "to split text")
        try:
            return tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:
            raise GnpError(f"{file}: not a tokenizer: {error}", kind="format", file=str(file)) from error

    def encode(
        self, texts: Sequence[str] | Sequence[tuple[str, str]], *, length: int | None = None, limit: int | None = None
    ) -> dict[str, NDArray[np.int64]]:
        """Texts as the model takes them.

        Args:
            texts: The texts, or pairs of texts.
            length: How many tokens each has, longer ones cut off and shorter ones padded. Where none is given, it is
                the length that the model has, else that of the longest text.
            limit: How many tokens a text may have, longer ones cut off. Where neither is given, it is what the folder
                says of the model; a warning says how many texts were cut off.

        Returns:
            ``input_ids``, ``attention_mask`` and ``token_type_ids``, those of them that are inputs of the model, int64
            of shape [texts, tokens]. Padding stands where the tokenizer has it, on the right or on the left.

        Raises:
            GnpError: There is no tokenizer, nothing to encode, or nothing to pad with.
        """
        check(texts, length, limit)
        if not self._text_inputs:
            known = ", ".join(INPUTS)
            raise GnpError(f"{self.path}: no input is one of {known}; it takes {', '.join(self._inputs)}")
        return self._texts.encode(texts, length=length, limit=limit)

    def save(
        self, folder: str | os.PathLike[str], model: onnx.ModelProto | bytes | str | os.PathLike[str]
    ) -> Pretrained:
        """Writes a trained model in the same layout: with its configuration, tokenizer and preprocessor.

        The file is called as this model's is, without what says that its weights are quantised: those that were trained
        are float32. Weights of more than 2 GB stand in a file beside it, ``model.onnx_data``, as on the hub.

        Args:
            folder: The folder to write; it must not hold a model already. Other files that it has stay.
            model: The model: ``step.trained(trainer.state_dict())``, or the file of one.

        Returns:
            What was written.

        Raises:
            GnpError: There is a model in the folder, it is a step model, or it cannot be written.
        """
        target = Path(as_path(folder))
        place = self.path.relative_to(self.folder)
        place = place.with_name(f"{_REDUCED.sub('', place.stem)}.onnx")
        if (target / place).exists():
            raise GnpError(
                f"{target / place}: the file exists already",
                kind="io",
                file=str(target / place),
                help="choose another folder",
            )
        proto = writing.trained(model)
        try:
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            # All of it is written before a file appears; the model is the last.
            with tempfile.TemporaryDirectory(prefix=".gnp-", dir=target) as scratch:
                beside = writing.copy_beside(self.folder, target, Path(scratch))
                for file in [*beside, *writing.write(proto, Path(scratch), place)]:
                    os.replace(Path(scratch) / file, target / file)
        except OSError as error:
            said = error.strerror or error
            raise GnpError(f"{target}: cannot write it: {said}", kind="io", file=str(target)) from error
        return from_pretrained(target, file=place)

    @functools.cached_property
    def _inputs(self) -> dict[str, list[int | None]]:
        """What the model takes: names, and the sizes of their axes, None where any size goes."""
        model = ModelFile(self.path)
        return {
            value.name: [axis.dim_value or None for axis in value.type.tensor_type.shape.dim]
            for value in model.proto.graph.input
            if value.name not in model.initializers
        }

    @property
    def _text_inputs(self) -> dict[str, list[int | None]]:
        return {name: self._inputs[name] for name in INPUTS if name in self._inputs}

    @functools.cached_property
    def _texts(self) -> Texts:
        told = _json(self.folder / "special_tokens_map.json") | _json(self.folder / "tokenizer_config.json")
        return Texts(self.folder, self.tokenizer, self.config, told, self._text_inputs)


def from_pretrained(folder: str | os.PathLike[str], *, file: str | os.PathLike[str] | None = None) -> Pretrained:
    """A model in the layout of Hugging Face, on the disk: nothing is downloaded.

    Args:
        folder: The folder: what ``optimum-cli export onnx`` writes, or a snapshot of the hub.
        file: The ONNX file in it; where none is given ``onnx/model.onnx`` or ``model.onnx``, the weights of full
            precision, rather than quantised ones, which train worse.

    Returns:
        The model, and what belongs to it.

    Raises:
        GnpError: There is no such folder, no model in it, or several to choose from.

    Warns:
        UserWarning: The only model has the name of a quantised one, or there are two of the usual names.

    >>> bert = from_pretrained("bert")  # doctest: +SKIP
    >>> step = gnp.rewrite(bert.path, loss="cross-entropy")  # doctest: +SKIP
    """
    root = Path(as_path(folder))
    if not root.is_dir():
        raise GnpError(
            f"{root}: there is no such folder",
            kind="io",
            file=str(root),
            help="models are read from the disk: huggingface_hub.snapshot_download gets one",
        )
    path = root / _inside(root, file) if file is not None else _model_in(root)
    if not path.is_file():
        raise GnpError(f"{path}: there is no such file", kind="io", file=str(path), help=_there(root))
    return Pretrained(root, path, _json(root / "config.json"), _json(root / PREPROCESSOR))


def _inside(root: Path, file: str | os.PathLike[str]) -> Path:
    path = Path(as_path(file))
    if path.is_absolute() or ".." in path.parts:
        raise GnpError(f"{path}: not in the folder {root}", file=str(path), help=_there(root))
    return path


def _model_in(root: Path) -> Path:
    found = _models(root)
    usual = [name for name in map(Path, _USUAL) if name in found]
    plain = [name for name in found if not _REDUCED.search(name.stem)]
    chosen = usual[0] if usual else plain[0] if len(plain) == 1 else found[0] if len(found) == 1 else None
    if chosen is None and found:
        raise GnpError(f"{root}: there are several models", file=str(root), help=_there(root))
    if chosen is None:
        snapshots = sorted((root / "snapshots").glob("*"))
        raise GnpError(
            f"{root}: there is no ONNX model",
            kind="io",
            file=str(root),
            help="optimum-cli export onnx --model NAME FOLDER writes one; gnp.from_torch exports a module"
            if not snapshots
            else f"the snapshots in it are such folders: {', '.join(map(str, snapshots))}",
        )
    others = [str(name) for name in found if name != chosen]
    if others:
        _LOGGER.info("%s: taking %s; there are also %s", root, chosen, ", ".join(others))
    if len(usual) > 1:
        warnings.warn(f"{root}: taking {chosen} rather than {usual[1]} (file=)", stacklevel=3)
    if chosen not in plain:
        warnings.warn(
            f"{root}: the only model is {chosen}, whose weights, as its name says, are not float32", stacklevel=3
        )
    return root / chosen


def _models(root: Path) -> list[Path]:
    """The models in the folder; in the cache of the hub, those in its snapshots are none of it."""
    found = sorted(file.relative_to(root) for file in root.rglob("*.onnx"))
    return [file for file in found if file.parts[0] != "snapshots"]


def _there(root: Path) -> str:
    found = [str(file) for file in _models(root)]
    return f"file= one of {', '.join(found)}" if found else "there is no ONNX model in the folder"


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise GnpError(f"{file}: not JSON: {error}", kind="format", file=str(file)) from error
    if not isinstance(found, dict):
        raise GnpError(f"{file}: expected an object, not {type(found).__name__}", kind="format", file=str(file))
    return found
