"""The page docs/python.md: its recipes run, and print what stands below them.

The blocks of a recipe share their names and a folder, into which what they name of ``models/`` is copied.

- ``python`` is run.
- ``diff`` changes the code before it, which then runs anew.
- ``text`` right behind one of these is what that prints. A ``…`` stands for anything, a line of it for any lines.
  Numbers with a decimal point may differ by a tenth, or by two in the last place: engines and processors round in their
  own ways. All else is exact, but for the width of blanks.
"""

import contextlib
import io
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/python.md"

# What a recipe is skipped without.
OPTIONAL = ("pandas", "tensorboard", "tokenizers", "torch")

NUMBER = r"-?\d+\.\d+"


@dataclass
class Code:
    """A block that runs; ``line`` is where it stands on the page."""

    line: int
    text: str
    is_diff: bool
    prints: str | None = None


def recipes() -> dict[str, list[Code]]:
    """The code below each heading."""
    found: dict[str, list[Code]] = {}
    blocks = r"^#+ (?P<heading>[^\n]+)$|^```(?P<kind>\w*)\n(?P<text>.*?)^```$|^\S[^\n]*$"
    title, last = "", None
    page = PAGE.read_text("utf-8")
    for block in re.finditer(blocks, page, re.MULTILINE | re.DOTALL):
        kind = block["kind"]
        if kind in ("python", "diff"):
            last = Code(page.count("\n", 0, block.start("text")) + 1, block["text"], kind == "diff")
            found.setdefault(title, []).append(last)
            continue
        if kind == "text" and last is not None:
            last.prints = block["text"]
        title, last = block["heading"] or title, None
    return found


def changed(code: str, diff: str) -> str:
    """The code after a diff, whose hunks are between empty lines."""
    for hunk in diff.strip("\n").split("\n\n"):
        lines = [(line[0], line[1:] + "\n") for line in hunk.splitlines()]
        before, after = ("".join(text for sign, text in lines if sign in f" {kept}") for kept in "-+")
        assert code.count(before) == 1, f"is {code.count(before)} times in the code:\n{before}"
        code = code.replace(before, after)
    return code


def printed(code: Code, text: str, names: dict) -> str:
    """What ``text`` prints. In a traceback its lines are those of the page."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\n" * (code.line - 1) + text, PAGE, "exec"), names)
    return out.getvalue()


def is_said(said: str, page: str) -> bool:
    """Whether what was said is what the page says."""
    words, wanted = (re.sub(r"[ \t]+", " ", text).strip() for text in (said, page))
    parts = re.split(rf"({NUMBER}|…)", wanted)
    pattern = "".join(
        ".*" if part == "…" else f"({NUMBER})" if at % 2 else re.escape(part) for at, part in enumerate(parts)
    )
    match = re.fullmatch(pattern, words, re.DOTALL)
    numbers = [part for part in parts[1::2] if part != "…"]
    return match is not None and all(is_near(*pair) for pair in zip(match.groups(), numbers))


def is_near(said: str, page: str) -> bool:
    last_place = 10.0 ** -len(page.partition(".")[2])
    return abs(float(said) - float(page)) <= max(0.1 * abs(float(page)), 2.001 * last_place)


def test_numbers_are_compared_and_words_are_the_same():
    page = "loss 0.0218, 6 parameters\n…\n['a', …, 'b']\nend"
    assert is_said("loss  0.0219, 6 parameters\nx 1\ny\n['a', 'c', 'b']\nend\n", page)
    assert not is_said("loss 0.0245, 6 parameters\nx\n['a', 'c', 'b']\nend", page)
    assert not is_said("loss 0.0218, 7 parameters\nx\n['a', 'c', 'b']\nend", page)
    assert not is_said("loss 0.0218, 6 parameters\nx\n['a', 'c', 'b']", page)


def test_the_page_has_eight_recipes():
    assert [title[:2] for title in recipes()][1:] == [f"{number}." for number in range(1, 9)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("title", recipes())
def test_a_recipe_runs(title, tmp_path, monkeypatch):
    blocks = recipes()[title]
    everything = "\n".join(block.text for block in blocks)
    for package in OPTIONAL:
        if re.search(rf"(?im)^[+ ]*(import|from) {package}\b|\b{package}\(", everything):
            pytest.importorskip(package)
    for name in set(re.findall(r"\"models/([\w.]+)", everything)):
        (tmp_path / "models").mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / "models" / name).is_dir() else shutil.copy
        copy(ROOT / "models" / name, tmp_path / "models" / name)
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "recipe"}
    text = ""
    for block in blocks:
        if block.is_diff:
            text, names = changed(text, block.text), {"__name__": "recipe"}
        else:
            text = block.text
        said = printed(block, text, names)
        if block.prints is not None:
            assert is_said(said, block.prints), f"printed:\n{said}\nthe page:\n{block.prints}"
