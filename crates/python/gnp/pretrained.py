"""Models in the layout of Hugging Face: a folder with ``config.json``, ``onnx/model.onnx`` and ``tokenizer.json``."""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._optional import require
from ._paths import as_path
from .errors import GnpError

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

_LOGGER = logging.getLogger("gnp")

# Where exporters put the model of full precision, best first.
_USUAL = ("onnx/model.onnx", "model.onnx")


@dataclass(frozen=True)
class Pretrained:
    """A model in its folder, with what belongs to it.

    Attributes:
        folder: The folder.
        path: The ONNX model: what :func:`gnp.rewrite` takes.
        config: What ``config.json`` says; empty where there is none.
        preprocessor: What ``preprocessor_config.json`` says of images (``size``, ``image_mean``, ``image_std``); empty
            where there is none.
    """

    folder: Path
    path: Path
    config: dict[str, Any]
    preprocessor: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """The names of the classes in their order; empty where they have none."""
        names = self.config.get("id2label") or {}
        try:
            return [str(names[key]) for key in sorted(names, key=int)]
        except (TypeError, ValueError, AttributeError):
            return []

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
                help="transformers writes one: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
            )
        tokenizers = require("tokenizers", "to split text")
        try:
            return tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:
            raise GnpError(f"{file}: not a tokenizer: {error}", kind="format", file=str(file)) from error

    def encode(self, texts: Sequence[str], *, length: int | None = None) -> dict[str, NDArray[np.int64]]:
        """Texts as the model takes them.

        Args:
            texts: The texts, or pairs of texts.
            length: How many tokens each has, longer ones cut off and shorter ones padded; where none is given, as many
                as the longest.

        Returns:
            ``input_ids``, ``attention_mask`` and ``token_type_ids``, those of them that are inputs of the model, int64
            of shape [texts, tokens].

        Raises:
            GnpError: There is no tokenizer, or nothing to encode.
        """
        import numpy as np

        if isinstance(texts, str) or not len(texts):
            raise GnpError("expected texts, a list of at least one", help="[text] is one")
        tokenizer = self._padding(length)
        try:
            encoded = tokenizer.encode_batch(list(texts))
        except Exception as error:
            raise GnpError(f"the tokenizer refuses the texts: {error}") from error
        fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        names = self._input_names
        found = {
            name: np.array([getattr(one, field) for one in encoded], np.int64)
            for name, field in fields.items()
            if name in names
        }
        if not found:
            raise GnpError(f"{self.path}: no input is one of {', '.join(fields)}; it takes {', '.join(names)}")
        return found

    def save(self, folder: str | os.PathLike[str], model: onnx.ModelProto) -> Pretrained:
        """Writes a trained model in the same layout: with its configuration, tokenizer and preprocessor.

        Args:
            folder: The folder to write; it must not hold a model already.
            model: The model: ``step.trained(trainer.state_dict())``.

        Returns:
            What was written.

        Raises:
            GnpError: There is a model in the folder, or it cannot be written.
        """
        target = Path(folder)
        path = target / self.path.relative_to(self.folder)
        if path.exists():
            raise GnpError(f"{path}: the file exists already", kind="io", file=str(path), help="choose another folder")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for file in self.folder.iterdir():
                belongs = file.suffix in (".json", ".txt", ".model") and file.is_file()
                if belongs and not (target / file.name).exists():
                    shutil.copyfile(file, target / file.name)
            data = model.SerializeToString()
            made = path.with_name(f".{path.name}.new")
            made.write_bytes(data)
            made.replace(path)
        except OSError as error:
            raise GnpError(f"{target}: cannot write it: {error.strerror}", kind="io", file=str(target)) from error
        return from_pretrained(target, file=path.relative_to(target))

    def _padding(self, length: int | None) -> Any:
        """The tokenizer, which pads and cuts off at ``length``."""
        # Its own padding and truncation stay as they are.
        tokenizer = self.tokenizer.from_str(self.tokenizer.to_str())
        known = tokenizer.padding or {}
        pad = known.get("pad_token") or next(
            (token for token in ("[PAD]", "<pad>", "<|endoftext|>") if tokenizer.token_to_id(token) is not None), None
        )
        if pad is None:
            raise GnpError(f"{self.folder}: the tokenizer has no token to pad with", help="encode texts of one length")
        number = tokenizer.token_to_id(pad)
        tokenizer.enable_padding(pad_id=number or 0, pad_token=pad, length=length)
        if length is not None:
            tokenizer.enable_truncation(length)
        return tokenizer

    @functools.cached_property
    def _input_names(self) -> list[str]:
        onnx = require("onnx", "to look at the model")
        return [value.name for value in onnx.load(self.path, load_external_data=False).graph.input]


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
    path = root / file if file is not None else _model_in(root)
    if not path.is_file():
        raise GnpError(f"{path}: there is no such file", kind="io", file=str(path), help=_there(root))
    return Pretrained(root, path, _json(root / "config.json"), _json(root / "preprocessor_config.json"))


def _model_in(root: Path) -> Path:
    found = sorted(file.relative_to(root) for file in root.rglob("*.onnx"))
    usual = [name for name in map(Path, _USUAL) if name in found]
    if usual or len(found) == 1:
        chosen = usual[0] if usual else found[0]
        others = [str(name) for name in found if name != chosen]
        if others:
            _LOGGER.info("%s: taking %s; there are also %s", root, chosen, ", ".join(others))
        return root / chosen
    if not found:
        raise GnpError(
            f"{root}: there is no ONNX model",
            kind="io",
            file=str(root),
            help="optimum-cli export onnx --model NAME FOLDER writes one; gnp.from_torch exports a module",
        )
    raise GnpError(f"{root}: there are several models", file=str(root), help=_there(root))


def _there(root: Path) -> str:
    found = sorted(str(file.relative_to(root)) for file in root.rglob("*.onnx"))
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
