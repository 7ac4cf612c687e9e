"""The pages that the tables of these scripts stand in."""

from pathlib import Path

PROJECT = Path(__file__).parents[2]


def write(script, lines, page="exporting.md"):
    """Puts the table of a script between its marks in a page of docs."""
    file = PROJECT / "docs" / page
    begin, end = (f"<!-- {Path(script).name}: {mark} -->\n" for mark in ("begin", "end"))
    before, rest = file.read_text().split(begin)
    file.write_text(before + begin + "".join(lines) + end + rest.split(end)[1])
