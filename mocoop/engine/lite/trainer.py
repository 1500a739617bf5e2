"""What a trainer of Dassl's kind is built from: data, a model, an evaluator. How it trains is its own affair.

`Classification` prints the result lines that scripts for CoOp parse.
"""

from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mocoop.engine.lite.data import DataManager
from mocoop.engine.lite.registry import Registry
from mocoop.errors import DataError
from mocoop.files import atomic_write
from mocoop.macro_f1 import macro_f1

EVALUATOR_REGISTRY: "Registry[Classification]" = Registry("EVALUATOR")


def build_evaluator(cfg: CfgNode, **kwargs: Any) -> "Classification":
    """The evaluator that `cfg.TEST.EVALUATOR` names. Raises ConfigError for an unknown name."""
    return EVALUATOR_REGISTRY.build("TEST.EVALUATOR", cfg.TEST.EVALUATOR, cfg, **kwargs)


@EVALUATOR_REGISTRY.register()
class Classification:
    """Collects predictions: accuracy, error rate and macro F1 in per cent; per class with TEST.PER_CLASS_RESULT.

    With TEST.COMPUTE_CMAT the confusion matrix, its rows summing to 1, is written to OUTPUT_DIR/cmat.pt.
    """

    def __init__(self, cfg: CfgNode, lab2cname: dict[int, str] | None = None, **kwargs: Any):
        self.cfg = cfg
        self._lab2cname = lab2cname or {}
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self._y_true: list[int] = []
        self._y_pred: list[int] = []

    def process(self, mo: Tensor, gt: Tensor) -> None:
        """Add a batch: scores `mo` (N, C) and labels `gt` (N,)."""
        self._y_true.extend(gt.tolist())
        self._y_pred.extend(mo.max(dim=1).indices.tolist())

    def evaluate(self) -> OrderedDict[str, float]:
        """Print and return the results; the first value is the one that models are chosen by."""
        total = len(self._y_true)
        if not total:
            raise DataError("evaluation: got no image, expected at least one")
        correct = sum(truth == guess for truth, guess in zip(self._y_true, self._y_pred))
        accuracy = 100.0 * correct / total
        present = sorted(set(self._y_true))
        f1 = 100.0 * macro_f1(self._y_true, self._y_pred)
        results = OrderedDict(accuracy=accuracy, error_rate=100.0 - accuracy, macro_f1=f1)
        print(
            "=> result\n"
            f"* total: {total:,}\n"
            f"* correct: {correct:,}\n"
            f"* accuracy: {accuracy:.1f}%\n"
            f"* error: {100.0 - accuracy:.1f}%\n"
            f"* macro_f1: {f1:.1f}%"
        )
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._evaluate_per_class(present)
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion_matrix()
        return results

    def _evaluate_per_class(self, labels: list[int]) -> float:
        """Print the accuracy of each class, and return their mean."""
        print("=> per-class result")
        totals = Counter(self._y_true)
        hits = Counter(truth for truth, guess in zip(self._y_true, self._y_pred) if truth == guess)
        accuracies = [100.0 * hits[label] / totals[label] for label in labels]
        for label, accuracy in zip(labels, accuracies):
            print(
                f"* class: {label} ({self._lab2cname.get(label, label)})\t"
                f"total: {totals[label]:,}\tcorrect: {hits[label]:,}\tacc: {accuracy:.1f}%"
            )
        mean = sum(accuracies) / len(accuracies)
        print(f"* average: {mean:.1f}%")
        return mean

    def _save_confusion_matrix(self) -> None:
        from sklearn.metrics import confusion_matrix  # a second to import, which other runs need not wait for

        path = Path(self.cfg.OUTPUT_DIR) / "cmat.pt"
        matrix = torch.from_numpy(confusion_matrix(self._y_true, self._y_pred, normalize="true"))
        with atomic_write(path, "wb") as handle:
            torch.save(matrix, handle)
        print(f"Confusion matrix is saved to {path}")


class TrainerX:
    """Builds data, model and evaluator from a config, in this order.

    Attributes: cfg, device, dm, train_loader_x, val_loader, test_loader, num_classes, lab2cname,
    evaluator, output_dir.
    """

    model: nn.Module

    def __init__(self, cfg: CfgNode):
        self.check_cfg(cfg)
        self.cfg = cfg
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.output_dir = cfg.OUTPUT_DIR
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)

    def check_cfg(self, cfg: CfgNode) -> None:
        """Raise ConfigError for settings that this trainer cannot work with."""

    def build_data_loader(self) -> None:
        """Build the loaders and what they tell about the data."""
        self.dm = DataManager(self.cfg)
        self.train_loader_x = self.dm.train_loader_x
        self.val_loader = self.dm.val_loader
        self.test_loader = self.dm.test_loader
        self.num_classes = self.dm.num_classes
        self.lab2cname = self.dm.lab2cname

    def build_model(self) -> None:
        """Set `self.model`."""
        raise NotImplementedError
