"""A temperature for a finished run, fitted on the images that its model was trained on, never on those of a test."""

import contextlib
import io
from pathlib import Path

import torch
from torch import Tensor

from mocoop.checkout import import_datasets
from mocoop.errors import DataError
from mocoop.results.calibration import Calibration, fit_temperature, likelihood_loss
from mocoop.results.metrics import calibration_error, rank
from mocoop.runs.scores import FinishedRun, Scores, compute_scores, open_finished, scores_of, trained_folder
from mocoop.training.finished import restored_config


def calibrate(
    run: FinishedRun, root: str | None = None, model: str | None = None, device: str = "cpu", keep: bool = False
) -> Calibration:
    """Arguments as of `scores_of`.

    Raises DataError for a run that learned nothing, or whose training images have changed.
    """
    if run.record["weights_sha256"] is None:
        raise DataError(f"{run.folder}: {run.record['method']} learned nothing, expected a run with training images")
    trained = FinishedRun.read(trained_folder(run, model))
    support, test = _support(trained, root, device), scores_of(run, root, model, device, keep)
    logits, labels = support.logits.double().numpy(), support.labels.numpy()
    temperature = fit_temperature(logits, labels)
    return Calibration(
        temperature,
        len(labels),
        trained.record["manifest_sha256"],
        likelihood_loss(logits, labels),
        likelihood_loss(logits / temperature, labels),
        _error(test.logits, test.labels),
        _error(test.logits.double() / temperature, test.labels),
        run.record["weights_sha256"],
    )


def _support(run: FinishedRun, root: str | None, device: str) -> Scores:
    """Scores of the images that a run was trained on, among the names of its classes."""
    cfg = restored_config(run.record["config"], run.folder)
    cfg.DATASET.ROOT = root or cfg.DATASET.ROOT
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what a training log says
        dataset = import_datasets().get(cfg.DATASET.NAME)(cfg)
    found, wanted = getattr(dataset, "manifest_sha256", None), run.record["manifest_sha256"]
    if found != wanted:
        raise DataError(
            f"{run.folder} was trained on the images {str(wanted)[:12]}, {cfg.DATASET.ROOT} gives {str(found)[:12]} "
            "(see DATASET.SPLITS)"
        )
    labels = torch.tensor([item.label for item in dataset.train_x])
    return compute_scores(open_finished(run, device=device), [Path(item.impath) for item in dataset.train_x], labels)


def _error(logits: Tensor, labels: Tensor) -> float:
    ranking = rank(logits)
    return 100.0 * calibration_error(ranking.confidence, ranking.predictions == labels.numpy())
