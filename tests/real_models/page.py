"""The page that the tables of these scripts stand in, docs/exporting.md."""

from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs/exporting.md"


def write(script, lines):
    """Puts the table of a script between its marks."""
    begin, end = (f"<!-- {Path(script).name}: {mark} -->\n" for mark in ("begin", "end"))
    before, rest = PAGE.read_text().split(begin)
    PAGE.write_text(before + begin + "".join(lines) + end + rest.split(end)[1])
