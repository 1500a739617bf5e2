"""A method on top of a finished run: which images it sees together, what it makes of them, and the record of that.

What it gives lies in the run's folder, below `transduced/<name>/order<k>`: result.json, a run's record with the field
`transduction`, and predictions.csv with the columns `batch` and `place`, which images were seen together and when.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from mocoop.errors import ConfigError
from mocoop.files import check_unused
from mocoop.protocol import BOTH, base_count
from mocoop.results.calibration import Margins
from mocoop.results.csv_files import COLUMNS, PREDICTIONS, write_predictions
from mocoop.results.metrics import compute_metrics, compute_sides, per_class, rank
from mocoop.results.record import FILE_NAME, TRANSDUCED, write_record
from mocoop.runs.scores import FinishedRun, Scores
from mocoop.transduce.caches import TDA
from mocoop.transduce.clusters import StatA, TransCLIP

METHODS = {"transclip": TransCLIP, "stata": StatA, "tda": TDA}
CHOICES = {"anchor": ("fixed", "moving"), "counts": ("soft", "hard"), "entropy": ("released", "unit")}
WRITTEN = [*COLUMNS, "batch", "place"]  # in predictions.csv
ONLINE = ("tda",)  # they see one image after the other


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


@dataclass(frozen=True)
class OnTop:
    """What is put on top of a run.

    Attributes:
        name: of METHODS.
        settings: those of its keys that are not the default.
        batches: which images it sees together; an online method sees all, one after the other.
    """

    name: str
    settings: dict = field(default_factory=dict)
    batches: Batches = Batches()

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise ConfigError(f"got --with {self.name!r}, expected one of {', '.join(METHODS)}")
        if self.name in ONLINE and self.batches.size:
            raise ConfigError(f"got --batch {self.batches.size} with {self.name}, which sees one image after the other")

    @classmethod
    def parse(cls, name: str, settings: Sequence[str], batches: Batches) -> "OnTop":
        """settings: texts such as "alpha=2". Raises ConfigError for a key or value that the method does not have."""
        plain = cls(name, {}, batches)
        kinds = {key.name: type(key.default) for key in fields(METHODS[name])}
        return replace(plain, settings=dict(_setting(name, text, kinds) for text in settings))

    @property
    def has_order(self) -> bool:
        """Whether the order of the images matters: not where all are seen at once."""
        return self.name in ONLINE or self.batches.size is not None

    @property
    def label(self) -> str:
        """What folders and tables call it: "transclip", "transclip_64", "stata_64_classes2_alpha0.5", "tda"."""
        parts = [self.name, *([str(self.batches.size)] if self.batches.size else [])]
        parts += [f"classes{self.batches.classes}"] if self.batches.classes else []
        return "_".join([*parts, *(f"{key}{value}" for key, value in sorted(self.settings.items()))])

    def __call__(self, scores: Scores, order: int) -> "Outcome":
        """Scores of all images, in the order of the test's; each batch knows nothing of the others."""
        started, method = time.time(), METHODS[self.name](**self.settings)
        labels = scores.labels.tolist()
        batches = self.batches.draw(labels, order) if self.has_order else [np.arange(len(labels))]
        logits = torch.empty(scores.logits.shape, dtype=torch.float64)
        batch_of, place_of = np.empty((2, len(logits)), dtype=int)
        for number, batch in enumerate(batches):
            logits[batch] = method(scores.features[batch], scores.logits[batch], scores.prototypes)
            batch_of[batch], place_of[batch] = number, np.arange(len(batch))
        if self.name in ONLINE:
            batch_of, place_of, batches = place_of, np.zeros_like(place_of), [np.array([i]) for i in batches[0]]
        return Outcome(order if self.has_order else None, logits, batch_of, place_of, batches, time.time() - started)


@dataclass(frozen=True)
class Outcome:
    """What a method made of all N images.

    Attributes:
        order: None where it does not matter.
        logits: (N, C), in the order of the run's test.
        batch, place: (N,), which batch each image was in, and where.
        batches: the images of each batch, by their places in the test.
    """

    order: int | None
    logits: torch.Tensor
    batch: np.ndarray
    place: np.ndarray
    batches: list[np.ndarray]
    seconds: float

    def accuracy(self, labels: torch.Tensor) -> float:
        return float(100.0 * (self.logits.argmax(-1) == labels).double().mean())


