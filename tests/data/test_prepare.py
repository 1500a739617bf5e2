"""Putting a dataset in place, and checking it."""

import hashlib
import json

import pytest

from mocoop.checkout import import_datasets
from mocoop.data import prepare as module
from mocoop.data.prepare import check, prepare
from mocoop.data.sources import Source, SourceFile, load_sources
from mocoop.errors import DataError
from tests.data.archives import make_tar, make_zip
from tests.data.test_download import tree
from tests.data.toy import ToySet, make_cfg, make_tree
from tests.datasets.trees import JPEG, TREES

IMAGES = {"images/a/1.jpg": b"1", "images/b/2.jpg": b"2"}


def source_of(*files) -> Source:
    return Source("A set", "http://home", "free", 2, {"train": 2}, files)


def states(outcomes) -> list[str]:
    return [outcome.state for outcome in outcomes]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "root/toy"


@pytest.fixture
def source(server):
    archive = make_tar(IMAGES)
    images = SourceFile(
        "images.tar.gz", gives=("images",), urls=(server.put("/images", archive),), md5=hashlib.md5(archive).hexdigest()
    )
    split = SourceFile("split.json", urls=(server.put("/split", b"{}"),))
    return source_of(images, split)


def test_everything_is_put_in_place_once(server, folder, source):
    assert states(prepare(source, folder)) == ["made", "made"]
    assert tree(folder).items() >= {**IMAGES, "split.json": b"{}"}.items()
    assert states(prepare(source, folder)) == ["there", "there"]
    assert len(server.requests) == 2 and not (folder / ".extracting").exists()
    for place in ("downloads/images.tar.gz", "images.tar.gz", "../images.tar.gz"):  # or where it was saved by hand
        (folder / "images").rename(folder / f"was{len(place)}")
        for old in (folder / "downloads").iterdir():
            old.unlink()
        (folder / place).write_bytes(server.pages["/images"].body)
        assert states(prepare(source_of(source.files[0]), folder)) == ["made"]
        (folder / place).unlink()
    assert len(server.requests) == 2


def test_what_is_there_is_not_replaced_and_an_empty_folder_filled(folder, source):
    (folder / "images").mkdir(parents=True)
    (folder / "images/mine.jpg").write_bytes(b"mine")
    assert states(prepare(source, folder)) == ["there", "made"]
    assert tree(folder)["images/mine.jpg"] == b"mine" and "images/a/1.jpg" not in tree(folder)
    (folder / "images/mine.jpg").unlink()
    assert states(prepare(source, folder)) == ["made", "there"]
    assert "images/a/1.jpg" in tree(folder)


def test_interrupted_while_extracting_it_goes_on_without_a_download(server, folder, source, monkeypatch):
    def interrupted(archive, destination, strip):
        (destination / "images").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "extract", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, folder)
    assert not (folder / "images").exists()
    assert states(prepare(source, folder)) == ["made", "made"]
    assert [path for path, _ in server.requests].count("/images") == 1


@pytest.mark.parametrize(
    "hostile",
    [
        make_tar({"images/1.jpg": b"", "../../evil": b""}),
        make_zip({"images/1": b"", "../evil": b""}),
        make_tar({"images/1.jpg": b""}, [("images", "/", b"2")]),
    ],
)
def test_a_hostile_or_corrupt_archive_leaves_nothing_behind(server, folder, source, tmp_path, hostile):
    server.pages["/images"].body = server.pages["/images"].body[:-1] + b"x"
    outcomes = prepare(source, folder)
    assert states(outcomes) == ["missing", "made"]
    assert "md5 is" in outcomes[0].reason and set(tree(folder)) == {"split.json"}
    source = source_of(SourceFile("images.tar.gz", gives=("images",), urls=(server.put("/images", hostile),)))
    outcomes = prepare(source, folder)
    assert states(outcomes) == ["missing"] and "refused" in outcomes[0].reason
    assert set(tree(tmp_path)) == {"root/toy/split.json", "root/toy/downloads/images.tar.gz"}


