"""Testing a method: its predictions on a test set, what is measured of them, and the record that is written.

The printed result has Dassl's lines, which scripts for CoOp parse; its figures are those of the record. Whether a
method is better than what it started from is seen by asking zero-shot CLIP about some of the same images.
"""

import hashlib
import logging
import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from mocoop import timings
from mocoop.clip.shares import apart, together
from mocoop.clip.templates import single_template
from mocoop.distributed import from_main, of_all, own_range, world_size
from mocoop.engine import BACKEND
from mocoop.errors import DataError, quoted
from mocoop.late_imports import drawing_nothing
from mocoop.methods.base import PromptMethod
from mocoop.methods.contract import check_prediction
from mocoop.methods.zeroshot import template_features
from mocoop.protocol import BOTH, base_count
from mocoop.results.calibration import Margins, join_margins
from mocoop.results.csv_files import PREDICTIONS, predictions_frame, relative_path, write_predictions
from mocoop.results.metrics import Ranking, compute_metrics, compute_sides, concatenate, per_class, rank
from mocoop.results.record import FILE_NAME, build_record, write_record
from mocoop.results.routing import RouterTally, summarise_routing
from mocoop.timings import timed
from mocoop.training.checkpoint import save_state
from mocoop.training.features import feature_batches
from mocoop.training.interruptions import StopRequest
from mocoop.training.learner import Precision

logger = logging.getLogger(__name__)
_LINUX_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Weights:
    """Which weights are tested.

    Attributes:
        epoch: epochs that they have seen.
        selection: "last_step", "best_val" (the best on the validation images), or "epoch": one that was asked for.
        sha256: of the learned tensors; None if nothing is learned.
    """

    epoch: int
    selection: str
    sha256: str | None


class Measurement:
    """Collects predictions batch by batch; only what the metrics need is kept."""

    def __init__(self, base: int | None = None) -> None:
        """base: how many of the classes are base ones, the first, in a test of base and new ones."""
        self.base, self.margins = base, list[Margins]()
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
        if self.base is not None:
            self.margins.append(Margins.of(prediction["logits"].float().cpu(), self.labels[-1], self.base))
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

    def summary(self, classnames: list[str]) -> dict:
        """`metrics` and `per_class` of the run's record; of a test of base and new classes with those of both sides.

        Raises DataError if there was no image.
        """
        if not self.labels:
            raise DataError("the test set has no image, expected at least one")
        ranking, labels = concatenate(self.rankings), torch.cat(self.labels).numpy()
        metrics = compute_metrics(ranking, labels)
        if self.base is not None:
            metrics |= compute_sides(ranking, labels, self.base)
            metrics |= {"base_new_area": join_margins(self.margins).area()}
        return {"metrics": metrics, "per_class": per_class(ranking, labels, classnames)}

    def confusion_matrix(self) -> Tensor:
        """(C, C), a row for each class that is a label or a prediction, in their order; rows of labels sum to 1."""
        with drawing_nothing():
            from sklearn.metrics import confusion_matrix  # a second to import, which other runs need not wait for

        labels, predictions = torch.cat(self.labels).numpy(), concatenate(self.rankings).predictions
        return torch.from_numpy(confusion_matrix(labels, predictions, normalize="true"))

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


class ZeroShotCheck:
    """Counts, on images spread evenly over a test set, how often zero-shot CLIP and the method are right.

    Args:
        method: over the classes of the test set; it is asked for features, and not changed.
        stride: one in so many images is looked at.
    """

    def __init__(self, cfg: CfgNode, method: PromptMethod, stride: int):
        self.method, self.stride = method, stride
        template = single_template(cfg.DATASET.NAME)
        self.text_features = template_features(method.text_encoder, [template], method.classnames)  # (C, D)
        self.seen = self.images = self.right = self.method_right = 0

    def add(self, features: Tensor | None, logits: Tensor, batch: dict) -> None:
        """A batch: CLIP's own image features (B, D), None where they are to be computed, the method's logits (B, C),
        and what the loader gave.

        Each rank looks at its own images.
        """
        own, first = own_range(len(logits)), -self.seen % self.stride
        self.seen += len(logits)
        chosen = [place for place in range(first, len(logits), self.stride) if place in own]
        if not chosen:
            return
        label = batch["label"][chosen].to(logits.device)
        if features is None:
            image = batch["img"][[place - own.start for place in chosen]].to(logits.device)
            with apart():
                features = self.method.frozen_image_features(image)
        else:
            features = F.normalize(features[chosen], dim=-1)
        found = features @ self.text_features.to(features).t()
        self.images += len(label)
        self.right += int((found.argmax(-1) == label).sum())
        self.method_right += int((logits[chosen].argmax(-1) == label).sum())

    def summary(self) -> dict:
        """`zero_shot` of the run's record: accuracies in percent on the same `images`, and who is `below`."""
        images, *both = (sum(counts) for counts in zip(*of_all((self.images, self.right, self.method_right))))
        accuracy, own = (100.0 * right / images for right in both)
        return {"images": images, "accuracy": accuracy, "method_accuracy": own, "below": own < accuracy}


