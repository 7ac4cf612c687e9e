"""What pictures are to be before a model takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Pictures | None:
        """What ``preprocessor_config.json`` says of pictures; None where it says nothing of them.

        Raises:
            TypeError: It says what cannot be; ValueError likewise.
        """
        if not config.keys() & {"size", "crop_size", "image_mean", "do_resize", "do_rescale"}:
            return None
        height, width = _sides(config)
        scale = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
        normalises = config.get("do_normalize", True)
        mean = tuple(map(float, config.get("image_mean", [0]))) if normalises else (0.0,)
        std = tuple(map(float, config.get("image_std", [1]))) if normalises else (1.0,)
        return cls(height, width, scale, mean, std)


def _sides(config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Height and width: of what is cropped, else of what pictures are resized to."""
    size = (config.get("crop_size") if config.get("do_center_crop") else None) or config.get("size")
    if isinstance(size, Mapping):
        short = size.get("shortest_edge")
        size = [size.get("height", short), size.get("width", short)]
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return None if height is None else int(height), None if width is None else int(width)