def test_layouts_strip_into_and_nested(server, folder):
    inner = make_tar({"pictures/x.jpg": b"x"})
    nested = {"path": "outer/inner.tar.gz", "md5": hashlib.md5(inner).hexdigest()}
    stripped = server.put("/s", make_zip({"sketch/n/1": b"1"}))
    several = server.put("/v", make_tar({"top/data/list.txt": b"l", "top/data/data/y": b"y", "top/no": b""}))
    outer = server.put("/o", make_zip({"outer/inner.tar.gz": inner}))
    source = source_of(
        SourceFile("s.zip", gives=("images",), strip="sketch", into="images", urls=(stripped,)),
        SourceFile("v.tgz", gives=("list.txt", "data"), strip="top/data", urls=(several,)),
        SourceFile("o.zip", gives=("pictures",), nested=nested, urls=(outer,)),
    )
    assert states(prepare(source, folder)) == ["made", "made", "made"]
    made = {path: content for path, content in tree(folder).items() if not path.startswith("downloads/")}
    assert made == {"images/n/1": b"1", "list.txt": b"l", "data/y": b"y", "pictures/x.jpg": b"x"}


@pytest.mark.parametrize(
    "files, nested, reason",
    [
        (
            {"inner.tar": make_tar({"pictures/x.jpg": b"x"})},
            {"path": "inner.tar", "md5": "0" * 32},
            "inner.tar: md5 is",
        ),
        ({"other/x": b""}, None, "without pictures"),
    ],
)
def test_an_archive_without_what_it_should_give_is_not_used(server, folder, files, nested, reason):
    file = SourceFile("o.zip", gives=("pictures",), nested=nested, urls=(server.put("/o", make_zip(files)),))
    outcomes = prepare(source_of(file), folder)
    assert states(outcomes) == ["missing"] and reason in outcomes[0].reason


def test_what_cannot_be_downloaded_is_explained_and_not_extracted(folder):
    by_login = SourceFile("login.tar", gives=("images",), manual="log in and save it in {folder}")
    outcomes = prepare(source_of(by_login), folder)
    assert states(outcomes) == ["missing"] and f"log in and save it in {folder}" in outcomes[0].steps
    (folder / "downloads").mkdir(parents=True)
    (folder / "downloads/images.tar").write_bytes(make_tar(IMAGES))
    outcomes = prepare(source_of(SourceFile("images.tar", gives=("images",), by_hand=True, manual="by hand")), folder)
    assert states(outcomes) == ["missing"] and outcomes[0].steps == "by hand" and not (folder / "images").exists()


def test_a_file_of_another_dataset_is_copied(folder):
    (folder.parent / "imagenet").mkdir(parents=True)
    (folder.parent / "imagenet/classnames.txt").write_text("n01 tench\n")
    assert states(prepare(source_of(SourceFile("classnames.txt", copy="imagenet/classnames.txt")), folder)) == ["made"]
    assert tree(folder) == {"classnames.txt": b"n01 tench\n"}


def test_a_folder_that_cannot_be_made_or_is_missing_is_one_line(tmp_path):
    (tmp_path / "root").write_text("a file")
    with pytest.raises(DataError, match="root/toy: cannot be prepared"):
        prepare(source_of(), tmp_path / "root/toy")
    with pytest.raises(DataError, match="ToySet: "):
        check(ToySet.open(tmp_path), PUBLISHED)


def test_bundled_sources_name_every_dataset_and_fit_their_classes():
    sources, registry = load_sources(), import_datasets()
    assert set(sources) == set(TREES)
    for name, source in sources.items():
        dataset_class = registry.get(name)
        gives = [path for file in source.files for path in file.gives]
        if dataset_class.image_dir and name != "ImageNet":
            assert dataset_class.image_dir in gives
        if dataset_class.split_file:
            assert dataset_class.split_file in gives
        else:
            assert set(dataset_class.raw_files) <= set(gives)
        assert all(file.urls or file.drive or file.manual for file in source.files)


def test_a_list_of_sources_with_an_unknown_key_is_refused(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"X": {"title": "", "files": [{"name": "a", "sha": "1"}]}}))
    with pytest.raises(DataError, match="s.json: not a list of sources.*sha"):
        load_sources(tmp_path / "s.json")


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


def test_unreadable_images_are_named_only_when_asked_and_counts_compared_with_the_published_ones(split_root):
    bad = split_root / "toy/images/bee/007.jpg"
    bad.write_bytes(JPEG[:200])
    assert all(report.complete for report in check(ToySet.open(split_root), PUBLISHED))
    reports = check(ToySet.open(split_root), PUBLISHED, images=True)
    problems = [line for report in reports for line in report.unreadable]
    assert len(problems) == 1 and str(bad) in problems[0]
    assert sum(not report.complete for report in reports) == 1
    (split_root / "toy/split_zhou_ToySet.json").unlink()
    bad.unlink()
    assert not all(report.complete for report in check(ToySet.open(split_root), PUBLISHED))
    assert all(report.complete for report in check(ToySet.open(split_root), {}))
