"""What the library says, in Python's words."""

from __future__ import annotations

import re
from collections.abc import Sequence


def in_python(text: str) -> str:
    """Flags as keyword arguments: ``--freeze 'position'`` is ``freeze='position'``."""

    def written(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        return f"{name}_=" if name == "lambda" else f"{name}="

    return re.sub(r"--([a-z][a-z0-9-]*)(?: (?='))?", written, text)


def listed(names: Sequence[str]) -> str:
    """Names in a message: the first ten, and how many more there are."""
    shown = ", ".join(f"`{name}`" for name in names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
