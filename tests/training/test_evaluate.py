"""What is written of a test and of the images that were trained on."""

from types import SimpleNamespace

import torch

from mocoop.training.evaluate import Measurement, images_per_class, too_few_images


def images(**counts: int) -> list:
    classes = enumerate(counts.items())
    return [SimpleNamespace(label=label, classname=name) for label, (name, count) in classes for _ in range(count)]


def test_more_shots_than_a_class_has_are_one_line():
    found = images(cat=16, dog=5, cow=9)
    assert images_per_class(found) == [5, 16] and too_few_images(found, 5) is None and too_few_images(found, -1) is None
    assert too_few_images(found, 16) == (
        "DATASET.NUM_SHOTS is 16, and 2 of 3 classes have fewer training images, 'dog' 5: all of theirs are used"
    )


def measured(*images: tuple[str, int]) -> Measurement:
    found = Measurement()
    found.paths, labels = [path for path, _ in images], [label for _, label in images]
    found.labels = [torch.tensor(labels)]
    return found


def test_a_list_of_test_images_is_known_wherever_it_lies_and_in_any_order():
    here, there = measured(("/a/x.png", 0), ("/a/y.png", 1)), measured(("/b/y.png", 1), ("/b/x.png", 0))
    assert here.images_sha256("/a") == there.images_sha256("/b") is not None
    assert here.images_sha256("/a") != measured(("/a/x.png", 1), ("/a/y.png", 1)).images_sha256("/a")
    assert here.images_sha256("/elsewhere") is None
