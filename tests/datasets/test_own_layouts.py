"""How people's folders and lists lie: what counts as an image, a class and a split, and what is said of the rest."""

import os
import shlex
import subprocess
import sys

import pytest

from mocoop.errors import ConfigError, DataError
from tests.datasets.own import save
from tests.datasets.test_folder import build, fill, relative, write_csv


def sizes(dataset) -> list[int]:
    return [len(dataset.train_x), len(dataset.val), len(dataset.test)]


def test_what_is_left_out_is_counted_by_suffix_and_reason(tmp_path, caplog):
    fill(tmp_path, "dog", "cat", ".")
    for name in ("dog/a.heic", "dog/b.HEIC", "dog/c.svg", "cat/clip.mp4", "cat/more.zip", "cat/labels.txt", "cat/raw"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl/a.heic").write_bytes(b"x")
    save(tmp_path / "yak/1.jpg", "corrupt")
    dataset = build(tmp_path)
    assert dataset.classnames == ["cat", "dog"] and sum(sizes(dataset)) == 8
    said = [record.message for record in caplog.records]
    assert {
        "left out, without a suffix: 1 file such as cat/raw",
        "left out, they need the package pillow-heif (pip install pillow-heif): 3 .heic files such as dog/a.heic",
        "left out, a video, whose frames may be saved as images: 1 .mp4 file such as cat/clip.mp4",
        "left out, a format that is not read, to be saved as PNG or JPEG: 1 .svg file such as dog/c.svg",
        "left out, no image by the suffix: 1 .txt file such as cat/labels.txt",
        "left out, an archive, to be unpacked: 1 .zip file such as cat/more.zip",
    } < set(said)
    for line in (
        "left out, in no class folder: 4 images such as 0.png",
        "left out, without a single image: the folders 'owl'",
        "left out, without a readable image: the classes 'yak'",
    ):
        assert line in caplog.text


def test_thumbnails_and_what_systems_keep_are_no_images_and_every_suffix_of_jpeg_is_one(tmp_path, caplog):
    fill(tmp_path, "cat", "cat/@eaDir/0.png", "cat/.thumbnails", "__MACOSX/cat", ".cache/cat", "lost+found")
    (tmp_path / "cat/Thumbs.db").write_bytes(b"x")
    (tmp_path / "cat/.DS_Store").write_bytes(b"x")
    fill(tmp_path, "dog", suffix="jpg")
    for number, suffix in enumerate((".jfif", ".jpe", ".JFIF")):
        (tmp_path / f"dog/x{number}{suffix}").write_bytes((tmp_path / "dog/0.jpg").read_bytes())
    assert sum(sizes(build(tmp_path))) == 4 + 7 and not caplog.records


HEIF_STAND_IN = """
from PIL import Image, PngImagePlugin

class Heif(PngImagePlugin.PngImageFile):
    format = "HEIF"

def register_heif_opener():
    Image.register_open("HEIF", Heif, lambda start: start.startswith(b"\\x89PNG"))
"""


def test_heic_is_read_where_its_package_is_installed(tmp_path):
    fill(tmp_path / "own", "cat")
    (tmp_path / "own/cat/0.png").rename(tmp_path / "own/cat/0.heic")
    (tmp_path / "pillow_heif.py").write_text(HEIF_STAND_IN)
    code = "import sys; from mocoop.images import is_image, open_image; print(is_image('a.HEIC'), end=' ')"
    code += "; image = open_image(sys.argv[1]); print(image.size)"
    paths = os.pathsep.join([str(tmp_path), os.getcwd()])
    words = [sys.executable, "-c", code, tmp_path / "own/cat/0.heic"]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": paths}, capture_output=True)
    assert done.stdout.decode().strip() == "True (20, 12)", done.stderr


def test_folders_that_wrap_folders_are_followed(tmp_path, caplog):
    for part in ("train", "test"):
        fill(tmp_path, *(f"archive/seg_{part}/seg_{part}/{name}" for name in ("forest", "sea")))
    fill(tmp_path, "archive/seg_pred/seg_pred")
    dataset = build(tmp_path)
    assert dataset.classnames == ["forest", "sea"] and sizes(dataset) == [6, 2, 8]
    assert all("seg_test" in item.impath for item in dataset.test)
    notes = [record.message for record in caplog.records]
    assert "the folders of classes are taken from archive/, since the root holds only it" in notes
    assert "left out, no class: the images in archive/seg_pred/" in notes


@pytest.mark.parametrize(
    "train, test",
    [("Training/{}", "Testing/{}"), ("train_images/{}", "test_images/{}"), ("x-Train/{}", "x-Test/{}"),
     ("{}/train", "{}/test")],
)  # fmt: skip
def test_splits_are_recognised_by_their_names_above_or_below_each_class(tmp_path, train, test):
    fill(tmp_path, *(folder.format(name) for folder in (train, test) for name in ("a", "b")))
    dataset = build(tmp_path)
    assert dataset.classnames == ["a", "b"] and sizes(dataset) == [6, 2, 8]
    assert all("test" in path.lower() for path in relative(dataset.test, tmp_path))


def test_validation_is_the_test_where_there_is_none(tmp_path, caplog):
    fill(tmp_path / "a", "train/a", "train/b", "val/a", "val/b", count=5)
    dataset = build(tmp_path / "a")
    assert sizes(dataset) == [8, 2, 10] and all("/val/" in item.impath for item in dataset.test)
    assert "no test images are given: the validation images are the test" in caplog.text
    write_csv(tmp_path / "a", "path,label,split", *(f"{s}/a/{n}.png,a,{s}" for n in range(5) for s in ("train", "val")))
    assert sizes(build(tmp_path / "a", CSV="images.csv")) == [4, 1, 5]
    fill(tmp_path / "b", "train/a", "train/b", "test", count=10)  # a test folder without classes leaves it to the draw
    dataset = build(tmp_path / "b")
    assert dataset.classnames == ["a", "b"] and sizes(dataset) == [10, 4, 6]
    assert all("/train/" in item.impath for item in dataset.test)
    assert "only train/ has class folders" in caplog.text and "left out, no class: the images in" in caplog.text


def test_val_and_test_without_train_are_one_line(tmp_path, caplog):
    fill(tmp_path / "root", "val/a", "val/b", "test/a", "test/b")
    with pytest.raises(DataError, match="got test and val with the same classes, expected a folder train beside them"):
        build(tmp_path / "root")
    fill(tmp_path / "sites", *(f"{site}/{name}" for site in ("site1", "site2") for name in ("cat", "dog")))
    assert build(tmp_path / "sites").classnames == ["site1", "site2"]
    assert "each of the 2 classes (site1, site2, ...) has the folders cat, dog: if these are the classes" in caplog.text


def test_a_class_of_one_folder_keeps_its_name_and_only_at_the_root_are_there_names_that_no_class_has(tmp_path):
    fill(tmp_path / "one", "a/2024", "b/2024", "b/2025")
    assert build(tmp_path / "one").classnames == ["a", "b"]
    parts = [f"{part}/{name}" for part in ("train", "test") for name in ("input", "output")]
    fill(tmp_path / "other", *parts, "output")
    assert build(tmp_path / "other").classnames == ["input", "output"]


def csv_of(tmp_path, *lines, encoding="utf-8", **settings):
    fill(tmp_path, "pics")
    write_csv(tmp_path, *lines, encoding=encoding)
    dataset = build(tmp_path, CSV="images.csv", **settings)
    assert sum(sizes(dataset)) == 4
    return dataset


def test_columns_of_other_names(tmp_path):
    lines = ["id,filename,Breed", *(f"{n},pics/{n}.png,pug" for n in range(4))]
    assert csv_of(tmp_path, *lines, CSV_COLUMNS="image=filename, label=breed").classnames == ["pug"]
    with pytest.raises(DataError, match="its first line is 'id,filename,Breed', expected .* --csv-columns image=NAME"):
        build(tmp_path, CSV="images.csv")
    with pytest.raises(ConfigError, match="CSV_COLUMNS is 'picture=filename', expected names for image, label"):
        build(tmp_path, CSV="images.csv", CSV_COLUMNS="picture=filename")


def test_absolute_paths_windows_separators_and_what_spreadsheets_write(tmp_path):
    root = tmp_path / "root"
    lines = [f"{root}/pics/0.png,x", "pics\\1.png,x", ".\\pics\\2.png,x", f"{root}//pics/3.png,x"]
    assert csv_of(root, "path,label", *lines).image_dir == str(root)
    rows = [f"pics/{n}.png;x;" for n in range(4)]
    csv_of(tmp_path / "a", "sep=;", "path;label;split", *rows, ";;", " ; ;", "", encoding="utf-8-sig")
    csv_of(tmp_path / "b", "path;label;split", *rows, encoding="utf-16")


@pytest.mark.parametrize(
    "name, cause",
    [
        ("{}.png", "but there is pics/0.png: paths have to be relative to"),
        ("{}", "but there is pics/0.png: the paths lack the suffix, or the folder, of 4 images"),
        ("pics/{}.PNG", "but there is pics/0.png: capital letters count"),
        ("photos/x{}.png", "4 listed images are nowhere below"),
    ],
)
def test_a_column_of_wrong_paths_is_one_line_with_the_cause(tmp_path, caplog, name, cause):
    with pytest.raises(DataError, match=f"none of its 4 images can be read, .*no such file.*{cause}"):
        csv_of(tmp_path, "path,label", *(f"{name.format(n)},x" for n in range(4)))
    write_csv(tmp_path, "path,label", *(f"{name.format(n)},x" for n in range(4)), "pics/1.png,x")
    if name != "{}.png":
        build(tmp_path, CSV="images.csv")
        assert len(caplog.records) == 2 and cause in caplog.text  # and a class without an image to test on


def test_two_lists_over_one_folder_do_not_meet(tmp_path):
    fill(tmp_path, "pics", count=8)
    write_csv(tmp_path, "path,label", *(f"pics/{n}.png,{'ab'[n % 2]}" for n in range(8)), name="species.csv")
    write_csv(tmp_path, "path,label", *(f"pics/{n}.png,genus" for n in range(8)), name="genus.csv")
    for _ in range(2):
        assert build(tmp_path, CSV="species.csv", shots=1).classnames == ["a", "b"]
        assert build(tmp_path, CSV="genus.csv", shots=1).classnames == ["genus"]
    assert (tmp_path / "split_fewshot/species/shot_1-seed_1.jsonl").exists()


@pytest.mark.parametrize("renamed", [False, True])
def test_a_class_that_came_later_is_the_cause_and_the_advice_works(tmp_path, renamed):
    fill(tmp_path, "cat", "dog")
    build(tmp_path, shots=1)
    if renamed:
        (tmp_path / "dog").rename(tmp_path / "hound")
    else:
        fill(tmp_path, "hound")
    gone = ", and has 'dog', gone since" if renamed else ""
    with pytest.raises(DataError, match=f"was drawn before there was the class 'hound'{gone}; to split anew") as caught:
        build(tmp_path, shots=1)
    subprocess.run(shlex.split(str(caught.value).rpartition("run: ")[2]), check=True)
    assert "hound" in build(tmp_path, shots=1).classnames


@pytest.mark.parametrize("gone", [False, True])
def test_a_subset_of_other_classes_or_images_says_what_to_do(tmp_path, gone):
    fill(tmp_path, "train/a", "train/b", "test/a", "test/b")
    (drawn,) = [item for item in build(tmp_path, shots=1).train_x if item.classname == "b"]
    if gone:
        os.remove(drawn.impath)
    else:
        fill(tmp_path, "train/c", "test/c")
    cause = "its file is gone, or the subset was made from" if gone else "of 'c', .* if the class came later, move the"
    with pytest.raises(DataError, match=cause):
        build(tmp_path, shots=1)
    (tmp_path / "split_fewshot/shot_1-seed_1.jsonl").unlink()
    assert build(tmp_path, shots=1).num_classes == (2 if gone else 3)


def test_links_out_of_the_root_are_followed_where_it_is_asked_for(tmp_path, caplog):
    fill(tmp_path, "elsewhere/cat", "root/dog", "root/owl")
    (tmp_path / "root/cat").symlink_to(tmp_path / "elsewhere/cat")
    (tmp_path / "root/owl/9.png").symlink_to(tmp_path / "elsewhere/cat/0.png")
    (tmp_path / "root/owl/again").symlink_to(tmp_path / "root")
    assert build(tmp_path / "root").classnames == ["dog", "owl"]
    assert "a link to a folder elsewhere: cat (DATASET.FOLLOW_LINKS True follows it)" in caplog.text
    assert "owl/9.png (a link that leads out of the folder; DATASET.FOLLOW_LINKS True" in caplog.text
    (tmp_path / "root/split_zhou_Folder.json").unlink()
    dataset = build(tmp_path / "root", follow_links=True)
    assert dataset.classnames == ["cat", "dog", "owl"] and sum(sizes(dataset)) == 13


def test_snapshots_of_a_hub_count_as_inside(tmp_path):
    hub = tmp_path / "datasets--x"
    fill(hub / "blobs", "cat", "dog")
    for name in ("cat", "dog"):
        (hub / f"snapshots/abc/{name}").mkdir(parents=True)
        for number in range(4):
            (hub / f"snapshots/abc/{name}/{number}.png").symlink_to(f"../../../blobs/{name}/{number}.png")
    assert sum(sizes(build(hub / "snapshots/abc"))) == 8
    (tmp_path / "root").symlink_to(hub / "snapshots/abc")
    assert sum(sizes(build(tmp_path / "root"))) == 8


def test_paths_of_predictions_are_those_of_the_user(tmp_path):
    save(tmp_path / "a/0.jpg", "rotated"), save(tmp_path / "a/1.png", "deep"), save(tmp_path / "a/2.png")
    dataset = build(tmp_path)
    found = relative([*dataset.train_x, *dataset.val, *dataset.test], tmp_path)
    assert sorted(found) == ["a/0.jpg", "a/1.png", "a/2.png"]
    assert [path.name for path in (tmp_path / ".mocoop").iterdir()] == ["images.json"]
