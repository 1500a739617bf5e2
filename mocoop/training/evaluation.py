"""What a trainer keeps of a test set, and what is written of it."""

import hashlib
import resource
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mocoop.errors import quoted
from mocoop.results.metrics import Ranking, compute_metrics, compute_sides, concatenate, per_class, rank
from mocoop.results.predictions import predictions_frame, relative_path
from mocoop.results.routing import RouterTally, summarise_routing

_LINUX_STATUS = Path("/proc/self/status")


class Measurement:
    """Collects predictions batch by batch; only what the metrics need is kept."""

    def __init__(self) -> None:
        self.routers = RouterTally()
        self.rankings: list[Ranking] = []
        self.paths: list[str] = []
        self.labels: list[Tensor] = []
        self.domains: list[Tensor] = []
        self.experts: list[Tensor] = []
        self.gates: list[Tensor] = []

    def add(self, prediction: dict[str, Tensor], batch: dict) -> None:
        """`prediction` as `PromptMethod.predict` returns it, for a batch of the test loader."""
        self.rankings.append(rank(prediction["logits"].float().cpu()))
        self.labels.append(batch["label"].cpu())
        self.domains.append(batch["domain"].cpu())
        self.paths += batch["impath"]
        if "experts" in prediction:
            self.experts.append(prediction["experts"].cpu())
            self.gates.append(prediction["gates"].float().cpu())
        if "expert_logits" in prediction:
            scores = {key: prediction[key].float().cpu().numpy() for key in ("logits", "expert_logits", "similarity")}
            chosen, gates, labels, domains = (
                of_batches[-1].numpy() for of_batches in (self.experts, self.gates, self.labels, self.domains)
            )
            self.routers.add(**scores, chosen=chosen, gates=gates, labels=labels, domains=domains)

    def summary(self, classnames: list[str], base: int | None = None) -> dict:
        """`metrics` and `per_class` of the run's record; with those of both sides where the first `base` are base."""
        ranking, labels = concatenate(self.rankings), torch.cat(self.labels).numpy()
        metrics = compute_metrics(ranking, labels)
        if base is not None:
            metrics |= compute_sides(ranking, labels, base)
        return {"metrics": metrics, "per_class": per_class(ranking, labels, classnames)}

    def routing(self, group_names: list[str], domain_names: list[str]) -> dict | None:
        """`routing` of the run's record; None for a method that does not route."""
        if not self.experts:
            return None
        domains = torch.cat(self.domains).numpy() if domain_names else None
        chosen, gates = torch.cat(self.experts).numpy(), torch.cat(self.gates).numpy()
        summary = summarise_routing(group_names, chosen, gates, domains, domain_names)
        judged = {"routers": self.routers.summary(group_names, domain_names)} if self.routers.images else {}
        return summary | judged

    def images_sha256(self, root: str) -> str | None:
        """What the list of images and labels is known by, in any order; None where some do not lie below `root`."""
        paths = [relative_path(path, root) for path in self.paths]
        if any(path.startswith("/") for path in paths):
            return None  # another machine would call them something else
        rows = sorted(zip(paths, torch.cat(self.labels).tolist()))
        return hashlib.sha256("".join(f"{path}\t{label}\n" for path, label in rows).encode()).hexdigest()

    def predictions(self, group_names: list[str], domain_names: list[str], root: str) -> pd.DataFrame:
        """The rows of predictions.csv; paths below `root` are relative to it."""
        ranking, labels = concatenate(self.rankings), torch.cat(self.labels).numpy()
        names = dict(enumerate(domain_names))
        domains = [names.get(index, "") for index in torch.cat(self.domains).tolist()]
        experts = gates = None
        if self.experts:
            experts = [[group_names[e] for e in row] for row in torch.cat(self.experts).tolist()]
            gates = torch.cat(self.gates).numpy()
        known = (labels, ranking.predictions, ranking.confidence, domains)
        return predictions_frame(self.paths, *known, experts, gates, root)


def images_per_class(images: Sequence) -> list[int]:
    """The fewest and the most images that a class has. images: objects with a `label`."""
    counts = Counter(image.label for image in images).values()
    return [min(counts), max(counts)]


def too_few_images(images: Sequence, shots: int) -> str | None:
    """One line if more `shots` are asked for than a class has training images; None if not."""
    counts = Counter(image.classname for image in images)
    fewer = [name for name, count in counts.items() if count < shots]
    if not fewer:
        return None
    name = min(fewer, key=lambda name: counts[name])
    return (
        f"DATASET.NUM_SHOTS is {shots}, and {len(fewer)} of {len(counts)} classes have fewer training images, "
        f"{quoted(name)} {counts[name]}: all of theirs are used"
    )


def peak_memory_mb(device: torch.device) -> float:
    """Most memory in use since `reset_peak_memory`: of the GPU, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if _LINUX_STATUS.is_file():
        line = next(line for line in _LINUX_STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def reset_peak_memory(device: torch.device) -> None:
    """Forget what earlier runs of this process took, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
