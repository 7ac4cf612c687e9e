"""The notebook runs as it is, from its folder."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_notebook_runs():
    notebook = nbformat.read(EXAMPLES / "what-r-and-alpha-do.ipynb", as_version=4)
    stored = [bool(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}})
    client.execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    pictures = [output for cell in ran for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 5
    assert [bool(cell.outputs) for cell in ran] == stored
