"""The notebook runs from its first cell to its last, and comes to what its text says."""

import json
from pathlib import Path

import matplotlib
import pytest
from matplotlib import pyplot as plt

NOTEBOOK = Path(__file__).parents[2] / "examples/quickstart.ipynb"


@pytest.fixture(scope="module")
def after(data_root) -> dict:
    """The names that the cells leave; `pictures` counts the figures that were drawn."""
    matplotlib.use("Agg")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names = {"__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA", str(data_root))
        for number, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    names["pictures"] = len(plt.get_fignums())
    plt.close("all")
    return names


def test_training_pays(after):
    assert after["accuracy"] > after["before"] + 0.05
    assert after["new_accuracy"] > 0.6


def test_the_router_tells_the_styles(after):
    """For most styles the expert with the largest weight is that of the style's own templates."""
    largest = [after["method"].group_names[column] for column in after["table"].argmax(1)]
    assert sum(a == b for a, b in zip(largest, after["styles"], strict=True)) >= 5


def test_the_worst_mistakes_are_shown_as_pictures(after):
    assert after["pictures"] == 2 and len(after["worst"]) == 8
    assert (after["predicted"] != after["truth"])[after["worst"]].all()


def test_it_was_saved_with_its_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
