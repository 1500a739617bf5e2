"""What a finished run makes of images: features and scores, computed again from its weights, or kept beside them.

`scores.safetensors` in the run's folder holds those of its test: `features` (N, D), normalised, `logits` (N, C),
`labels` (N,), in the order of predictions.csv, and `prototypes` (C, D), normalised: the classes' text features. It is
used as long as the run's weights and images are those that it was made of.
"""

import contextlib
import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mocoop.checkout import import_datasets
from mocoop.clip.templates import single_template
from mocoop.errors import CheckpointError, DataError
from mocoop.files import write_file
from mocoop.methods.base import PromptMethod, keeps
from mocoop.methods.zeroshot import template_features
from mocoop.results.calibration import Calibration, fit_temperature, likelihood_loss
from mocoop.results.csv_files import answers_of
from mocoop.results.metrics import calibration_error, rank
from mocoop.results.runs import read_done
from mocoop.runs.trained_run import TrainedRun, load_run, transform_of
from mocoop.training.finished import restored_config
from mocoop.training.run_state import weights_sha256, with_structure

FILE_NAME = "scores.safetensors"
BATCH = 64
DISAGREE = 0.01  # the share of answers that another device or version may turn over

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """features: (N, D), normalised. logits: (N, C). labels: (N,). prototypes: (C, D), normalised. All on the CPU."""

    features: Tensor
    logits: Tensor
    labels: Tensor
    prototypes: Tensor

    def tensors(self) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in vars(self).items()}


@dataclass(frozen=True)
class FinishedRun:
    """A run that is done. folder: its own. record, answers: its result.json and predictions.csv."""

    folder: Path
    record: dict
    answers: pd.DataFrame

    @classmethod
    def read(cls, folder: str | Path) -> "FinishedRun":
        """Raises DataError for a folder without a finished test."""
        record = read_done(Path(folder))
        return cls(Path(folder), record, answers_of(folder, record))

    @property
    def classnames(self) -> list[str]:
        return [row["classname"] for row in self.record["per_class"]]

    def images(self, root: str | None = None) -> list[Path]:
        """The files of its test; those below the data root are looked for below `root`, if it has moved."""
        base = Path(root or self.record["config"]["DATASET"]["ROOT"])
        return [base / path for path in self.answers["path"]]


def scores_of(
    run: FinishedRun, root: str | None = None, model: str | None = None, device: str = "cpu", keep: bool = False
) -> Scores:
    """Features and scores of the run's test images: those that were kept, else computed.

    Args:
        root: the data's folder, if it is another than that of the run.
        model: the folder of the run whose weights it tested, if that has moved.
        keep: write what is computed to the run's folder.

    Raises DataError or CheckpointError if the run's weights or images are not there, or give other answers than it did.
    """
    path, made_of = run.folder / FILE_NAME, _made_of(run)
    if (found := _kept(path, made_of)) is not None:
        return found
    trained = open_finished(run, model, device)
    labels = torch.tensor(run.answers["label"].tolist())
    scores = compute_scores(trained, run.images(root), labels)
    wrong = (scores.logits.argmax(-1).numpy() != run.answers["prediction"].to_numpy()).mean()
    if wrong > DISAGREE:
        raise DataError(
            f"{run.folder}: {100 * wrong:.1f} % of the answers are not those of its predictions.csv: it was tested "
            "with other images, another CLIP or other code"
        )
    if keep:
        write_file(path, save(scores.tensors(), made_of))
    return scores


def open_finished(run: FinishedRun, model: str | None = None, device: str = "cpu") -> TrainedRun:
    """The method with the weights that the run tested, over the classes that it was tested on."""
    folder, command = trained_folder(run, model), run.record.get("command") or {}
    evaluated = folder != run.folder
    trained = load_run(folder, command.get("load_epoch") if evaluated else None, device)
    found, wanted = weights_sha256(trained.method.learned_state()), run.record["weights_sha256"]
    if found != wanted:
        raise CheckpointError(
            f"{folder} has the weights {str(found)[:12]}, {run.folder} tested {str(wanted)[:12]}: test it again"
        )
    if not evaluated:
        return trained
    cfg = with_structure(restored_config(run.record["config"], run.folder), trained.method.structure())
    return replace(trained, cfg=cfg, transform=transform_of(cfg)).with_classes(run.classnames)


