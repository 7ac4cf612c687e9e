"""Paths, as the library takes them."""

from __future__ import annotations

import os

from .errors import GnpError


def as_path(path: str | os.PathLike[str]) -> str:
    """The text of a path.

    Raises:
        GnpError: It is none.
    """
    try:
        return os.fsdecode(path)
    except TypeError:
        raise GnpError(f"expected a path, not {type(path).__name__}") from None
