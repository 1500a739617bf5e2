"""Batches of a test side by side."""

import torch

from mocoop.training.batches import merged


def batch(*labels):
    return {
        "img": torch.tensor(labels).float()[:, None],
        "label": torch.tensor(labels),
        "impath": list(map(str, labels)),
    }


def test_batches_are_merged_until_there_are_enough_images():
    found = list(merged([batch(0, 1), batch(2, 3), batch(4, 5), batch(6)], least=3))
    assert [each["label"].tolist() for each in found] == [[0, 1, 2, 3], [4, 5, 6]]
    assert [each["img"].flatten().tolist() for each in found] == [[0, 1, 2, 3], [4, 5, 6]]
    assert found[1]["impath"] == ["4", "5", "6"]


def test_a_large_enough_batch_stays_alone():
    assert [each["label"].tolist() for each in merged([batch(0, 1, 2), batch(3)], least=3)] == [[0, 1, 2], [3]]
