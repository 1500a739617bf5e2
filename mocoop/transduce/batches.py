"""Which test images are seen together, and in which order."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mocoop.errors import ConfigError


@dataclass(frozen=True)
class Batches:
    """How batches are drawn.

    Attributes:
        size: images that are seen together; None for all.
        classes: how many classes, drawn by their true labels, a batch has images of; None for images as they come.
            What a method gains depends on it.
    """

    size: int | None = None
    classes: int | None = None

    def __post_init__(self) -> None:
        for flag, value in (("--batch", self.size), ("--classes-in-batch", self.classes)):
            if value is not None and value < 1:
                raise ConfigError(f"{flag} is {value}, expected 1 or more")
        if self.classes is not None and self.size is None:
            raise ConfigError("got --classes-in-batch without --batch, expected how many images are seen together")

    def draw(self, labels: Sequence[int], order: int) -> list[np.ndarray]:
        """The places of all images, each once, in batches; the same for the same order."""
        chance = random.Random(order)
        places = list(range(len(labels)))
        chance.shuffle(places)
        if self.classes is not None:
            return self._few_classes(labels, places, chance)
        size = self.size or len(places)
        return [np.array(places[start : start + size]) for start in range(0, len(places), size)]

    def _few_classes(self, labels: Sequence[int], places: list[int], chance: random.Random) -> list[np.ndarray]:
        left: dict[int, list[int]] = {}
        for place in places:
            left.setdefault(int(labels[place]), []).append(place)
        batches = []
        while left:
            chosen = chance.sample(sorted(left), min(self.classes or 1, len(left)))
            pool = [place for label in chosen for place in left[label]]
            batch = chance.sample(pool, min(self.size or 1, len(pool)))
            batches.append(np.array(batch))
            taken = set(batch)
            for label in chosen:
                left[label] = [place for place in left[label] if place not in taken]
                if not left[label]:
                    del left[label]
        return batches


def composition(labels: np.ndarray, batches: list[np.ndarray]) -> list[float]:
    """The fewest, the mean and the most classes that a batch has images of."""
    counts = [len(np.unique(labels[batch])) for batch in batches]
    return [float(min(counts)), float(np.mean(counts)), float(max(counts))]
