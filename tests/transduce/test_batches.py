import numpy as np
import pytest

from mocoop.errors import ConfigError
from mocoop.transduce.apply import Batches, composition

LABELS = np.arange(100) % 7


@pytest.mark.parametrize("batches", [Batches(16), Batches(16, 2), Batches(200), Batches()])
def test_every_image_is_seen_once_and_the_order_is_a_seed_s(batches):
    drawn = batches.draw(LABELS, 1)
    assert sorted(np.concatenate(drawn)) == list(range(100))
    again, other = batches.draw(LABELS, 1), batches.draw(LABELS, 2)
    assert all(map(np.array_equal, drawn, again))
    assert not np.array_equal(np.concatenate(drawn), np.concatenate(other))
    assert max(map(len, drawn)) <= (batches.size or 100)


def test_batches_of_images_as_they_come_have_many_classes_and_drawn_ones_few():
    assert composition(LABELS, Batches(50).draw(LABELS, 1))[0] == 7
    few = Batches(16, 2).draw(LABELS, 1)
    assert composition(LABELS, few)[2] == 2 and composition(LABELS, few)[1] > 1.5


@pytest.mark.parametrize("size, classes, message", [
    (0, None, "--batch is 0, expected 1 or more"),
    (8, 0, "--classes-in-batch is 0"),
    (None, 2, "got --classes-in-batch without --batch"),
])  # fmt: skip
def test_what_cannot_be_drawn(size, classes, message):
    with pytest.raises(ConfigError, match=message):
        Batches(size, classes)
