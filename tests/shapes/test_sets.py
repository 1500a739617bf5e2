"""The Shapes sets, those with a conflict among them."""

from pathlib import Path

import numpy as np
import pytest
import yaml

import datasets.shapes  # noqa: F401  (registers the sets)
from mocoop.engine import DATASET_REGISTRY
from mocoop.shapes.render import TINTS
from mocoop.shapes.sets import CONFLICTS, COUNTS, SETS, SOURCES, STYLE_MIX, VARIANTS, shown_objects
from mocoop.shapes.vocabulary import STYLES, class_list

CONFIGS = Path(__file__).parents[2] / "configs" / "datasets"


def test_style_mix_is_a_third_photos_and_something_of_eight_other_styles():
    assert sum(STYLE_MIX.values()) == pytest.approx(1) and STYLE_MIX["photo"] == 0.3
    assert len(STYLE_MIX) == 9 and all(0.06 <= share <= 0.12 for style, share in STYLE_MIX.items() if style != "photo")


def test_each_set_has_its_own_pictures():
    assert len({s.seed for s in SETS.values()}) == len({s.folder for s in SETS.values()}) == len(SETS) == 14


@pytest.mark.parametrize("shapes_set", SETS.values(), ids=SETS)
def test_set_is_registered_and_drawable_and_has_its_config(shapes_set):
    assert DATASET_REGISTRY.get(shapes_set.name)
    text = (CONFIGS / f"{shapes_set.folder}.yaml").read_text()
    assert text.startswith("# bash scripts/mocoop/") and shapes_set.folder in text.splitlines()[0]
    assert yaml.safe_load(text)["DATASET"]["NAME"] == shapes_set.name
    assert shapes_set.tint in TINTS and {style for style, _ in shapes_set.styles} <= set(STYLES)
    assert sum(share for _, share in shapes_set.styles) == pytest.approx(1)


def test_sources_have_enough_for_sixteen_shots_and_variants_only_a_test_split():
    assert all(s.train > 16 and s.val > 4 and s.test for s in SOURCES)
    assert all(set(v.sizes) == {"test"} and v.classnames == SETS["ShapesBoth"].classnames for v in VARIANTS)


CLASSES = np.array(class_list("conflict"))


def test_no_two_classes_share_a_colour_or_a_shape():
    assert len(CLASSES) == 10 == len(set(CLASSES[:, 0])) == len(set(CLASSES[:, 2])) and not CLASSES[:, 1].any()


@pytest.mark.parametrize("strength", [s.conflict for s in CONFLICTS])
def test_style_and_object_give_the_class_and_as_many_disagree_as_said(strength):
    rng = np.random.default_rng(0)
    labels, styles = rng.integers(0, 10, 4000), rng.choice([STYLES.index(style) for style in COUNTS], 4000)
    objects = shown_objects(CLASSES, labels, styles, strength, rng)
    by_colour = [int(np.flatnonzero(CLASSES[:, 0] == colour)[0]) for colour in objects[:, 0]]
    by_shape = [int(np.flatnonzero(CLASSES[:, 2] == shape)[0]) for shape in objects[:, 2]]
    colour_counts = np.isin(styles, [STYLES.index("photo"), STYLES.index("blurry")])
    assert (np.where(colour_counts, by_colour, by_shape) == labels).all()
    assert 100 * np.mean(np.array(by_colour) != by_shape) == pytest.approx(strength, abs=3)


def test_two_styles_count_each_way_and_are_equally_many():
    assert sorted(COUNTS.values()) == [0, 0, 2, 2]
    assert all(dict(s.styles) == dict.fromkeys(COUNTS, 0.25) and s.test == 40 for s in CONFLICTS)
