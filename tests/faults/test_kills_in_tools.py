"""kill -9 while a tool writes tables, figures, predictions or a report: what is there is whole, or not there."""

import re
import shutil
import signal

import pytest

from tests.faults.moments import Moments, file_operations, kill, read_journal
from tests.faults.victims import run, tool

slow = pytest.mark.slow
TIME = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\+00:00)?")  # a report says when it was made


@pytest.fixture(scope="module")
def tree(runs, tmp_path_factory):
    """An output tree of two runs, base and new classes."""
    trained = runs.reference("CoOp")
    flags = ["--eval-only", "--model-dir", str(trained), "--load-epoch", "4"]
    new = runs.new("CoOp", "DATASET.SUBSAMPLE_CLASSES", "new", flags=flags)
    assert new.start().status == 0
    root = tmp_path_factory.mktemp("tree")
    for source, phase in ((trained, "train_base"), (new.out, "test_new")):
        place = root / f"base2new/{phase}/shapes_both/shots_2/CoOp/tiny/seed1"
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("tensorboard", "*.txt"))
    return root


def table(tree, runs, to):
    return tool("table", str(tree), "--output-file", str(to), "--force"), to


def latex(tree, runs, to):
    return tool("table", str(tree), "--format", "latex", "--per-class", "--output-file", str(to), "--force"), to


def predictions(tree, runs, to):
    images, model = runs.data / "shapes_both/images", runs.reference("CoOp")
    to = to.with_suffix(".csv")
    return tool("predict", str(images), "--model", str(model), "--out", str(to), "--force"), to


def report(tree, runs, to):
    return tool("report", str(tree), "--to", str(to), "--force"), to


def figure(tree, runs, to):
    to = to.with_suffix(".png")

    def draw() -> int:
        from mocoop.results.figures.by_protocol import base_new_figure
        from mocoop.results.figures.style import save_figure
        from mocoop.results.runs import collect
        from mocoop.results.stats import base_to_new

        save_figure(base_new_figure(base_to_new(collect(tree).frame, [1])), to)
        return 0

    return draw, to


def protocol_tables(tree, runs, to):
    def write() -> int:
        from mocoop.protocols.products import write_tables
        from mocoop.results.runs import collect
        from mocoop.results.stats import base_to_new
        from mocoop.results.tables import base_new_table

        found = collect(tree).frame
        assert len(base_to_new(found, [1]))
        write_tables(to, [base_new_table(found, [1])], found)
        return 0

    return write, to


@pytest.mark.parametrize(
    "made_by",
    [table, *(pytest.param(t, marks=slow) for t in (latex, protocol_tables, predictions, figure, report))],
)
def test_killed_while_it_writes(runs, tree, tmp_path, ledger, made_by):
    """At every file operation; before, there is the file of an earlier time, which stays whole until it is replaced."""
    journal, folder = tmp_path / "journal", tmp_path / "victim"
    action, path = made_by(tree, runs, tmp_path / "product")
    ending = run(action, folder, file_operations(Moments(journal=journal)))
    assert ending.status == 0, ending.err
    whole, moments = content(path), read_journal(journal)
    assert len(moments) >= 5
    for moment in range(1, len(moments) + 1):
        path.write_bytes(b"of an earlier time")
        with ledger.fault("kill while a tool writes"):
            ending = run(action, folder, file_operations(Moments(kill, at=moment)))
            assert ending.status == -signal.SIGKILL, ending.err
            assert content(path) in (b"of an earlier time", whole)
            ending = run(action, folder)
            assert ending.status == 0, ending.err
            assert content(path) == whole


def content(path):
    return TIME.sub(b"", path.read_bytes())


@pytest.mark.parametrize("every", [25, pytest.param(9, marks=slow)])
def test_killed_while_an_export_is_written(runs, tmp_path, ledger, every):
    """A folder is whole once model.json is there, and an unfinished one is not written over unasked."""
    to, folder, journal = tmp_path / "export", tmp_path / "victim", tmp_path / "journal"
    command = ["export", str(runs.reference("CoOp")), "--to", str(to), "--no-onnx"]
    assert run(tool(*command), folder, file_operations(Moments(journal=journal))).status == 0
    whole = {path.name: path.read_bytes() for path in to.iterdir()}
    count = len(read_journal(journal))
    for moment in range(2, count, every):
        shutil.rmtree(to, ignore_errors=True)
        with ledger.fault("kill while a tool writes"):
            ending = run(tool(*command), folder, file_operations(Moments(kill, at=moment)))
            assert ending.status == -signal.SIGKILL, ending.err
            files = to.iterdir() if to.exists() else ()  # it may be killed before it makes the folder
            found = {path.name: path.read_bytes() for path in files if not path.name.startswith(".")}
            assert found.items() <= whole.items()
            if found:
                assert "holds files already" in run(tool(*command), folder).refusal
            assert run(tool(*command, "--force"), folder).status == 0
            assert whole.items() <= {path.name: path.read_bytes() for path in to.iterdir()}.items()


def test_killed_while_the_pictures_are_drawn(runs, tmp_path, ledger):
    """A set is there whole, or not at all; the next process makes it."""
    from mocoop.shapes.writer import Image, ensure_set
    from tests.faults.runs import FewShapes

    few = FewShapes("ShapesBoth", "both", seed=3, train=2, val=1, test=4)
    folder = tmp_path / "shapes_both"
    drawn = Moments(kill, at=30)

    def kill_at_a_picture() -> None:
        save = Image.Image.save

        def watched(self, *args, **kwargs):
            drawn.happen("picture")
            save(self, *args, **kwargs)

        drawn.watch_this_process()
        Image.Image.save = watched

    def draw() -> int:
        ensure_set(few, folder)
        return 0

    with ledger.fault("kill while data are written"):
        assert run(draw, tmp_path / "victim", kill_at_a_picture).status == -signal.SIGKILL
        assert not folder.exists()
        assert run(draw, tmp_path / "victim").status == 0
    expected = runs.data / "shapes_both"
    pictures = [path.relative_to(expected) for path in expected.rglob("*.png")]
    assert len(pictures) == 12 * 7
    assert all((folder / path).read_bytes() == (expected / path).read_bytes() for path in pictures)
