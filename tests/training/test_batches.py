"""Training batches of one class, several views of an image, and batches of a test side by side."""

from collections import Counter
from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader, Dataset

from mocoop.training.batches import merged, reproducible


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
    assert [each["label"].tolist() for each in merged([batch(0, 1, 2), batch(3)], least=3)] == [[0, 1, 2], [3]]


class Pictures(Dataset):
    """Items of as many images as there are labels, each drawn anew."""

    def transform(self, image):
        return image + torch.rand(1)

    def __init__(self, labels):
        self.data_source = [SimpleNamespace(label=label) for label in labels]

    def __len__(self):
        return len(self.data_source)

    def __getitem__(self, index):
        image = self.transform(torch.tensor([float(index)]))
        return {"img": image, "label": self.data_source[index].label, "impath": str(index)}


def loader_of(labels, size, **kinds):
    made = DataLoader(Pictures(labels), batch_size=size, shuffle=True, drop_last=len(labels) >= size)
    return reproducible(made, stream=1, **kinds)


def test_views_of_an_image_stand_side_by_side_and_the_first_is_the_only_one_of_others():
    found = []
    for views in (1, 3):
        torch.manual_seed(0)
        found.append(torch.cat([batch["img"] for batch in loader_of([0] * 8, 4, views=views)]))
    one, three = found
    assert one.shape == (8, 1) and three.shape == (8, 3, 1) and torch.equal(three[:, 0], one)
    assert (three.floor() == one.floor()[:, None]).all() and len({*three.flatten().tolist()}) == 24


def test_a_plain_view_is_the_last_and_draws_nothing():
    found = []
    for plain in (None, lambda image: image):
        torch.manual_seed(0)
        found.append(torch.cat([batch["img"] for batch in loader_of([0] * 8, 4, views=2, plain=plain)]))
    two, three = found
    assert torch.equal(three[:, :2], two) and torch.equal(three[:, 2], two[:, 0].floor())


def of_one_class(labels, size, epochs=1):
    loader = loader_of(labels, size, one_class=True)
    epochs = [[batch["impath"] for batch in loader] for _ in range(epochs)]
    assert all(len(loader) == len(batches) for batches in epochs)
    return [[list(map(int, batch)) for batch in batches] for batches in epochs]


def test_batches_of_one_class_hold_each_image_at_most_once_and_no_short_rest():
    labels = [0] * 9 + [1] * 4 + [2] * 7
    first, second = of_one_class(labels, 4, epochs=2)
    for batches in (first, second):
        assert sorted(labels[batch[0]] for batch in batches) == [0, 0, 1, 2]
        assert all(len(batch) == 4 and len({labels[i] for i in batch}) == 1 for batch in batches)
        assert len({i for batch in batches for i in batch}) == 16
    assert first != second


def test_a_class_with_too_few_images_is_one_short_batch_and_classes_are_mixed_where_none_has_enough():
    batches = of_one_class([0] * 5 + [1] * 2, 4)[0]
    assert sorted(map(len, batches)) == [2, 4] and [5, 6] in map(sorted, batches)
    labels = [label for label in range(8) for _ in range(2)]
    batches = of_one_class(labels, 4)[0]
    assert [len(batch) for batch in batches] == [4] * 4
    assert any(len({labels[i] for i in batch}) > 2 for batch in batches)


def test_which_class_comes_when_is_drawn_anew_and_by_its_chance():
    torch.manual_seed(0)
    order = [tuple(batch[0] // 4 for batch in epoch) for epoch in of_one_class([0] * 4 + [1] * 4 + [2] * 4, 4, 240)]
    counts = Counter(order)
    assert len(counts) == 6 and min(counts.values()) > 20  # of 40 each


def test_a_pass_that_skips_batches_goes_on_as_the_whole_one_whatever_random_numbers_its_steps_draw():
    def batches(start, before_next):
        torch.manual_seed(0)
        loader = loader_of([0] * 8 + [1] * 8 + [2] * 8, 4, one_class=True)
        loader.batch_sampler.start_at(0, start)
        for batch in loader:
            before_next()
            yield batch["impath"]

    whole = list(batches(0, lambda: None))
    assert list(batches(0, lambda: torch.rand(1))) == whole
    assert list(batches(2, lambda: torch.manual_seed(1))) == whole[2:]
