"""What a run says of images, and for a method that routes, what its router saw."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from mocoop.methods.mocoop.routed import RoutedMethod
from mocoop.runs.prediction import probabilities
from mocoop.runs.trained_run import TrainedRun

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
def ask(run: TrainedRun, images: Sequence[Image.Image]) -> list[Answer]:
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
