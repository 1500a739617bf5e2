"""Orders in which training images are drawn. Same draws as Dassl for the same random state."""

import random
from collections import defaultdict

import numpy as np
from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from mocoop.errors import ConfigError


class DomainSampler(Sampler):
    """Batches with equally many images of each chosen domain, until a domain has too few left.

    Subclasses choose the domains of a batch.
    """

    def __init__(self, data_source, batch_size, n_domain):
        self.by_domain = _indices_by(data_source, "domain")
        self.domains = list(self.by_domain)
        self.n_domain = n_domain if n_domain and n_domain > 0 else len(self.domains)
        if self.n_domain > len(self.domains):
            raise ConfigError(f"N_DOMAIN: got {n_domain}, expected at most the {len(self.domains)} domains of the data")
        if batch_size % self.n_domain:
            raise ConfigError(f"BATCH_SIZE: got {batch_size}, expected a multiple of the {self.n_domain} domains in it")
        self.n_img_per_domain = batch_size // self.n_domain
        smallest = min(len(indices) for indices in self.by_domain.values())
        if smallest < self.n_img_per_domain:
            raise ConfigError(
                f"BATCH_SIZE: got {batch_size}, which takes {self.n_img_per_domain} images of each domain, "
                f"expected at most {smallest}, what the smallest domain has"
            )
        self.length = len(list(iter(self)))

    def choose_domains(self):
        raise NotImplementedError

    def __iter__(self):
        left = {domain: list(indices) for domain, indices in self.by_domain.items()}
        order = []
        while all(len(indices) >= self.n_img_per_domain for indices in left.values()):
            for domain in self.choose_domains():
                chosen = random.sample(left[domain], self.n_img_per_domain)
                order.extend(chosen)
                left[domain] = [index for index in left[domain] if index not in set(chosen)]
        return iter(order)

    def __len__(self):
        return self.length


class RandomDomainSampler(DomainSampler):
    """Each batch holds `n_domain` random domains (all of them if below 1)."""

    def choose_domains(self):
        return random.sample(self.domains, self.n_domain)


class SeqDomainSampler(DomainSampler):
    """Each batch holds all domains, in order of their labels."""

    def __init__(self, data_source, batch_size):
        super().__init__(data_source, batch_size, n_domain=0)

    def choose_domains(self):
        return sorted(self.domains)


class RandomClassSampler(Sampler):
    """Each batch holds random classes with `n_ins` images each; a class with fewer repeats some."""

    def __init__(self, data_source, batch_size, n_ins):
        if batch_size < n_ins:
            raise ConfigError(f"BATCH_SIZE: got {batch_size}, expected at least N_INS = {n_ins}")
        self.n_ins = n_ins
        self.by_label = _indices_by(data_source, "label")
        self.classes_per_batch = batch_size // n_ins
        if len(self.by_label) < self.classes_per_batch:
            raise ConfigError(
                f"BATCH_SIZE: got {batch_size}, which takes {self.classes_per_batch} classes with N_INS = {n_ins}, "
                f"expected at most the {len(self.by_label)} classes of the data"
            )
        self.length = len(list(iter(self)))

    def __iter__(self):
        portions = {label: self._portions(indices) for label, indices in self.by_label.items()}
        labels = list(portions)
        order = []
        while len(labels) >= self.classes_per_batch:
            for label in random.sample(labels, self.classes_per_batch):
                order.extend(portions[label].pop(0))
                if not portions[label]:
                    labels.remove(label)
        return iter(order)

    def _portions(self, indices):
        """The shuffled indices of one class in portions of `n_ins`; what is left over is dropped."""
        indices = list(indices)
        if len(indices) < self.n_ins:
            indices = np.random.choice(indices, size=self.n_ins, replace=True).tolist()
        random.shuffle(indices)
        return [indices[i : i + self.n_ins] for i in range(0, len(indices) - self.n_ins + 1, self.n_ins)]

    def __len__(self):
        return self.length


def build_sampler(sampler_type, data_source, batch_size=32, n_domain=0, n_ins=16) -> Sampler:
    """The sampler called `sampler_type` over a list of Datum. Raises ConfigError for an unknown name."""
    samplers = {
        "RandomSampler": lambda: RandomSampler(data_source),
        "SequentialSampler": lambda: SequentialSampler(data_source),
        "RandomDomainSampler": lambda: RandomDomainSampler(data_source, batch_size, n_domain),
        "SeqDomainSampler": lambda: SeqDomainSampler(data_source, batch_size),
        "RandomClassSampler": lambda: RandomClassSampler(data_source, batch_size, n_ins),
    }
    if sampler_type not in samplers:
        raise ConfigError(f'DATALOADER.*.SAMPLER: got "{sampler_type}", expected one of {", ".join(samplers)}')
    return samplers[sampler_type]()


def _indices_by(data_source, attribute):
    groups = defaultdict(list)
    for index, item in enumerate(data_source):
        groups[getattr(item, attribute)].append(index)
    return groups
