"""Links in a data root: the folders of a data set's layout may be links, what lies in them may not lead out of them."""

import os

import pytest

from mocoop.data.paths import leads_out
from mocoop.data.subset import store_subset
from mocoop.errors import DataError
from tests.data.toy import ToySet, make_cfg, make_tree


def test_the_data_root_and_the_layouts_folders_may_be_links(tmp_path):
    make_tree(tmp_path / "elsewhere")
    os.rename(tmp_path / "elsewhere/toy/images", tmp_path / "pictures")
    (tmp_path / "elsewhere/toy/images").symlink_to(tmp_path / "pictures")
    (tmp_path / "real").mkdir()
    (tmp_path / "real/toy").symlink_to(tmp_path / "elsewhere/toy")
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert len(ToySet(make_cfg(tmp_path / "root")).train_x) == 50


def test_a_folder_that_the_data_set_names_may_be_a_link(tmp_path):
    """As ImageNet's, whose training images often lie on another disk."""

    class Linked(ToySet):
        raw_files = ("images/ant",)

    make_tree(tmp_path / "root")
    os.rename(tmp_path / "root/toy/images/ant", tmp_path / "ants")
    (tmp_path / "root/toy/images/ant").symlink_to(tmp_path / "ants")
    assert len(Linked(make_cfg(tmp_path / "root")).train_x) == 50
    with pytest.raises(DataError, match="images/ant/.*lies behind, a link out of the data root"):
        ToySet(make_cfg(tmp_path / "root"))


@pytest.mark.parametrize("target, fine", [("../bee/000.jpg", True), ("../../../../secret.jpg", False)])
def test_an_image_may_be_a_link_within_the_root(tmp_path, target, fine):
    make_tree(tmp_path / "root")
    (tmp_path / "secret.jpg").touch()
    for number in range(20):
        image = tmp_path / f"root/toy/images/ant/{number:03d}.jpg"
        image.unlink()
        image.symlink_to(target)
    if fine:
        ToySet(make_cfg(tmp_path / "root"))
        return
    with pytest.raises(DataError, match="images/ant/.*is, or lies behind, a link out of the data root") as caught:
        ToySet(make_cfg(tmp_path / "root"))
    assert len(str(caught.value)) < 500
    cfg = make_cfg(tmp_path / "root")
    cfg.DATASET.FOLLOW_LINKS = True
    ToySet(cfg)


def test_nothing_is_written_behind_a_link_out_of_the_root(tmp_path, caplog):
    (tmp_path / "outside").mkdir()
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/split_fewshot").symlink_to(tmp_path / "outside")
    store_subset(tmp_path / "toy/split_fewshot/shot_1-seed_1.jsonl", "x")
    assert not os.listdir(tmp_path / "outside") and "leads out of the data root" in caplog.text


def test_leading_out(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    (tmp_path / "a/link").symlink_to(tmp_path / "ab")
    assert not leads_out(tmp_path / "a/b/none.jpg", tmp_path / "a") and not leads_out(tmp_path / "a", tmp_path / "a")
    assert leads_out(tmp_path / "ab", tmp_path / "a") and leads_out(tmp_path / "a/link/x", tmp_path / "a")
    assert not leads_out(tmp_path / "a/link/x", tmp_path / "a", tmp_path / "ab") and not leads_out(tmp_path, "/")
