"""The tutorial runs from its first cell to its last, and what it shows is as committed."""

import re
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "experiments" / "tutorial.ipynb"
nbformat = pytest.importorskip("nbformat")


def outputs(notebook, kind):
    """The texts (`stream`) or pictures (`display_data`) of a notebook, in order."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == kind]
    return [output.text if kind == "stream" else output.data["image/png"] for output in found]


def accuracy(notebook):
    return float(re.search(r"test accuracy (0\.\d+), [\d.]+ % escalated", "".join(outputs(notebook, "stream")))[1])


def test_committed_outputs_are_small_plots_and_texts():
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    kinds = {output.output_type for cell in notebook.cells for output in cell.get("outputs", [])}
    assert kinds == {"stream", "display_data"} and PATH.stat().st_size < 150_000
    assert len(outputs(notebook, "display_data")) >= 6 and accuracy(notebook) > 0.9
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not re.search(r"/root|/home|site-packages|Traceback|WARNING", "".join(outputs(notebook, "stream")))


@pytest.mark.slow
def test_tutorial_runs(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("PYTHONPATH", str(PATH.parents[2]), prepend=":")
    notebook = nbformat.read(PATH, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert len(outputs(notebook, "display_data")) >= 6 and accuracy(notebook) > 0.85
