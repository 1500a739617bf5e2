import numpy as np
import pytest

from mocoop.shapes.sets import CONFLICTS, COUNTS, shown_objects
from mocoop.shapes.vocabulary import STYLES, class_list

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
