"""Shapes and textures of objects."""

import numpy as np
import pytest

from mocoop.shapes.outlines import OUTLINES, PATTERNS
from mocoop.shapes.vocabulary import SHAPES, TEXTURES

GRID = np.linspace(-1.5, 1.5, 301, dtype=np.float32)
X, Y = np.meshgrid(GRID, GRID)
STEP = GRID[1] - GRID[0]


def inside(name):
    return OUTLINES[SHAPES.index(name)](X, Y) < 0


def test_outlines_and_patterns_are_in_the_order_of_the_words():
    assert tuple(outline.__name__ for outline in OUTLINES) == SHAPES
    assert tuple(pattern.__name__ for pattern in PATTERNS) == TEXTURES


@pytest.mark.parametrize("outline", OUTLINES, ids=SHAPES)
def test_outline_fills_about_the_unit_circle_with_a_slope_of_about_one(outline):
    """Or else edges would be soft in one shape and jagged in another."""
    distance = outline(X, Y)
    assert distance.dtype == np.float32 and distance.shape == X.shape
    radius = np.hypot(X, Y)[distance < 0]
    assert 0.85 < radius.max() < 1.2
    slope = np.hypot(*np.gradient(distance, STEP))
    assert np.median(slope[np.abs(distance) < 0.05]) == pytest.approx(1, abs=0.02)


AREAS = {
    "circle": np.pi * 0.88**2,
    "square": 1.52**2,
    "triangle": 3 * np.sqrt(3) * 0.55**2,
    "star": 5 * 0.42 * np.sin(np.pi / 5),
    "cross": 2 * 1.84 * 0.6 - 0.6**2,
    "ring": np.pi * (0.92**2 - 0.44**2),
    "hexagon": 2 * np.sqrt(3) * 0.82**2,
    "diamond": 2 * 1 * 0.56,
}


def test_areas_are_those_of_the_shapes_and_no_two_overlap_closely():
    assert {name: inside(name).sum() * STEP**2 for name in AREAS} == pytest.approx(AREAS, rel=0.02)
    masks = [inside(name) for name in SHAPES]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert (one & other).sum() / (one | other).sum() < 0.95


@pytest.mark.parametrize(
    "name, inner, outer",
    [
        ("heart", [(0, -0.8), (0.4, 0.4), (-0.4, 0.4)], [(0, 0.85), (0.7, -0.5)]),
        ("crescent", [(-0.8, 0), (0, 0.8), (0, -0.8)], [(0.3, 0), (0.9, 0)]),
        ("arrow", [(0, 0.8), (0, -0.8), (0.6, 0.1)], [(0.5, -0.5), (0.6, 0.6)]),
        ("drop", [(0, 0.8), (0.4, -0.5), (0, -0.8)], [(0.4, 0.7), (0.7, -0.9)]),
        ("ring", [(0.7, 0)], [(0, 0)]),
    ],
)
def test_outline_has_its_features(name, inner, outer):
    for points, sign in ((inner, -1), (outer, 1)):
        x, y = np.array(points, np.float32).T
        assert (np.sign(OUTLINES[SHAPES.index(name)](x, y)) == sign).all()


WIDE_X, WIDE_Y = np.meshgrid(*2 * [np.linspace(-5, 5, 501, dtype=np.float32)])


@pytest.mark.parametrize("pattern, share", list(zip(PATTERNS, (0, 0.5, np.pi * 0.29**2, 0.5))), ids=TEXTURES)
def test_second_ink_covers_its_share(pattern, share):
    cover = pattern(WIDE_X, WIDE_Y)
    assert 0 <= cover.min() and cover.max() <= 1
    assert cover.mean() == pytest.approx(share, abs=0.03)


def test_stripes_run_along_y_and_checks_alternate_along_both():
    _, striped, dotted, checkered = (pattern(WIDE_X, WIDE_Y) for pattern in PATTERNS)
    assert np.ptp(striped, 0).max() < 1e-6 and np.ptp(striped, 1).min() == 1
    assert np.allclose(dotted, dotted.T, atol=1e-5)
    assert np.allclose(checkered[:, ::-1], 1 - checkered, atol=1e-3)
