import numpy as np
import pytest
import torch

from mocoop.errors import MocoopError
from mocoop.results.metrics import calibration_error, compute_metrics, compute_sides, concatenate, per_class, rank


def naive_metrics(logits, labels):
    """Each metric written out image by image and class by class."""
    right, in_top5, by_class = 0, 0, {}
    for row, label in zip(logits, labels):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        right += order[0] == label
        in_top5 += label in order[:5]
        by_class.setdefault(label, []).append(order[0] == label)
    return {
        "accuracy": 100 * right / len(labels),
        "top5": 100 * in_top5 / len(labels),
        "per_class_mean": 100 * np.mean([np.mean(hits) for hits in by_class.values()]),
    }


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 9, size=200)
    logits = generator.normal(size=(200, 12)).astype(np.float32)
    logits[np.arange(200), labels] += 1.0
    return logits, labels


def test_metrics_equal_a_loop_over_images(batch):
    """In one batch, or ranked apart."""
    logits, labels = batch
    apart = concatenate([rank(logits[:70]), rank(torch.from_numpy(logits[70:]))])
    for metrics in (compute_metrics(logits, labels), compute_metrics(apart, labels)):
        for name, value in naive_metrics(*batch).items():
            assert metrics[name] == pytest.approx(value)
        assert metrics["accuracy"] + metrics["error_rate"] == pytest.approx(100)
    assert compute_metrics(apart, labels) == pytest.approx(compute_metrics(logits, labels))


def test_sides_are_those_of_their_own_images_among_all_names(batch):
    logits, labels = batch
    right = {"base": [], "new": []}
    for row, label in zip(logits, labels):
        right["base" if label < 4 else "new"].append(int(np.argmax(row)) == label)
    sides = compute_sides(logits, labels, 4)
    assert sides == {f"{side}_accuracy": pytest.approx(100 * np.mean(hits)) for side, hits in right.items()}
    for base, alone in ((0, "new"), (9, "base")):
        with pytest.raises(MocoopError, match=f"of {alone} classes alone, expected both"):
            compute_sides(logits, labels, base)


def test_macro_f1_is_dassls_over_the_labels_present(batch):
    from sklearn.metrics import f1_score  # a second to import

    logits, labels = batch
    predictions = logits.argmax(1)
    assert set(predictions) - set(labels), "some predicted classes must be absent from the labels"
    expected = 100 * f1_score(labels, predictions, average="macro", labels=np.unique(labels))
    assert compute_metrics(logits, labels)["macro_f1"] == pytest.approx(expected)


def test_of_equal_logits_the_lower_label_wins_as_in_torch():
    logits = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    assert rank(logits).predictions.tolist() == logits.max(1)[1].tolist() == [1, 0]


def test_confidence_does_not_overflow_and_top5_of_fewer_than_five_classes_is_all():
    assert rank(np.array([[1e5, 0.0]])).confidence.tolist() == [1.0]
    assert compute_metrics(np.eye(3), np.array([2, 0, 1]))["top5"] == 100.0


def test_calibration_error_of_two_bins_by_hand():
    """Bins are open below and closed above."""
    found = calibration_error(np.array([0.9, 0.8, 0.3]), np.array([True, False, True]), bins=2)
    assert found == pytest.approx(abs(0.5 - 0.85) * 2 / 3 + abs(1.0 - 0.3) * 1 / 3)
    found = calibration_error(np.array([0.5, 0.500001, 1.0]), np.array([False, True, True]), bins=2)
    assert found == pytest.approx(0.5 / 3 + 0.499999 / 3, abs=1e-5)


def test_per_class_rows_cover_every_class_name():
    logits = np.array([[2.0, 1, 0], [2, 1, 0], [0, 1, 2]])
    rows = per_class(logits, np.array([0, 2, 2]), ["cat", "dog", "fox"])
    assert rows == [
        {"label": 0, "classname": "cat", "total": 1, "correct": 1, "accuracy": 100.0},
        {"label": 1, "classname": "dog", "total": 0, "correct": 0, "accuracy": None},
        {"label": 2, "classname": "fox", "total": 2, "correct": 1, "accuracy": 50.0},
    ]
    with pytest.raises(MocoopError, match="got label 2, expected labels below 2"):
        per_class(np.eye(3), np.array([0, 1, 2]), ["cat", "dog"])


@pytest.mark.parametrize(
    "logits, labels, message",
    [
        (np.array([[np.nan, 1.0], [0.0, 1.0]]), [0, 1], "NaN or infinite logits for 1 of 2 images"),
        (np.zeros((0, 2)), [], "got no test image"),
        (np.zeros((2, 2)), [0], r"labels of shape \(1,\), expected one for each of 2 images"),
    ],
)
def test_unusable_input_is_named(logits, labels, message):
    with pytest.raises(MocoopError, match=message):
        compute_metrics(logits, np.array(labels, dtype=int))
