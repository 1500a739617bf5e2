import json
import shutil
from pathlib import Path

import pytest

from mocoop.checkout import import_datasets
from mocoop.cli import main
from mocoop.data import download
from mocoop.errors import DataError
from mocoop.files import file_sha256
from tests.data.archives import make_tar
from tests.data.server import Server
from tests.data.toy import make_cfg
from tests.datasets.trees import JPEG, TREES


def made(folder: Path, *names: str) -> Path:
    """A data root below a folder, with these datasets, tiny."""
    for name in names:
        TREES[name](folder / "data")
    return folder / "data"


def run(capsys, *words) -> tuple[int, str]:
    status = main(["datasets", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_info_tells_source_license_and_layout(capsys):
    for name in TREES:
        status, text = run(capsys, "info", name)
        assert status == 0 and "license" in text and "configs/datasets/" in text and "-.yaml" not in text


def test_whole_and_damaged_trees_are_checked_and_listed(tmp_path, capsys):
    root = made(tmp_path, *TREES)
    status, text = run(capsys, "check", "all", "--root", root, "--reduced", "--images")
    assert status == 0 and text.count(": complete") == 15
    status, text = run(capsys, "check", "all", "--root", root)
    assert status == 1 and text.count("NOT COMPLETE") == 15 and "expected 3669" in text

    exported = ("--shots", 1, "--seeds", 1, "--output", tmp_path / "out")
    run(capsys, "export-splits", "EuroSAT", "--root", root, *exported)  # leaves a split file
    (root / "oxford_pets/images/Abyssinian_1.jpg").unlink()
    (root / "eurosat/2750/Forest/Forest_2.jpg").unlink()
    (root / "sun397/SUN397/a/abbey/sun_0003abc.jpg").write_bytes(JPEG[:100])
    (root / "imagenet/classnames.txt").unlink()
    shutil.rmtree(root / "dtd")
    status, text = run(capsys, "check", "all", "--root", root, "--reduced", "--images")
    assert status == 1
    assert f"missing: {root}/oxford_pets/images/Abyssinian_1.jpg" in text
    assert f"missing: {root}/eurosat/2750/Forest/Forest_2.jpg" in text
    assert "sun_0003abc.jpg" in text and "1 unreadable" in text
    assert "imagenet/classnames.txt does not exist" in text and f"{root}/dtd does not exist" in text
    assert text.count(": complete") == 10 and text.count("cannot be read") == 2
    assert f"mocoop datasets prepare OxfordPets --root {root}" in text
    assert run(capsys, "check", "UCF101", "Food101", "--root", root, "--reduced")[0] == 0
    assert run(capsys, "check", "UCF101", "DescribableTextures", "--root", root, "--reduced")[0] == 1

    status, text = run(capsys, "list", "--root", root)
    assert status == 0 and "oxford_pets" in text and "3669" in text
    for name in TREES:
        line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
        assert line.endswith("(absent)") == (name == "DescribableTextures")


def test_a_shapes_set_is_not_prepared_but_drawn(tmp_path, capsys):
    status, text = run(capsys, "check", "ShapesBoth", "--root", tmp_path)
    assert status == 1 and "drawn when a run first uses it" in text and "prepare" not in text
    for name in ("ShapesBoth", "shapes_both"):
        status, text = run(capsys, "prepare", name, "--root", tmp_path)
        assert (status, text) == (0, "ShapesBoth: nothing to prepare; the set is drawn when a run first uses it\n")
    assert "your own" in run(capsys, "prepare", "Folder", "--root", tmp_path)[1] and not list(tmp_path.iterdir())


def test_an_empty_data_is_none_and_no_shots_are_no_subset(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DATA", "")
    assert "folder under data\n" in run(capsys, "list")[1]
    status, text = run(capsys, "export-splits", "UCF101", "--root", tmp_path, "--shots", "0,1")
    assert status == 2 and "got --shots 0, expected 1 or more" in text


def test_a_dataset_may_be_called_as_its_config_is_and_an_unknown_one_is_an_error(capsys):
    assert run(capsys, "info", "oxford_pets") == run(capsys, "info", "OxfordPets")
    status, text = run(capsys, "check", "Pets")
    assert status == 2 and text.startswith("error: got the dataset 'Pets', expected one of") and text.count("\n") == 1


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A list of sources on a loopback server that has EuroSAT's images whole and DTD's with a member that escapes."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    server = Server()
    eurosat = make_tar({f"2750/{name}/{name}_{n}.jpg": JPEG for name in ("Forest", "River") for n in range(10)})
    whole, escapes = (
        server.put("/e", eurosat, cuts=1, cut_at=100),
        server.put("/d", make_tar({"../../../escaped": b""})),
    )
    entries = {
        "EuroSAT": [{"name": "EuroSAT.zip", "gives": ["2750"], "urls": [whole]}],
        "DescribableTextures": [
            {"name": "dtd.tar.gz", "gives": ["images"], "urls": [escapes]},
            {"name": "split.json", "manual": "write to the authors, save it in {folder}"},
        ],
    }
    about = {"title": "", "home": "", "license": "", "classes": 2, "counts": {}}
    path = tmp_path / "sources.json"
    path.write_text(json.dumps({name: {**about, "files": files} for name, files in entries.items()}))
    yield path
    server.close()


def test_prepare_then_check(tmp_path, sources, capsys):
    where = ("--root", tmp_path / "new")
    status, text = run(capsys, "prepare", "all", *where, "--sources", sources)
    assert status == 1 and "made     2750" in text
    assert "refused" in text and f"write to the authors, save it in {tmp_path}/new/dtd" in text
    assert not list(tmp_path.rglob("escaped"))
    assert run(capsys, "check", "EuroSAT", *where, "--reduced", "--images")[0] == 0
    status, text = run(capsys, "prepare", "EuroSAT", *where, "--sources", sources)
    assert status == 0 and "there    2750" in text


@pytest.mark.parametrize(
    "form, names",
    [
        ("coop", ["shot_2-seed_3.pkl"]),
        ("manifest", ["shot_2-seed_3.jsonl"]),
        ("2sfs", ["shot_2-seed_3_train.jsonl", "shot_2-seed_3_val.jsonl"]),
    ],
)
def test_a_subset_goes_out_and_comes_back(tmp_path, capsys, form, names):
    root = made(tmp_path, "OxfordPets")
    asked = ("OxfordPets", "--root", root, "--shots", "1,2", "--seeds", 3)
    status, text = run(capsys, "export-splits", *asked, "--format", form, "--output", tmp_path / "out")
    written = tmp_path / "out/oxford_pets/split_fewshot"
    assert status == 0 and all((written / name).exists() and name in text for name in names)
    stored = root / "oxford_pets/split_fewshot/shot_2-seed_3.jsonl"
    before = file_sha256(stored)
    stored.unlink()
    moved = root.rename(root.with_name("moved"))
    status, text = run(capsys, "import-split", "OxfordPets", written / names[0], "--root", moved)
    assert status == 0 and before in text
    assert file_sha256(moved / "oxford_pets/split_fewshot/shot_2-seed_3.jsonl") == before
    assert run(capsys, "import-split", "OxfordPets", written / names[0], "--root", moved)[0] == 2


def test_an_imported_subset_is_what_a_run_uses(tmp_path, capsys):
    root = made(tmp_path, "UCF101")
    run(capsys, "export-splits", "UCF101", "--root", root, "--shots", 2, "--seeds", 3, "--output", tmp_path)
    subset, where = tmp_path / "ucf101/split_fewshot/shot_2-seed_3.jsonl", ("--root", root, "--shots", 2, "--seed", 7)
    assert run(capsys, "import-split", "UCF101", subset, *where)[0] == 0
    runs = [import_datasets().get("UCF101")(make_cfg(root, shots=2, seed=seed)) for seed in (3, 7)]
    assert runs[0].manifest_sha256 == runs[1].manifest_sha256


@pytest.mark.parametrize("form", ["manifest", "coop", "2sfs"])
@pytest.mark.parametrize("name", ["OxfordPets", "ImageNet"])
def test_exported_subsets_are_read_back_from_a_folder_of_splits(tmp_path, capsys, form, name):
    root = made(tmp_path, name)
    build, folder = import_datasets().get(name), tmp_path / "splits"
    drawn = build(make_cfg(root, shots=1, seed=3))
    asked = (name, "--root", root, "--shots", 1, "--seeds", 3, "--format", form, "--output", folder)
    assert run(capsys, "export-splits", *asked)[0] == 0
    shutil.rmtree(Path(drawn.dataset_dir) / "split_fewshot")
    cfg = make_cfg(root, shots=1, seed=3)
    cfg.DATASET.SPLITS = str(folder)
    taken = build(cfg)
    assert taken.manifest_sha256 == drawn.manifest_sha256
    assert [item.impath for item in taken.train_x] == [item.impath for item in drawn.train_x]
    assert not (Path(drawn.dataset_dir) / "split_fewshot").exists()  # nothing is stored as if it had been drawn
    for file in (folder / Path(drawn.dataset_dir).name / "split_fewshot").iterdir():
        file.rename(folder / file.name)
    assert build(cfg).manifest_sha256 == drawn.manifest_sha256


def test_what_is_wrong_with_a_folder_of_splits_is_one_line(tmp_path, capsys):
    root = made(tmp_path, "OxfordPets", "UCF101")
    cfg, folder = make_cfg(root, shots=1, seed=3), tmp_path / "splits"
    folder.mkdir()
    cfg.DATASET.SPLITS = str(folder)
    build = import_datasets().get("OxfordPets")
    message = "DATASET.SPLITS: no subset shot_1-seed_3 in .*, expected shot_1-seed_3.jsonl, "
    with pytest.raises(DataError, match=message):
        build(cfg)
    for name in ("UCF101", "OxfordPets"):
        asked = (name, "--root", root, "--shots", 1, "--seeds", 3, "--output", tmp_path)
        assert run(capsys, "export-splits", *asked)[0] == 0
    shutil.copy(tmp_path / "ucf101/split_fewshot/shot_1-seed_3.jsonl", folder)
    with pytest.raises(DataError, match="is not among the training and validation images of this split"):
        build(cfg)
    text = (tmp_path / "oxford_pets/split_fewshot/shot_1-seed_3.jsonl").read_text()
    first = json.loads(text.splitlines()[0])
    (folder / "shot_1-seed_3.jsonl").write_text(text.replace(json.dumps(first["classname"]), '"dodo"'))
    with pytest.raises(DataError, match="has label .*dodo"):
        build(cfg)
    (folder / "shot_1-seed_3.jsonl").write_text(text)
    assert len(build(cfg).train_x) > 0
    (root / "oxford_pets/images" / first["path"]).unlink()
    with pytest.raises(DataError, match="there is no image .*oxford_pets/images"):
        build(cfg)


def test_an_imported_subset_has_every_class_and_shots_and_seed(tmp_path, capsys):
    root = made(tmp_path, "UCF101")
    asked = ("UCF101", "--root", root, "--shots", 1, "--seeds", 3, "--output", tmp_path)
    assert run(capsys, "export-splits", *asked)[0] == 0
    subset = tmp_path / "ucf101/split_fewshot/shot_1-seed_3.jsonl"
    subset.write_text("".join(subset.read_text().splitlines(keepends=True)[1:]))
    status, text = run(capsys, "import-split", "UCF101", subset, "--root", root, "--seed", 7)
    assert status == 2 and "got no training image of 'Apply" in text
    assert not (root / "ucf101/split_fewshot/shot_1-seed_7.jsonl").exists()
    status, text = run(capsys, "import-split", "UCF101", subset.rename(tmp_path / "subset.jsonl"), "--root", root)
    assert status == 2 and "pass --shots and --seed" in text


def test_an_archives_doubled_folder_is_named(tmp_path, capsys):
    root = made(tmp_path, "StanfordCars")
    cars = root / "stanford_cars"
    (cars / "cars_train").rename(cars / "moved")
    (cars / "cars_train").mkdir()
    (cars / "moved").rename(cars / "cars_train/cars_train")
    status, text = run(capsys, "check", "StanfordCars", "--root", root, "--reduced")
    assert status == 1 and f"the images lie in {cars}/cars_train/cars_train, one folder too deep" in text
    with pytest.raises(DataError, match="no image .*, but one in .*/cars_train/cars_train, an archive's folder"):
        import_datasets().get("StanfordCars")(make_cfg(root))


def test_a_byte_order_mark_is_no_part_of_a_class(tmp_path):
    root = made(tmp_path, "ImageNet")
    names = root / "imagenet/classnames.txt"
    expected = import_datasets().get("ImageNet")(make_cfg(root)).classnames
    names.write_bytes(b"\xef\xbb\xbf" + names.read_bytes())
    assert import_datasets().get("ImageNet")(make_cfg(root)).classnames == expected
