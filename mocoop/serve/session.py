"""What a run says of images, and for a method that routes, what its router saw."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from mocoop.errors import ConfigError, DataError
from mocoop.images import is_image
from mocoop.methods.mocoop.routed import RoutedMethod
from mocoop.runs.prediction import probabilities
from mocoop.runs.trained_run import TrainedRun, check_names

TOP = 5


@dataclass(frozen=True)
class Expert:
    """One expert, before one image.

    Attributes:
        weight: its gate weight; None where it was not among those that answered.
        share: its part of the router's softmax over all experts, 0 to 1.
        similarity: cosine of the image with its group's hand-written prompts for the predicted class.
    """

    name: str
    weight: float | None
    share: float
    similarity: float


@dataclass(frozen=True)
class Answer:
    """classes: (name, probability) of the most probable ones, best first. experts: highest share first, or none."""

    classes: list[tuple[str, float]]
    experts: list[Expert]


@torch.no_grad()
def answer_images(run: TrainedRun, images: Sequence[Image.Image]) -> list[Answer]:
    """An answer for each image. Raises MocoopError where the weights give no numbers."""
    output = run.predict(torch.stack([run.transform(image) for image in images]))
    best = probabilities(run, output["logits"]).sort(dim=-1, descending=True, stable=True)
    experts: list[list[Expert]] = [[] for _ in images]
    if isinstance(run.method, RoutedMethod):
        seen = output["image_features"]
        with run.precision.autocast(testing=True):
            similarity = run.method.group_similarity(seen, best.indices[:, 0].to(seen.device))
        experts = _experts(run.group_names, output, similarity.float().cpu())
    names = [[run.classnames[label] for label in labels[:TOP]] for labels in best.indices.tolist()]
    return [Answer(list(zip(*row)), chosen) for *row, chosen in zip(names, best.values.tolist(), experts)]


def _experts(names: Sequence[str], output: dict, similarity: torch.Tensor) -> list[list[Expert]]:
    shares = output["router_logits"].float().softmax(-1).tolist()
    rows = []
    for i, chosen in enumerate(output["experts"].tolist()):
        weights = dict(zip(chosen, output["gates"][i].float().tolist()))
        values = zip(names, shares[i], similarity[i].tolist())
        experts = [Expert(name, weights.get(e), share, near) for e, (name, share, near) in enumerate(values)]
        rows.append(sorted(experts, key=lambda expert: -expert.share))
    return rows


MOST_IMAGES, MOST_NAMES, BATCH = 200, 2000, 32
THUMBNAIL = (480, 480)  # pixels


@dataclass(frozen=True)
class AnsweredImage:
    """One image: its file's name, a picture for the page, and each run's answer."""

    name: str
    picture: Image.Image
    answers: list[Answer]

    @property
    def agreed(self) -> bool:
        """Whether all runs name the same class."""
        return len({answer.classes[0][0] for answer in self.answers}) == 1


class Session:
    """Answers for a page.

    Args:
        runs: one, or two that are compared. All answer over the class names of the first, unless others are asked for.

    Raises ConfigError for a run that cannot answer over these names.
    """

    def __init__(self, runs: Sequence[TrainedRun]):
        self.runs = list(runs)
        self.names = list(runs[0].classnames)
        self.over = functools.lru_cache(maxsize=4)(self._over)
        self.over(tuple(self.names))

    def _over(self, names: tuple[str, ...]) -> list[TrainedRun]:
        return [run if run.classnames == list(names) else run.with_classes(names) for run in self.runs]

    def names_in(self, text: str) -> list[str]:
        """The class names of a text, one on each line, or on one line with commas. Raises ConfigError for bad ones."""
        lines = [line for line in text.splitlines() if line.strip()]
        names = lines[0].split(",") if len(lines) == 1 else lines
        if len(names) > MOST_NAMES:
            raise ConfigError(f"got {len(names):,} class names, expected at most {MOST_NAMES:,}")
        return check_names(names)

    def answer(self, paths: Sequence[str], names: Sequence[str]) -> tuple[list[AnsweredImage], str]:
        """What the runs say of image files, in the order of their names, and a line about what was left out, or "".

        Raises ConfigError for names that cannot be used, DataError where no file is a readable image.
        """
        runs = self.over(tuple(names))
        files = sorted((Path(path) for path in paths if is_image(Path(path).name)), key=lambda p: p.name)
        left_out = [f"{len(paths) - len(files)} that are no images"] if len(paths) > len(files) else []
        if len(files) > MOST_IMAGES:
            left_out.append(f"{len(files) - MOST_IMAGES} beyond the first {MOST_IMAGES}")
        seen: list[AnsweredImage] = []
        unreadable: list[str] = []
        for start in range(0, min(len(files), MOST_IMAGES), BATCH):
            read = _read(runs, files[start : min(start + BATCH, MOST_IMAGES)], unreadable)
            answers = [
                answer_images(run, images) for run, *images in zip(runs, *(images for _, images in read)) if images
            ]
            seen += [
                AnsweredImage(name, _thumbnail(images[0]), list(row)) for (name, images), *row in zip(read, *answers)
            ]
        if unreadable:
            left_out.append(f"{len(unreadable)} that cannot be read ({unreadable[0]})")
        if not seen:
            raise DataError(f"no image could be read: got {', '.join(left_out) or 'no file'}, expected a picture")
        return seen, f"Left out: {', '.join(left_out)}." if left_out else ""


def _read(runs: Sequence[TrainedRun], files: Sequence[Path], unreadable: list[str]) -> list[tuple[str, list]]:
    """(name, image as each run reads it) of the files that can be read; why the others cannot goes to `unreadable`."""
    read = []
    for path in files:
        try:
            read.append((path.name, [run.read_image(path) for run in runs]))
        except DataError as error:
            reason = str(error.__cause__ or error).replace(str(path), path.name)
            unreadable.append(reason if path.name in reason else f"{path.name}: {reason}")
    return read


def _thumbnail(image: Image.Image) -> Image.Image:
    if max(image.size) < 160:  # as sharp as it is, not blurred by the browser
        return image.resize([side * (160 // max(image.size) + 1) for side in image.size], Image.Resampling.NEAREST)
    picture = image.copy()
    picture.thumbnail(THUMBNAIL)
    return picture
