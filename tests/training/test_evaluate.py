"""What is written of a test and of the images that were trained on."""

from types import SimpleNamespace

import pytest
import torch

from mocoop.errors import DataError
from mocoop.results.calibration import Margins
from mocoop.training.evaluate import Measurement, images_per_class, print_result, too_few_images


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


def scored(truth: list[int], guesses: list[int]) -> Measurement:
    """Of batches of three images."""
    found = Measurement()
    for start in range(0, len(truth), 3):
        label, guess = (torch.tensor(each[start : start + 3]) for each in (truth, guesses))
        batch = {"label": label, "domain": torch.zeros_like(label), "impath": [f"{i}.png" for i in label]}
        found.add({"logits": torch.nn.functional.one_hot(guess, 4).float()}, batch)
    return found


ANIMALS = ["cat", "dog", "cow", "hen"]


def test_the_printed_result_has_dassls_lines(capsys):
    summary = scored([0, 0, 1, 1, 2], [0, 1, 1, 1, 3]).summary(ANIMALS)
    results = print_result(**summary)
    # F1: class 0: 2/3, class 1: 4/5, class 2: 0; class 3 has no image and does not count
    assert results == pytest.approx({"accuracy": 60.0, "error_rate": 40.0, "macro_f1": 100 * (2 / 3 + 4 / 5) / 3})
    assert next(iter(results)) == "accuracy"
    lines = ["=> result", "* total: 5", "* correct: 3", "* accuracy: 60.0%", "* error: 40.0%", "* macro_f1: 48.9%"]
    assert capsys.readouterr().out.splitlines() == lines
    assert print_result(**summary, by_class=True)["perclass_accuracy"] == pytest.approx(50.0)
    assert capsys.readouterr().out.splitlines() == [
        *lines,
        "=> per-class result",
        "* class: 0 (cat)\ttotal: 2\tcorrect: 1\tacc: 50.0%",
        "* class: 1 (dog)\ttotal: 2\tcorrect: 2\tacc: 100.0%",
        "* class: 2 (cow)\ttotal: 1\tcorrect: 0\tacc: 0.0%",
        "* average: 50.0%",
    ]


def test_the_confusion_matrix_has_rows_that_sum_to_one_and_without_an_image_there_is_no_result():
    assert scored([0, 0, 1, 1], [0, 1, 1, 1]).confusion_matrix().tolist() == [[0.5, 0.5], [0.0, 1.0]]
    with pytest.raises(DataError, match="no image, expected at least one"):
        Measurement().summary(ANIMALS)


def test_a_test_of_base_and_new_classes_has_the_area_under_their_trade_off():
    logits, labels = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 4
    found = Measurement(base=2)
    for batch in torch.arange(50).split(7):
        label = labels[batch]
        found.add({"logits": logits[batch]}, {"label": label, "domain": label, "impath": [f"{i}.png" for i in batch]})
    metrics = found.summary(ANIMALS)["metrics"]
    assert metrics["base_new_area"] == Margins.of(logits, labels, 2).area()
    assert {"base_accuracy", "new_accuracy"} <= set(metrics)
    assert "base_new_area" not in scored([0, 1, 2], [0, 1, 2]).summary(ANIMALS)["metrics"]
