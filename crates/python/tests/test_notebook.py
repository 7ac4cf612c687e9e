"""The notebook runs as it is, from its folder, and shows what it has stored."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[3] / "examples"


def shown(notebook):
    """What each cell of code shows: the kinds of its outputs."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[sorted(output.get("data", {"text": None})) for output in cell.outputs] for cell in cells]


def test_the_notebook_runs():
    notebook = nbformat.read(EXAMPLES / "what-r-and-alpha-do.ipynb", as_version=4)
    stored = shown(notebook)
    assert sum("image/png" in kinds for outputs in stored for kinds in outputs) == 5
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    assert shown(notebook) == stored
