import numpy as np
import pytest
from PIL import Image

from mocoop.results.figures.routing import RIGHT, WRONG, Tile, contact_sheet, contact_tiles, read_small
from tests.results.routed import EXPERTS, routed_predictions


@pytest.fixture
def tiles(tmp_path):
    (tmp_path / "set").mkdir()
    for number in (0, 1):
        Image.new("RGB", (300, 200), "red").save(tmp_path / f"set/image{number:02}.png")
    (tmp_path / "set/image02.png").write_text("no image")
    predictions = routed_predictions()
    predictions["experts"] = predictions["experts"].str.split("|")
    predictions["gates"] = [[float(gate) for gate in gates.split("|")] for gates in predictions["gates"]]
    return contact_tiles(predictions.assign(classname="cat"), EXPERTS, tmp_path, count=2)


def test_each_expert_has_the_images_it_weighs_most_in(tiles):
    assert [(tile.path[-6:-4], tile.gate) for tile in tiles["photo"]] == [("03", 1.0), ("00", 0.9)]
    assert [tile.correct for tile in tiles["dark"]] == [False, True]


def test_missing_and_damaged_files_have_no_picture(tiles):
    assert tiles["photo"][0].picture is None and tiles["dark"][1].picture is None
    assert tiles["photo"][1].picture.shape == (85, 128, 3)


def test_the_sheet_says_what_is_missing_and_what_was_wrong(tiles):
    figure = contact_sheet(tiles)
    shown = [axis for axis in figure.axes if axis.axison]
    assert len(shown) == 6
    texts = [text.get_text() for axis in shown for text in axis.texts]
    assert texts.count("image not\nfound") == 4
    assert shown[0].get_title() == "cat\n✓ 1.00"
    wrong = [axis for axis in shown if "✗" in axis.get_title()]
    assert len(wrong) == 1 and wrong[0].spines["left"].get_edgecolor() != shown[0].spines["left"].get_edgecolor()
    assert RIGHT != WRONG


def test_an_expert_that_was_never_chosen_is_named():
    figure = contact_sheet({"photo": [Tile("a", "cat", 1.0, True, np.zeros((4, 4, 3)))], "never": []})
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert "never" in texts and "chosen for\nno image" in texts


def test_many_experts_stand_two_in_a_row():
    tile = Tile("a", "cat", 1.0, True, None)
    figure = contact_sheet({f"expert {number}": [tile] * 6 for number in range(12)})
    spec = figure.axes[0].get_subplotspec().get_gridspec()
    assert (spec.nrows, spec.ncols) == (6, 10)


def test_no_pipe_is_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.png")
    assert read_small(tmp_path / "pipe.png") is None
