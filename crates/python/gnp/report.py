"""What a rewrite did, and why."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from typing import Any

from ._words import in_python


@dataclass(frozen=True)
class Choice:
    """Something that was inferred."""

    what: str
    """What was chosen and why."""
    arguments: tuple[str, ...]
    """The keyword arguments that say otherwise."""


@dataclass(frozen=True)
class Constant:
    """A float32 constant of the model."""

    name: str
    shape: tuple[int, ...]
    trains: bool
    """Whether it trains."""
    reason: str
    """Why."""
    undecided: bool
    """Whether evidence is missing, or contradicts itself."""


@dataclass(frozen=True)
class Report:
    """What a step model was made of: every choice, and what trains.

    In a notebook it is a table.
    """

    config: dict[str, Any]
    """Every choice, made by the caller or for them."""
    choices: tuple[Choice, ...]
    """What was inferred."""
    warnings: tuple[str, ...]
    """What the caller should know."""
    batch: tuple[str, ...]
    """What is fed in every step, the labels last: ``x: FLOAT [batch, 4]``."""
    hyperparameters: dict[str, float]
    """What may be fed in every step, and what counts where it is not."""
    constants: tuple[Constant, ...]
    """Every float32 constant of the model: whether it trains, and why."""
    parameters: tuple[str, ...]
    """The names of the trainable parameters."""
    numbers: int
    """Their elements."""
    operators: dict[str, dict[str, int]]
    """Per operator: ``before`` in the model, ``always`` in the step, ``second_pass`` behind its If."""
    text: str = field(repr=False)
    """The same as ``gnp-rewrite`` prints it."""

    @classmethod
    def _of(cls, report: str, text: str) -> Report:
        found = json.loads(report)
        return cls(
            config=found["config"],
            choices=tuple(Choice(choice["what"], _arguments(choice["flag"])) for choice in found["choices"]),
            warnings=tuple(map(in_python, found["warnings"])),
            batch=tuple(found["batch"]),
            hyperparameters={number["name"]: number["default"] for number in found["hyperparameters"]},
            constants=tuple(
                Constant(**constant | {"shape": tuple(constant["shape"])}) for constant in found["constants"]
            ),
            parameters=tuple(found["parameters"]),
            numbers=found["numbers"],
            operators=found["operators"],
            text=text,
        )

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        def row(constant: Constant) -> str:
            cells = [constant.name, "×".join(map(str, constant.shape)) or "scalar", constant.reason]
            mark = "●" if constant.trains else "○"
            return f"<tr><td>{mark}</td>" + "".join(f"<td style='text-align:left'>{html.escape(c)}</td>" for c in cells)

        def listed(title: str, lines: list[str]) -> str:
            items = "".join(f"<li>{_code(line)}</li>" for line in lines)
            return f"<p style='margin:.5em 0 0'>{title}</p><ul style='margin:0'>{items}</ul>" if lines else ""

        penalty = f"r = {self.config['r']:g}, α = {self.config['alpha']:g}"
        trains = sum(constant.trains for constant in self.constants)
        head = f"<b>step model</b> of {html.escape(self.config['model'])}: {penalty}; "
        head += f"{trains} of {len(self.constants)} float constants train, {self.numbers:,} numbers"
        inferred = [f"{c.what}: {', '.join(c.arguments)}" if c.arguments else c.what for c in self.choices]
        rows = "".join(map(row, self.constants))
        return (
            f"<div>{head}{listed('Fed in every step', list(self.batch))}"
            f"{listed('Inferred, and the arguments that say otherwise', inferred)}"
            f"{listed('Warnings', list(self.warnings))}"
            f"<details><summary>What trains (●), and what does not (○)</summary><table>"
            f"<thead><tr><th></th><th>constant</th><th>shape</th><th>why</th></tr></thead>{rows}</table></details></div>"
        )


def _code(text: str) -> str:
    """HTML of a message, in which names stand between backquotes."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))


def _arguments(flags: str) -> tuple[str, ...]:
    """The keyword arguments of flags: ``--train, --also-train`` are ``train``, ``also_train``."""
    return tuple(flag.strip().removeprefix("--").replace("-", "_") for flag in flags.split(",") if "--" in flag)
