import numpy as np
import pytest

from mocoop.shapes.outlines import PATTERNS
from mocoop.shapes.vocabulary import TEXTURES

X, Y = np.meshgrid(*2 * [np.linspace(-5, 5, 501, dtype=np.float32)])


def test_patterns_are_in_the_order_of_the_words():
    assert tuple(pattern.__name__ for pattern in PATTERNS) == TEXTURES


@pytest.mark.parametrize("pattern, share", list(zip(PATTERNS, (0, 0.5, np.pi * 0.29**2, 0.5))), ids=TEXTURES)
def test_second_ink_covers_its_share(pattern, share):
    cover = pattern(X, Y)
    assert 0 <= cover.min() and cover.max() <= 1
    assert cover.mean() == pytest.approx(share, abs=0.03)


def test_stripes_run_along_y_and_checks_alternate_along_both():
    _, striped, dotted, checkered = (pattern(X, Y) for pattern in PATTERNS)
    assert np.ptp(striped, 0).max() < 1e-6 and np.ptp(striped, 1).min() == 1
    assert np.allclose(dotted, dotted.T, atol=1e-5)
    assert np.allclose(checkered[:, ::-1], 1 - checkered, atol=1e-3)
