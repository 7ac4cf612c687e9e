"""Texts as a model takes them: tokens, padded and cut off."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import GnpError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The inputs that a tokenizer makes, and what they are in an encoding.
INPUTS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
# Tokens to pad with, where nothing names one.
_PADS = ("[PAD]", "<pad>", "<|endoftext|>")


def check(texts: object, length: object, limit: object) -> None:
    """Fails where these are no texts, or no numbers of tokens."""
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not len(texts):
        raise GnpError("expected texts, a list of at least one", help="[text] is one")
    for name, number in (("length", length), ("limit", limit)):
        if number is not None and (not isinstance(number, int) or number < 1):
            raise GnpError(f"{name}= is a number of tokens, not {number!r}")


class Texts:
    """Encodes texts for a model.

    Args:
        folder: The folder of the model, for messages.
        tokenizer: Its ``tokenizers.Tokenizer``, which stays as it is.
        config: What ``config.json`` says.
        told: What the files beside ``tokenizer.json`` say of it.
        inputs: Those of :data:`INPUTS` that the model has, with the sizes of their axes, None where any size goes.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Any,
        config: Mapping[str, Any],
        told: Mapping[str, Any],
        inputs: Mapping[str, Sequence[int | None]],
    ) -> None:
        self._folder = folder
        self._given = tokenizer
        self._config = config
        self._told = told
        self._inputs = inputs

    def encode(self, texts: Sequence[Any], *, length: int | None, limit: int | None) -> dict[str, NDArray[np.int64]]:
        """:meth:`Pretrained.encode`."""
        import numpy as np

        fixed = length or next((axes[1] for name in self._inputs if len(axes := self._inputs[name]) > 1), None)
        most = limit or fixed or self._most_tokens
        encoded = self._encoded(list(texts), most)
        cut = sum(bool(one.overflowing) for one in encoded)
        if cut and limit is None and length is None:
            warnings.warn(f"{cut} of {len(texts)} texts have more than {most} tokens and were cut off", stacklevel=3)
        longest = max(len(one.ids) for one in encoded)
        size = fixed or longest
        if most and longest > most or longest > size:
            raise GnpError(
                f"a text has {longest} tokens, and {min(most or size, size)} are asked for",
                help="some tokens are the tokenizer's own",
            )
        pad = self._padding if any(len(one.ids) < size for one in encoded) else _Padding(0, 0, False)
        fills = {"input_ids": pad.token, "token_type_ids": pad.type}
        found = {name: np.full((len(encoded), size), fills.get(name, 0), np.int64) for name in self._inputs}
        for row, one in enumerate(encoded):
            count = len(one.ids)
            place = slice(size - count, size) if pad.left else slice(count)
            for name in self._inputs:
                found[name][row, place] = getattr(one, INPUTS[name])
        return found

    @property
    def _most_tokens(self) -> int | None:
        """The most that the model takes; None where nothing tells."""
        # Where there is no limit, transformers writes 10^30.
        for number in (self._told.get("model_max_length"), self._config.get("max_position_embeddings")):
            if isinstance(number, (int, float)) and 0 < number < 2**31:
                return int(number)
        return None

    @functools.cached_property
    def _own_tokenizer(self) -> Any:
        """The tokenizer again: padding and truncation of the user's stay as they are."""
        tokenizer = self._given.from_str(self._given.to_str())
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
        known, config = self._given.padding or {}, self._told
        named = config.get("pad_token")
        named = named.get("content") if isinstance(named, dict) else named
        candidates = [
            self._given.token_to_id(named) if named else None,
            known.get("pad_id"),
            self._config.get("pad_token_id"),
            *map(self._given.token_to_id, _PADS),
        ]
        token = next((number for number in candidates if isinstance(number, int)), None)
        if token is None:
            raise GnpError(
                f"{self._folder}: the tokenizer has no token to pad with",
                help="name one as `pad_token` in tokenizer_config.json, or encode texts of one length",
            )
        side = config.get("padding_side") or known.get("direction")
        return _Padding(token, known.get("pad_type_id", 0), side == "left")


@dataclass(frozen=True)
class _Padding:
    token: int
    type: int
    left: bool
