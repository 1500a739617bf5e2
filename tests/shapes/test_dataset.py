from collections import Counter
from dataclasses import replace

import pytest

import datasets.shapes  # noqa: F401  (registers the sets)
from mocoop.engine import DATASET_REGISTRY, get_cfg_default
from mocoop.errors import DataError
from mocoop.images import read_image
from mocoop.shapes.sets import SETS

ShapesBoth, ShapesBothFaded = map(DATASET_REGISTRY.get, ("ShapesBoth", "ShapesBothFaded"))


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Build a dataset from small sets."""
    monkeypatch.setattr(ShapesBoth, "shapes_set", replace(SETS["ShapesBoth"], train=3, val=2, test=1))
    monkeypatch.setattr(ShapesBothFaded, "shapes_set", replace(SETS["ShapesBothFaded"], test=1))

    def build(cls, subsample="all", root=str(tmp_path / "data"), shots=2):
        cfg = get_cfg_default()
        cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.SEED = root, shots, 1
        cfg.DATASET.SUBSAMPLE_CLASSES = subsample
        return cls(cfg)

    return build


def test_classes_are_the_sets_in_label_order(make):
    for subsample, names in (("base", slice(40)), ("new", slice(40, None)), ("all", slice(None))):
        dataset = make(ShapesBoth, subsample)
        assert dataset.classnames == SETS["ShapesBoth"].classnames[names]
        assert dataset.all_classnames == SETS["ShapesBoth"].classnames
        assert set(Counter(item.label for item in dataset.train_x).values()) == {2}
        assert len(dataset.test) == len(dataset.classnames)


def test_domain_of_an_item_is_its_pictures_style(make):
    dataset = make(ShapesBoth)
    assert dataset.domains == [style for style, _ in SETS["ShapesBoth"].styles]
    dark = [d for d in dataset.train_x + dataset.test if dataset.domains[d.domain] == "dark"]
    assert dark and all(max(high for _, high in read_image(d.impath).getextrema()) < 110 for d in dark)


def test_variant_is_for_testing_only_and_has_the_same_classes_and_is_made_if_missing(make, tmp_path, caplog):
    with caplog.at_level("INFO"):
        dataset = make(ShapesBothFaded)
    assert dataset.classnames == SETS["ShapesBoth"].classnames
    assert [d.impath for d in dataset.train_x] == [d.impath for d in dataset.test]
    assert "making the procedural set ShapesBothFaded" in caplog.text
    assert (tmp_path / "data" / "shapes_both_faded" / "split_zhou_ShapesBothFaded.json").exists()


def test_no_root_is_an_error_and_makes_nothing(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="--root"):
        make(ShapesBoth, root="")
    assert list(tmp_path.iterdir()) == []
