"""The rehearsal of a whole table: its data are read by the loaders of the true ones, its sums are those of the runs."""

from argparse import Namespace
from dataclasses import replace

import pytest
from PIL import Image

from benchmarks import rehearsal, rehearsal_data
from mocoop.checkout import import_datasets
from mocoop.protocol import PROTOCOLS
from mocoop.protocols.plan import Request, plan_runs
from tests.protocols.checkout import finish

CLASSES = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All data sets, of four classes each and twice as many test images as the scale leaves."""
    root, patch = tmp_path_factory.mktemp("rehearsed"), pytest.MonkeyPatch()
    few = {name: replace(shape, classes=CLASSES, test=40) for name, shape in rehearsal_data.SHAPES.items()}
    patch.setattr(rehearsal_data, "SHAPES", few)
    patch.setattr(rehearsal_data, "PICTURES", 2)
    rehearsal_data.make_data(root, list(few), scale=0.2, shots=3)
    patch.undo()
    return root


def test_the_eleven_are_those_of_the_protocol():
    assert set(rehearsal_data.SHAPES) == set(PROTOCOLS["base2new"].datasets)


@pytest.mark.parametrize("name", rehearsal_data.SHAPES)
def test_each_is_read_by_its_own_loader(made, name):
    dataset = import_datasets().get(rehearsal_data._registered_name(name)).open(str(made))
    splits = dataset.load_splits(store=False)
    assert len(splits.train) == 3 * CLASSES and len(splits.test) == 8
    assert splits.val is None or len(splits.val) == 3 * CLASSES
    assert len({item.classname for item in splits.train}) == CLASSES
    assert {item.label for item in splits.test} == set(range(CLASSES))
    paths = [item.impath for part in splits if part for item in part]
    assert len(set(paths)) == len(paths)
    with Image.open(paths[0]) as image:
        assert image.size == (500, 375) and image.format == "JPEG"
        image.load()


def test_no_two_files_are_alike(made):
    contents = [path.read_bytes() for path in made.rglob("*.jp*g")] + [p.read_bytes() for p in made.rglob("*.JPEG")]
    assert len(set(contents)) == len(contents) > 100


def test_what_is_there_is_not_made_again(made):
    times = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    rehearsal_data.make_data(made, list(rehearsal_data.SHAPES), scale=0.2, shots=3)
    assert times == {path: path.stat().st_mtime_ns for path in made.rglob("*")}


def test_each_part_grows_with_what_it_is_made_of(tmp_path, monkeypatch):
    """Fixed parts stay; what is of steps, epochs and images is as many times as long as there are more of them."""
    request = Request("base2new", ("CoOp",), ("dtd",), (1,), (2,), data=str(tmp_path), output=str(tmp_path / "out"))
    trained, tested = plan_runs(request, rehearsal.CHECKOUT, with_data=False)
    (tmp_path / "out").mkdir()
    parts = dict.fromkeys(rehearsal.PARTS, 1.0)
    config = {"DATALOADER": {"TRAIN_X": {"BATCH_SIZE": 32}}, "OPTIM": {"MAX_EPOCH": 50}}
    record = {"timings": parts, "config": config, "num_classes": 24}
    folder = rehearsal.CHECKOUT / trained.folder
    folder.mkdir(parents=True)
    (folder / "history.csv").write_text("step\n" * (1 + rehearsal.FIRST_STEPS + 45))  # 50 epochs of a step
    args = Namespace(scale=0.1)
    found = rehearsal.at_full_size(trained, record, args)
    steps = (200 * (24 * 16 // 32) - rehearsal.FIRST_STEPS) / 45  # the configuration's epochs, of 12 steps each
    images = 1692 / 169
    for part in rehearsal.PARTS:
        expected = steps if part in ("steps", "loader") else 4.0 if part == "first batch" else 1.0
        expected = images if part in ("tests", "decoding", "kept features") else expected
        assert found[part] == pytest.approx(expected), part
    evaluated = rehearsal.at_full_size(tested, record, args)
    assert evaluated["steps"] == 1.0 and evaluated["tests"] == pytest.approx(images)


def test_trees_are_compared_by_their_predictions(tmp_path):
    request = Request("base2new", ("ZeroshotCLIP",), ("dtd",), (1,), data=str(tmp_path), output=str(tmp_path / "now"))
    runs = plan_runs(request, rehearsal.CHECKOUT, with_data=False)
    for tree, other in (("before", 0.5), ("now", 0.75)):
        for number, run in enumerate(runs):
            folder = finish(tmp_path / tree, run)
            assert folder == tmp_path / tree / run.name
            row = f"a.jpg,0,0,{other if number else 0.25},"
            (folder / "predictions.csv").write_text(f"path,label,prediction,confidence,domain\n{row}\n")
    text = rehearsal.compared(runs, tmp_path)
    same = "1 of 2 runs predict the same to the bit, 0 of 0 learned the same; accuracies differ by up to 0.00"
    assert text.startswith(same)
    assert "confidences by up to 2.5e-01" in text.splitlines()[0] and len(text.splitlines()) == 2
