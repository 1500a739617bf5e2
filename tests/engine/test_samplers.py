from types import SimpleNamespace

import pytest
from torch.utils.data import RandomSampler, SequentialSampler

from mocoop.engine.lite.samplers import build_sampler
from mocoop.errors import ConfigError
from mocoop.training.seeding import set_random_seed


def items(labels, domains=None):
    return [SimpleNamespace(label=label, domain=domain) for label, domain in zip(labels, domains or labels)]


def batches(order, size):
    order = list(order)
    return [order[i : i + size] for i in range(0, len(order), size)]


DATA = items([0] * 7 + [1] * 5 + [2] * 2, [0] * 6 + [1] * 8)


def test_the_plain_ones_are_torchs():
    assert type(build_sampler("RandomSampler", DATA)) is RandomSampler
    assert type(build_sampler("SequentialSampler", DATA)) is SequentialSampler
    with pytest.raises(ConfigError, match='got "Random", expected one of RandomSampler, '):
        build_sampler("Random", DATA)


def test_random_class_batches():
    set_random_seed(0)
    sampler = build_sampler("RandomClassSampler", DATA, batch_size=6, n_ins=3)
    order = list(sampler)
    for batch in batches(order, 6):
        labels = [DATA[i].label for i in batch]
        assert len(set(labels[:3])) == len(set(labels[3:])) == 1 and labels[0] != labels[3]
    assert all(order.count(i) == 1 for i in order if DATA[i].label != 2)


def test_a_class_with_few_images_repeats_them():
    sampler = build_sampler("RandomClassSampler", DATA, batch_size=9, n_ins=3)
    (batch,) = batches(sampler, 9)
    small = [i for i in batch if DATA[i].label == 2]
    assert len(small) == 3 and set(small) <= {12, 13}


@pytest.mark.parametrize("name", ["RandomDomainSampler", "SeqDomainSampler"])
def test_domain_batches(name):
    sampler = build_sampler(name, DATA, batch_size=4)
    order = list(sampler)
    assert len(order) == len(sampler) == 12
    assert len(set(order)) == len(order)
    for batch in batches(order, 4):
        domains = [DATA[i].domain for i in batch]
        assert sorted(domains) == [0, 0, 1, 1]
        assert name == "RandomDomainSampler" or domains == [0, 0, 1, 1]


def test_some_domains_per_batch():
    sampler = build_sampler("RandomDomainSampler", DATA, batch_size=2, n_domain=1)
    assert all(DATA[a].domain == DATA[b].domain for a, b in batches(sampler, 2))


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("RandomClassSampler", {"batch_size": 2, "n_ins": 3}, "BATCH_SIZE: got 2, expected at least N_INS = 3"),
        ("RandomClassSampler", {"batch_size": 8, "n_ins": 2}, "expected at most the 3 classes"),
        ("RandomDomainSampler", {"batch_size": 5}, "BATCH_SIZE: got 5, expected a multiple of the 2 domains"),
        ("RandomDomainSampler", {"batch_size": 6, "n_domain": 3}, "N_DOMAIN: got 3, expected at most the 2"),
        ("SeqDomainSampler", {"batch_size": 14}, "takes 7 images of each domain, expected at most 6"),
    ],
)
def test_settings_that_do_not_fit_the_data(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        build_sampler(name, DATA, **settings)