def run_folder(run: FinishedRun, on_top: OnTop, order: int | None) -> Path:
    return run.folder / TRANSDUCED / on_top.label / ("all" if order is None else f"order{order}")


def write_outcome(run: FinishedRun, on_top: OnTop, labels: torch.Tensor, outcome: Outcome, force: bool = False) -> Path:
    """The record and the predictions of what a method made of a run; the folder that they are in."""
    folder = run_folder(run, on_top, outcome.order)
    check_unused(folder / FILE_NAME, force)
    folder.mkdir(parents=True, exist_ok=True)
    ranking, truth = rank(outcome.logits), labels.numpy()
    columns = {"prediction": ranking.predictions, "confidence": np.round(ranking.confidence, 6)}
    frame = run.answers[["path", "label", "domain"]].assign(**columns, batch=outcome.batch, place=outcome.place)
    write_predictions(folder / PREDICTIONS, frame[WRITTEN])
    write_record(folder / FILE_NAME, record_of(run, on_top, truth, outcome))
    return folder


def record_of(run: FinishedRun, on_top: OnTop, labels: np.ndarray, outcome: Outcome) -> dict:
    """The run's record with what was measured on top of it."""
    ranking, names = rank(outcome.logits), run.classnames
    metrics = compute_metrics(ranking, labels)
    if run.record["subsample_classes"] == BOTH:
        base = base_count(len(names))
        metrics |= compute_sides(ranking, labels, base)
        metrics |= {"base_new_area": Margins.of(outcome.logits, labels, base).area()}
    record = run.record | {
        "metrics": metrics,
        "per_class": per_class(ranking, labels, names),
        "routing": None,
        "zero_shot": None,
        "knowledge": [*(run.record.get("knowledge") or []), f"the test images, {seen_together(on_top)}"],
        "transduction": described(on_top, labels, outcome) | {"accuracy_of_run": run.record["metrics"]["accuracy"]},
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    record["seconds"] = record.pop("seconds") | {"test": outcome.seconds}  # the last, where `glance` finds it
    return record


def described(on_top: OnTop, labels: np.ndarray, outcome: Outcome) -> dict:
    """`transduction` of a record: what was seen together, and what else the numbers depend on."""
    return {
        "with": on_top.name,
        "label": on_top.label,
        "seen": seen_together(on_top),
        "settings": asdict(METHODS[on_top.name](**on_top.settings)),
        "batch": 1 if on_top.name in ONLINE else on_top.batches.size or len(labels),
        "batches": len(outcome.batches),
        "classes_asked": on_top.batches.classes,
        "classes_in_batch": composition(labels, outcome.batches),
        "order": outcome.order,
    }


def seen_together(on_top: OnTop) -> str:
    """In words, which test images a method sees together."""
    if on_top.name in ONLINE:
        return "one after the other"
    size, classes = on_top.batches.size, on_top.batches.classes
    if size is None:
        return "all at once"
    return f"{size} at a time" + (f", of {classes} class{'es' * (classes > 1)}" if classes else "")


def _setting(name: str, text: str, kinds: dict[str, type]) -> tuple[str, int | float | str]:
    key, _, value = text.partition("=")
    if key not in kinds:
        raise ConfigError(f"got --set {text!r}, expected one of {', '.join(kinds)} for {name}, as in KEY=VALUE")
    if key in CHOICES:
        if value not in CHOICES[key]:
            raise ConfigError(f"got --set {text!r}, expected {key} to be {' or '.join(CHOICES[key])}")
        return key, value
    try:
        number = kinds[key](value)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf") or (kinds[key] is int and number < 1):
        expected = "a whole number from 1" if kinds[key] is int else "a number from 0"
        raise ConfigError(f"got --set {text!r}, expected {key} to be {expected}")
    return key, number
