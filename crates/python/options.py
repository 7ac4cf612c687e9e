"""Writes `gnp/options.py`: what the programs' flags are as keyword arguments.

python -I crates/python/options.py > crates/python/gnp/options.py
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

# Names, what takes them, the group of arguments that they are, and the classes whose options they have too.
CLASSES = [
    ("StepOptions", "What a step model is made with, besides its rates.", "rewrite", []),
    ("RewriteOptions", "What :func:`gnp.rewrite` takes.", "rewrite", ["StepOptions"]),
    ("EngineOptions", "What computes, and how: what :class:`gnp.Trainer` takes.", "engine", []),
    ("ArtifactOptions", "What :func:`gnp.make_artifacts` and its like take.", "artifacts", ["RewriteOptions"]),
    ("SweepOptions", "What :func:`gnp.sweep` takes for every run.", "run", ["StepOptions", "EngineOptions"]),
    ("RunOptions", "What :func:`gnp.run` takes.", "run", ["SweepOptions"]),
]

# What a class leaves out: arguments of the functions themselves, or what a class that builds on it adds.
LEFT_OUT = {
    "StepOptions": {"r", "alpha", "lr"},
    "ArtifactOptions": {"input", "output", "emit", "json", "quiet", "verbose"},
    "SweepOptions": {"alpha", "r", "out", "seed", "init"},
}

# What takes more than the words that are listed.
WITH_MORE = {"loss"}


def main() -> None:
    print(HEAD)
    known: dict[str, set[str]] = {}
    for name, what, group, bases in CLASSES:
        print(f'\nclass {name}({", ".join(bases) or "TypedDict"}, total=False):\n    """{what}"""\n')
        options = {option["name"]: option for option in _gnp.options(group)}
        known[name] = options.keys() - LEFT_OUT.get(name, set())
        inherited = set().union(*(known[base] for base in bases))
        assert inherited <= known[name], (name, inherited - known[name])
        for option in (options[own] for own in options if own in known[name] - inherited):
            kind = option["annotation"]
            if option["choices"] and option["name"] not in WITH_MORE:
                kind = f"Literal[{', '.join(repr(choice).replace(chr(39), chr(34)) for choice in option['choices'])}]"
            print(f"    {option['name']}: {kind}")
            words = in_python(" ".join(option["help"].split()).replace("; may be repeated", "")).rstrip(".") + "."
            print(textwrap.indent("\n".join(textwrap.wrap(f'"""{words}"""', 112)), "    "))


if __name__ == "__main__":
    main()
