"""A trained run, ready for use: loaded from its folder alone, without its data set, the checkout or a trainer."""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from yacs.config import CfgNode

from mocoop.backbone import check_classnames
from mocoop.engine import build_transform
from mocoop.errors import ConfigError, quoted
from mocoop.images import read_image, reading_of
from mocoop.methods.contract import check_prediction
from mocoop.names import name_problem
from mocoop.training.finished import Finished, load_finished, resolve_device

__all__ = ["TrainedRun", "check_names", "load_run", "resolve_device"]


@dataclass(frozen=True)
class TrainedRun(Finished):
    """A method with what it learned, and what turns an image file into its input.

    Attributes:
        transform: PIL image to tensor (3, H, W), the trainer's test transform.
    """

    transform: Callable

    @property
    def classnames(self) -> list[str]:
        return self.method.classnames

    @property
    def group_names(self) -> list[str]:
        """Names of the experts; empty for a method without."""
        return getattr(self.method, "group_names", [])

    def read_image(self, path: str | Path) -> Image.Image:
        """The image at `path` for `transform`, read as the images of the run's data set. Raises DataError."""
        return read_image(path, reading_of(self.cfg))

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """`PromptMethod.predict` of transformed images (B, 3, H, W), as the trainer's test loop computes it."""
        with self.precision.autocast(testing=True):
            images = images.to(self.precision.device)
            return check_prediction(self.method, self.method.predict(images), len(images))

    def with_classes(self, names: Sequence[str]) -> "TrainedRun":
        """The same prompts over other class names. CLIP's weights are shared with this run.

        Raises ConfigError for names that are empty, doubled or too long, and for contexts learned for each class.
        """
        names = check_names(names)
        self.check_served(names)
        check_classnames(self.cfg, names)
        return replace(self, method=self.method_over(names))


def load_run(
    path: str | Path, epoch: int | None = None, device: str = "cpu", backbone: str | None = None
) -> TrainedRun:
    """The run in a folder, ready for images. Takes, and raises, what `mocoop.training.finished.load_finished` does."""
    finished = load_finished(path, epoch, device, backbone)
    return TrainedRun(**vars(finished), transform=transform_of(finished.cfg))


def transform_of(cfg: CfgNode) -> Callable:
    """PIL image to tensor (3, H, W), as in a run's test; the steps, which a training log holds, are not printed."""
    with contextlib.redirect_stdout(io.StringIO()):
        return build_transform(cfg, is_train=False)


def check_names(names: Sequence[str]) -> list[str]:
    """Class names to predict among. Raises ConfigError unless there are some, none empty and none twice."""
    names = [name.strip() for name in names]
    if not names or not all(names):
        raise ConfigError(f"got the class names {names}, expected one or more, none of them empty")
    for name in names:
        if problem := name_problem(name):
            raise ConfigError(f"the class name {quoted(name)} {problem}")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(f"got the class name {', '.join(map(repr, doubled))} more than once, expected each once")
    return names
