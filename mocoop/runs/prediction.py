"""What a trained run says of image files: the most probable classes, and which experts answered; and that as text."""

import csv
import io
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mocoop.data.layout import left_out_files, scan
from mocoop.errors import DataError, MocoopError
from mocoop.images import IMAGE_SUFFIXES
from mocoop.names import SEPARATOR
from mocoop.runs.trained_run import TrainedRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """Of one image.

    Attributes:
        path: as it was given, or below the folder that was.
        classes: (name, probability from 0 to 1) of the most probable classes, best first.
        experts: (name, gate weight) of the chosen experts, best first; empty for a method without.
    """

    path: str
    classes: list[tuple[str, float]]
    experts: list[tuple[str, float]]


def find_images(places: Sequence[str | Path]) -> Iterator[Path]:
    """The files among `places`, and the images in and below the folders among them, in sorted order per folder.

    Raises DataError for a place that does not exist, before anything is yielded, and for a folder without an image.
    """
    paths = [Path(place) for place in places]
    for path in paths:
        if not path.exists():
            raise DataError(f"no image or folder {path}, expected images to predict")
    return _walk(paths)


def _walk(places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_file():
            yield place
            continue
        found = scan(str(place), [])
        for note in left_out_files(found.all("others")):
            logger.info("%s", note)
        if not any(found.all("images")):
            raise DataError(f"{place} holds no image, expected files ending in {' '.join(IMAGE_SUFFIXES)}")
        yield from (place / path for path in found.all("images"))


class Predictor:
    """Predicts image files batch by batch, as they are asked for.

    Args:
        top: how many classes of each image are reported; all if there are fewer.

    Attributes:
        unreadable: files that were left out so far; each was named in the log.
    """

    def __init__(self, run: TrainedRun, top: int = 5, batch: int = 32):
        self.run, self.top, self.batch = run, top, batch
        self.unreadable: list[Path] = []

    def predict(self, paths: Iterable[Path]) -> Iterator[Prediction]:
        """A prediction of each readable image, in order. Raises MocoopError where the weights give no numbers."""
        read: list[tuple[Path, Tensor]] = []
        for path in paths:
            image = self._read(path)
            if image is not None:
                read.append((path, image))
            if len(read) == self.batch:
                yield from self._predict_batch(read)
                read = []
        if read:
            yield from self._predict_batch(read)

    def _read(self, path: Path) -> Tensor | None:
        try:
            return self.run.transform(self.run.read_image(path))
        except DataError as error:
            self.unreadable.append(path)
            logger.warning("left out %s: %s", printable(path), error.__cause__ or error)
            return None

    def _predict_batch(self, read: Sequence[tuple[Path, Tensor]]) -> Iterator[Prediction]:
        output = {
            key: value.cpu() for key, value in self.run.predict(torch.stack([image for _, image in read])).items()
        }
        values, labels = probabilities(self.run, output["logits"]).sort(dim=-1, descending=True, stable=True)
        for i, (path, _) in enumerate(read):
            best = zip(labels[i, : self.top].tolist(), values[i, : self.top].tolist())
            classes = [(self.run.classnames[label], value) for label, value in best]
            yield Prediction(printable(path), classes, self._experts(output, i))

    def _experts(self, output: dict[str, Tensor], i: int) -> list[tuple[str, float]]:
        if "experts" not in output:
            return []
        names = [self.run.group_names[expert] for expert in output["experts"][i].tolist()]
        return list(zip(names, output["gates"][i].float().tolist()))


def probabilities(run: TrainedRun, logits: Tensor) -> Tensor:
    """(B, C) on the CPU, in fp64. Raises MocoopError where the weights give no numbers."""
    found = logits.cpu().double().softmax(-1)
    if not found.isfinite().all():
        raise MocoopError(f"got NaN or infinite logits from {run.checkpoint}: its training diverged")
    return found


def printable(path: Path) -> str:
    """A path as text; bytes of it that are no text are shown as \\x.. ."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def csv_text(predictions: Iterable[Prediction]) -> Iterator[str]:
    """One row for each class reported of an image: path, rank (from 1), class, probability, experts, gates.

    The last two columns are empty for a method without experts.
    """
    yield _csv_row("path", "rank", "class", "probability", "experts", "gates")
    for prediction in predictions:
        names = SEPARATOR.join(name for name, _ in prediction.experts)
        gates = SEPARATOR.join(f"{weight:.6f}" for _, weight in prediction.experts)
        for rank, (name, probability) in enumerate(prediction.classes, start=1):
            yield _csv_row(prediction.path, rank, name, f"{probability:.6f}", names, gates)


def json_text(predictions: Iterable[Prediction]) -> Iterator[str]:
    """A list with one object per line."""
    opening = "[\n"
    for prediction in predictions:
        classes = [{"class": name, "probability": round(value, 6)} for name, value in prediction.classes]
        experts = [{"expert": name, "weight": round(value, 6)} for name, value in prediction.experts]
        entry = {"path": prediction.path, "classes": classes} | ({"experts": experts} if experts else {})
        yield opening + json.dumps(entry)
        opening = ",\n"
    yield "[]\n" if opening == "[\n" else "\n]\n"


def table_text(predictions: Iterable[Prediction]) -> Iterator[str]:
    """A paragraph per image, for reading."""
    for prediction in predictions:
        lines = [prediction.path]
        lines += [f"  {100 * probability:5.1f} %  {name}" for name, probability in prediction.classes]
        if prediction.experts:
            lines.append("  experts: " + ", ".join(f"{name} {weight:.2f}" for name, weight in prediction.experts))
        yield "\n".join(lines) + "\n"


def _csv_row(*values: object) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow(values)
    return row.getvalue()


FORMATS = {"csv": csv_text, "json": json_text, "table": table_text}
