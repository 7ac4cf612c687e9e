"""What the library says, in Python's words."""

from __future__ import annotations

import re


def in_python(text: str) -> str:
    """Flags as keyword arguments: ``--freeze 'position'`` is ``freeze='position'``."""

    def written(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        return f"{name}_=" if name == "lambda" else f"{name}="

    return re.sub(r"--([a-z][a-z0-9-]*)(?: (?='))?", written, text)