def trained_folder(run: FinishedRun, model: str | None = None) -> Path:
    """The folder of the run that was trained: its own, that of an evaluation's model, or `model`.

    A model is where it was named, or at the same place of the tree that the run is in now. Raises CheckpointError.
    """
    command = run.record.get("command") or {}
    if model:
        return Path(model)
    if not command.get("eval_only") or run.record["weights_sha256"] is None:
        return run.folder
    named = command["model_dir"]
    same_tree = [parent.joinpath(*Path(named).parts[-7:]) for parent in run.folder.absolute().parents[6:7]]
    for folder in (Path(named).expanduser(), *same_tree):
        if folder.is_dir():
            return folder
    raise CheckpointError(f"{run.folder} tested the model of {named}, which is not there: say where it is with --model")


@torch.no_grad()
def compute_scores(run: TrainedRun, images: Sequence[Path], labels: Tensor) -> Scores:
    """Of image files with labels (N,), as the run's test computes them."""
    method, found = run.method, []
    loader = DataLoader(_Images(run, images), BATCH, num_workers=run.cfg.DATALOADER.NUM_WORKERS)
    for batch in tqdm(loader, disable=None, leave=False, unit_scale=BATCH, unit=" images"):
        with run.precision.autocast(testing=True):
            image = batch.to(run.precision.device)
            features = method.image_features(image)
            own = method.predict_features(features) if keeps(type(method), "predict") else method.predict(image)
        features = features[:, 0] if method.extra_vectors else features
        found.append((F.normalize(features.float(), dim=-1).cpu(), own["logits"].float().cpu()))
    features, logits = (torch.cat(parts) for parts in zip(*found))
    if not logits.isfinite().all():
        raise DataError(f"got NaN or infinite logits from {run.checkpoint}: its training diverged")
    with run.precision.autocast(testing=True):
        prototypes = class_prototypes(method)
    return Scores(features, logits, labels, prototypes.float().cpu())


def class_prototypes(method: PromptMethod) -> Tensor:
    """Normalised text features (C, D): the method's own, of several experts their mean, else of CLIP's template."""
    if keeps(type(method), "encode_classes"):
        template = single_template(method.cfg.DATASET.NAME)
        return F.normalize(template_features(method.text_encoder, [template], method.classnames), dim=-1)
    features = method.class_features()
    return F.normalize(features.mean(0) if features.dim() == 3 else features, dim=-1)


class _Images(Dataset):
    def __init__(self, run: TrainedRun, paths: Sequence[Path]):
        self.run, self.paths = run, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.run.transform(self.run.read_image(self.paths[index]))


def _made_of(run: FinishedRun) -> dict[str, str]:
    """What scores depend on, as the metadata of their file."""
    images = "".join(f"{path}\t{label}\n" for path, label in zip(run.answers["path"], run.answers["label"]))
    names = "\n".join(run.classnames)
    return {
        "weights_sha256": str(run.record["weights_sha256"]),
        "clip_sha256": str(run.record["clip_sha256"]),
        "config_sha256": str(run.record["config_sha256"]),
        "test_sha256": hashlib.sha256(f"{names}\n\n{images}".encode()).hexdigest(),
    }


def _kept(path: Path, made_of: dict[str, str]) -> Scores | None:
    """What the file at `path` holds, if it is of this run."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}) == made_of:
                return Scores(**{name: file.get_tensor(name) for name in file.keys()})
    except (SafetensorError, TypeError, OSError) as error:
        logger.warning("%s is damaged and computed again: %s", path, error)
        return None
    logger.warning("%s is of another test than the run's and computed again", path)
    return None


# --- a temperature, fitted on the images that the model was trained on, never on those of a test ---------------------


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
