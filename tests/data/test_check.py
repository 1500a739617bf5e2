import pytest

from mocoop.data.prepare import check
from mocoop.errors import DataError
from tests.data.toy import ToySet, make_cfg, make_tree
from tests.datasets.trees import JPEG

PUBLISHED = {"train": 50, "val": 20, "test": 30}


@pytest.fixture
def root(tmp_path):
    root = make_tree(tmp_path / "data")
    for path in root.glob("toy/images/*/*.jpg"):
        path.write_bytes(JPEG)
    return root


@pytest.fixture
def split_root(root):
    ToySet(make_cfg(root))
    return root


def by_split(reports):
    return {report.split: report for report in reports}


def test_a_whole_dataset_is_complete_and_no_split_is_written(root):
    reports = check(ToySet.open(root), PUBLISHED, images=True)
    assert [(r.split, r.published, r.found, r.missing, r.unreadable) for r in reports] == [
        ("train", 50, 50, [], []),
        ("val", 20, 20, [], []),
        ("test", 30, 30, [], []),
    ]
    assert all(report.complete for report in reports)
    assert [path.name for path in (root / "toy").iterdir()] == ["images"]


def test_missing_files_are_named_by_split(split_root):
    gone = [split_root / "toy/images/ant/003.jpg", *(split_root / "toy/images/elk").iterdir()]
    for path in gone:
        path.unlink()
    (split_root / "toy/images/elk").rmdir()
    reports = check(ToySet.open(split_root), PUBLISHED)
    assert sorted(path for report in reports for path in report.missing) == sorted(map(str, gone))
    assert by_split(reports)["test"].found == 30 - len(by_split(reports)["test"].missing)
    assert not by_split(reports)["train"].complete


def test_unreadable_images_are_named_only_when_asked(split_root):
    bad = split_root / "toy/images/bee/007.jpg"
    bad.write_bytes(JPEG[:200])
    assert all(report.complete for report in check(ToySet.open(split_root), PUBLISHED))
    reports = check(ToySet.open(split_root), PUBLISHED, images=True)
    problems = [line for report in reports for line in report.unreadable]
    assert len(problems) == 1 and str(bad) in problems[0]
    assert sum(not report.complete for report in reports) == 1


def test_counts_are_compared_with_the_published_ones(root):
    (root / "toy/images/ant/000.jpg").unlink()
    assert not all(report.complete for report in check(ToySet.open(root), PUBLISHED))
    assert all(report.complete for report in check(ToySet.open(root), {}))


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(DataError, match="ToySet: "):
        check(ToySet.open(tmp_path), PUBLISHED)
