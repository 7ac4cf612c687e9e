"""Writes `gnp/options.py`: what the programs' flags are as keyword arguments.

python crates/python/options.py > crates/python/gnp/options.py
"""

import textwrap

from gnp import _gnp
from gnp._words import in_python

HEAD = '''\
"""Keyword arguments, which are the programs' flags by their long names: ``clip_norm=1.0`` is ``--clip-norm 1.0``.

This file is written by ``crates/python/options.py``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, Union

StrPath = Union[str, "os.PathLike[str]"]
'''

GROUPS = {
    "rewrite": ("RewriteOptions", "What :func:`gnp.rewrite` takes."),
    "engine": ("EngineOptions", "What computes, and how: what :class:`gnp.Trainer` takes."),
    "artifacts": ("ArtifactOptions", "What :func:`gnp.make_artifacts` and :func:`gnp.rewrite_artifacts` take."),
    "run": ("RunOptions", "What :func:`gnp.run` takes."),
    "sweep": ("SweepOptions", "What :func:`gnp.sweep` takes for every run."),
}

# What the functions take as arguments of their own.
TAKEN = {
    "artifacts": {"input", "output", "emit", "json", "quiet", "verbose"},
    "sweep": {"alpha", "r", "out", "seed", "init"},
}


def main() -> None:
    print(HEAD)
    for group, (name, what) in GROUPS.items():
        print(f'\nclass {name}(TypedDict, total=False):\n    """{what}"""\n')
        for option in _gnp.options("run" if group == "sweep" else group):
            if option["name"] in TAKEN.get(group, ()):
                continue
            kind = option["annotation"]
            if option["choices"]:
                kind = f"Literal[{', '.join(repr(choice).replace(chr(39), chr(34)) for choice in option['choices'])}]"
            print(f"    {option['name']}: {kind}")
            words = in_python(" ".join(option["help"].split()).replace("; may be repeated", "")).rstrip(".") + "."
            print(textwrap.indent("\n".join(textwrap.wrap(f'"""{words}"""', 112)), "    "))


if __name__ == "__main__":
    main()
