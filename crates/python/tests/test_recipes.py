"""The page docs/python.md: its recipes run, and print what stands below them."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/python.md").read_text("utf-8")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def recipes():
    """By heading: blocks of code, each with what it prints, or None where that is not said."""
    found = {}
    for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE)[1:]:
        title, text = part.split("\n", 1)
        blocks = re.findall(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", text, flags=re.DOTALL)
        if blocks:
            found[title] = [(code, printed or None) for code, printed in blocks]
    return found


def same(printed, expected):
    """Whether words are the same, and numbers near: by a tenth, or by two in the last place, as engines round."""
    if NUMBER.sub("#", printed) != NUMBER.sub("#", expected):
        return False
    return all(near(a, b) for a, b in zip(NUMBER.findall(printed), NUMBER.findall(expected)))


def near(found, expected):
    last = 10.0 ** -len(expected.partition(".")[2])
    value = float(expected.replace(",", ""))
    return abs(float(found.replace(",", "")) - value) <= max(0.1 * abs(value), 2 * last)


def test_the_page_has_eight_recipes():
    assert [title[:2] for title in recipes()][1:] == [f"{number}." for number in range(1, 9)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("title", recipes())
def test_a_recipe_runs(title, tmp_path, monkeypatch):
    blocks = recipes()[title]
    for package in ("torch", "tokenizers", "pandas"):
        if any(re.search(rf"^\s*(import|from) {package}", code, re.MULTILINE) for code, _ in blocks):
            pytest.importorskip(package)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "recipe"}
    for code, expected in blocks:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(code, title, "exec"), names)
        if expected is not None:
            assert same(said.getvalue(), expected), said.getvalue()
