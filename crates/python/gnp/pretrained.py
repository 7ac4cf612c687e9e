"""Models in the layout of Hugging Face: a folder with ``config.json``, ``onnx/model.onnx`` and ``tokenizer.json``."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _messages
from ._contract import STATE_KEY
from ._optional import require
from ._paths import as_path
from ._step_interface import ModelFile
from .errors import GnpError

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

_LOGGER = logging.getLogger("gnp")

# Where exporters put the model of full precision, best first.
_USUAL = ("onnx/model.onnx", "model.onnx")
# What ends the names of files that are no plain float32: those of optimum, transformers.js and sentence-transformers.
_REDUCED = re.compile(r"_(quantized|q?u?int8(_\w+)?|int4|fp16|bf16|bnb4|q\d+(f16)?|O\d)$")
# The inputs that a tokenizer makes, what they are in an encoding, and what they are where a text is padded.
_TEXT_INPUTS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
# What is copied beside a trained model; and what of it speaks of other weights.
_COPIED = ("*.json", "*.txt", "*.model", "*.jinja")
_NOT_COPIED = ("*.index.json", "quantize_config.json", "ort_config.json")
# What a model with weights in a second file leaves in the first, by its size in bytes.
_SMALL = 1024
# Tokens to pad with, where nothing names one.
_PADS = ("[PAD]", "<pad>", "<|endoftext|>")


@dataclass(frozen=True)
class Pictures:
    """What pictures are to be before a model takes them.

    ``gnp-run --image-size <height> --divisor <1 / scale> --mean <mean> --std <std>`` does the same to files.

    Attributes:
        height: Pixels; None where the file does not say.
        width: The same.
        scale: What pixels of 0 to 255 are multiplied by.
        mean: What is subtracted then: one number, or one a channel.
        std: What is divided by then.
    """

    height: int | None
    width: int | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


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
        config = self.preprocessor
        if not config.keys() & {"size", "crop_size", "image_mean", "do_resize", "do_rescale"}:
            return None
        try:
            height, width = _sides(config)
            scale = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
            normalises = config.get("do_normalize", True)
            mean = tuple(map(float, config.get("image_mean", [0]))) if normalises else (0.0,)
            std = tuple(map(float, config.get("image_std", [1]))) if normalises else (1.0,)
        except (TypeError, ValueError) as error:
            file = self.folder / "preprocessor_config.json"
            raise GnpError(f"{file}: {error}", kind="format", file=str(file)) from error
        return Pictures(height, width, scale, mean, std)

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
        import numpy as np

        if isinstance(texts, str) or not isinstance(texts, Sequence) or not len(texts):
            raise GnpError("expected texts, a list of at least one", help="[text] is one")
        for name, number in (("length", length), ("limit", limit)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise GnpError(f"{name}= is a number of tokens, not {number!r}")
        names = [name for name in _TEXT_INPUTS if name in self._inputs]
        if not names:
            raise GnpError(
                f"{self.path}: no input is one of {', '.join(_TEXT_INPUTS)}; it takes {', '.join(self._inputs)}"
            )
        fixed = length or next((axes[1] for name in names if len(axes := self._inputs[name]) > 1), None)
        most = limit or fixed or self._most_tokens
        encoded = self._encoded(list(texts), most)
        cut = sum(bool(one.overflowing) for one in encoded)
        if cut and limit is None and length is None:
            warnings.warn(f"{cut} of {len(texts)} texts have more than {most} tokens and were cut off", stacklevel=2)
        longest = max(len(one.ids) for one in encoded)
        size = fixed or longest
        if most and longest > most or longest > size:
            raise GnpError(
                f"a text has {longest} tokens, and {min(most or size, size)} are asked for",
                help="some tokens are the tokenizer's own",
            )
        pad = self._padding if any(len(one.ids) < size for one in encoded) else _Padding(0, 0, False)
        fills = {"input_ids": pad.token, "token_type_ids": pad.type}
        found = {name: np.full((len(encoded), size), fills.get(name, 0), np.int64) for name in names}
        for row, one in enumerate(encoded):
            count = len(one.ids)
            place = slice(size - count, size) if pad.left else slice(count)
            for name in names:
                found[name][row, place] = getattr(one, _TEXT_INPUTS[name])
        return found

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
        proto = _trained(model)
        try:
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            # All of it is written before a file appears; the model is the last.
            with tempfile.TemporaryDirectory(prefix=".gnp-", dir=target) as scratch:
                for file in [*self._beside(target, Path(scratch)), *_written(proto, Path(scratch), place)]:
                    os.replace(Path(scratch) / file, target / file)
        except OSError as error:
            said = error.strerror or error
            raise GnpError(f"{target}: cannot write it: {said}", kind="io", file=str(target)) from error
        return from_pretrained(target, file=place)

    def _beside(self, target: Path, scratch: Path) -> list[Path]:
        """Copies what belongs to the model and is not in `target` yet; the names."""
        found = {file.name for pattern in _COPIED for file in self.folder.glob(pattern) if file.is_file()}
        left = {file.name for pattern in _NOT_COPIED for file in self.folder.glob(pattern)}
        names = [name for name in sorted(found - left) if not (target / name).exists()]
        for name in names:
            shutil.copyfile(self.folder / name, scratch / name)
        return [Path(name) for name in names]

    @functools.cached_property
    def _inputs(self) -> dict[str, list[int | None]]:
        """What the model takes: names, and the sizes of their axes, None where any size goes."""
        model = ModelFile(self.path)
        return {
            value.name: [axis.dim_value or None for axis in value.type.tensor_type.shape.dim]
            for value in model.proto.graph.input
            if value.name not in model.initializers
        }

    @functools.cached_property
    def _tokenizer_config(self) -> dict[str, Any]:
        return _json(self.folder / "special_tokens_map.json") | _json(self.folder / "tokenizer_config.json")

    @property
    def _most_tokens(self) -> int | None:
        """The most that the model takes; None where nothing tells."""
        # Where there is no limit, transformers writes 10^30.
        for number in (self._tokenizer_config.get("model_max_length"), self.config.get("max_position_embeddings")):
            if isinstance(number, (int, float)) and 0 < number < 2**31:
                return int(number)
        return None

    @functools.cached_property
    def _own_tokenizer(self) -> Any:
        """The tokenizer again: padding and truncation of the user's stay as they are."""
        tokenizer = self.tokenizer.from_str(self.tokenizer.to_str())
        tokenizer.no_padding()
        return tokenizer

    def _encoded(self, texts: list[Any], most: int | None) -> list[Any]:
        tokenizer = self._own_tokenizer
        if most is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(most)
        try:
            encoded: list[Any] = tokenizer.encode_batch(texts)
        except Exception as error:
            raise GnpError(f"the tokenizer refuses the texts: {error}") from error
        return encoded

    @functools.cached_property
    def _padding(self) -> _Padding:
        known, config = self.tokenizer.padding or {}, self._tokenizer_config
        named = config.get("pad_token")
        named = named.get("content") if isinstance(named, dict) else named
        candidates = [
            self.tokenizer.token_to_id(named) if named else None,
            known.get("pad_id"),
            self.config.get("pad_token_id"),
            *map(self.tokenizer.token_to_id, _PADS),
        ]
        token = next((number for number in candidates if isinstance(number, int)), None)
        if token is None:
            raise GnpError(
                f"{self.folder}: the tokenizer has no token to pad with",
                help="name one as `pad_token` in tokenizer_config.json, or encode texts of one length",
            )
        side = config.get("padding_side") or known.get("direction")
        return _Padding(token, known.get("pad_type_id", 0), side == "left")


@dataclass(frozen=True)
class _Padding:
    token: int
    type: int
    left: bool


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
    return Pretrained(root, path, _json(root / "config.json"), _json(root / "preprocessor_config.json"))


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


def _sides(config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Height and width: of what is cropped, else of what pictures are resized to."""
    size = (config.get("crop_size") if config.get("do_center_crop") else None) or config.get("size")
    if isinstance(size, Mapping):
        short = size.get("shortest_edge")
        size = [size.get("height", short), size.get("width", short)]
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return None if height is None else int(height), None if width is None else int(width)


def _trained(model: Any) -> Any:
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


def _written(model: Any, folder: Path, place: Path) -> list[Path]:
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