class Tester:
    """Tests a method in the evaluation mode, in the precision of TEST.PREC."""

    def __init__(self, cfg: CfgNode, method: PromptMethod, precision: Precision, stop: StopRequest):
        self.cfg, self.method, self.precision, self.stop = cfg, method, precision, stop
        both = cfg.DATASET.get("SUBSAMPLE_CLASSES") == BOTH
        self.measurement = Measurement(base_count(len(method.classnames)) if both else None)
        self.started = time.time()
        self.zero_shot: dict | None = None

    @timed("tests")
    @torch.no_grad()
    def run(self, loader: DataLoader, with_zero_shot: bool) -> dict[str, float]:
        """Test on a loader's images and print the result, as `print_result`; all is kept for `record`."""
        self.method.eval()
        images = self.cfg.TEST.get("ZERO_SHOT_IMAGES", 0) if with_zero_shot else 0
        with together():
            total = len(cast(Any, loader.dataset))  # torch declares no length of it
            check = ZeroShotCheck(self.cfg, self.method, math.ceil(total / images)) if images > 0 else None
            self._predict_all(loader, check)
        self.summary = self.measurement.summary(self.method.classnames)
        return from_main(self._print)

    def _predict_all(self, loader: DataLoader, check: ZeroShotCheck | None) -> None:
        use_cache = self.cfg.TEST.get("FEATURE_CACHE", True)  # a CoOp checkout's config lacks the key
        for features, batch in feature_batches(loader, self.method, self.precision, use_cache):
            self.stop.raise_if_asked()
            label = batch["label"].to(self.precision.device)
            with self.precision.autocast(testing=True):
                prediction = self._predict(features, batch)
                evidence = self.method.routing_evidence(prediction, label)
                if check is not None:
                    check.add(features, prediction["logits"], batch)
            self.measurement.add(prediction | evidence, batch)
        self.zero_shot = check.summary() if check else None

    def _print(self) -> dict[str, float]:
        results = print_result(**self.summary, by_class=self.cfg.TEST.PER_CLASS_RESULT)
        if self.cfg.TEST.COMPUTE_CMAT:
            path = Path(self.cfg.OUTPUT_DIR) / "cmat.pt"
            save_state(self.measurement.confusion_matrix(), path)
            print(f"Confusion matrix is saved to {path}")
        return results

    def _predict(self, features: Tensor | None, batch: dict) -> dict[str, Tensor]:
        """`PromptMethod.predict` of a batch; where CLIP's features (B, D) are all that it takes, of these."""
        if features is not None:
            prediction = self.method.predict_features(self.method.of_encoded(features))
            return check_prediction(self.method, prediction, len(features))
        image = batch["img"].to(self.precision.device)
        with together(len(batch["label"])):
            return check_prediction(self.method, self.method.predict(image), len(image))

    @timed("writing")
    def record(
        self,
        split: str,
        dataset: Any,
        weights: Weights | None,
        folder: Path,
        train_seconds: float,
        command: dict | None,
    ) -> None:
        """Write predictions.csv and result.json of what was run."""
        trained = weights is not None and not (command or {}).get("eval_only")
        names = (getattr(self.method, "group_names", []), getattr(dataset, "domains", []))
        record = build_record(
            self.cfg,
            split=split,
            epoch=weights.epoch if weights else None,
            selection=weights.selection if weights else None,
            weights_sha256=weights.sha256 if weights else None,
            routing=self.measurement.routing(*names),
            clip_sha256=self.method.clip_model.sha256,
            manifest_sha256=getattr(dataset, "manifest_sha256", None),
            engine=BACKEND,
            ranks=world_size(),
            test_sha256=self.measurement.images_sha256(self.cfg.DATASET.ROOT),
            train_per_class=images_per_class(dataset.train_x) if trained else None,
            precision={"train": self.precision.used, "test": self.precision.tested},
            knowledge=self.method.knowledge,
            zero_shot=self.zero_shot,
            command=command,
            seconds={"train": train_seconds, "test": time.time() - self.started},
            peak_memory_mb=peak_memory_mb(self.precision.device),
            **self.summary,
        )
        if self.zero_shot and self.zero_shot["below"]:
            values = (self.zero_shot[key] for key in ("method_accuracy", "accuracy", "images"))
            logger.warning("worse than untrained: %.1f %%, zero-shot CLIP %.1f %% (on %d of the images)", *values)
        write_predictions(folder / PREDICTIONS, self.measurement.predictions(*names, self.cfg.DATASET.ROOT))
        write_record(folder / FILE_NAME, record | {"timings": timings.so_far()})


def print_result(metrics: dict[str, float], per_class: list[dict], by_class: bool = False) -> dict[str, float]:
    """Print a test's result in Dassl's lines; return what they say, first the accuracy, which models are chosen by.

    Args:
        metrics, per_class: of the run's record. by_class: whether there is a line for each class, too.
    """
    classes = [row for row in per_class if row["total"]]
    total, correct = (sum(row[key] for row in classes) for key in ("total", "correct"))
    results = {name: metrics[name] for name in ("accuracy", "error_rate", "macro_f1")}
    print(f"=> result\n* total: {total:,}\n* correct: {correct:,}")
    print("* accuracy: {accuracy:.1f}%\n* error: {error_rate:.1f}%\n* macro_f1: {macro_f1:.1f}%".format(**results))
    if by_class:
        print("=> per-class result")
        for row in classes:
            counts = f"total: {row['total']:,}\tcorrect: {row['correct']:,}\tacc: {row['accuracy']:.1f}%"
            print(f"* class: {row['label']} ({row['classname']})\t{counts}")
        results["perclass_accuracy"] = metrics["per_class_mean"]
        print(f"* average: {results['perclass_accuracy']:.1f}%")
    return results


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
