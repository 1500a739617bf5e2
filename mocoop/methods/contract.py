"""What a method has to keep to, judged as early as it shows, in one line that names the class and its file."""

import functools
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mocoop.clip.image_encoder import ImageEncoder
from mocoop.clip.shares import images_together
from mocoop.distributed import world_size
from mocoop.errors import ConfigError, TrainingError, quoted, reason_of

if TYPE_CHECKING:
    from mocoop.methods.base import PromptMethod
    from mocoop.registry import MethodEntry

_TRANSFORM = "override transform_image, which is given what the image tower gives"
FINAL = {  # what no method overrides, and what it does instead
    "image_features": _TRANSFORM,
    "of_encoded": _TRANSFORM,
    "raw_image_features": _TRANSFORM,
    "frozen_image_features": _TRANSFORM,
    "image_learns": "it follows from image_parts, transform_image and extra_vectors",
    "takes_clip_features": "it follows from predict, image_parts and extra_vectors",
    "forward": "override predict",
}
HELD = {  # what a method that another one holds leaves as it is: nobody would ask for it
    "expert": ("predict", "predict_features", "extra_image_features", "features_of_rows", "fit", "select", "backward",
               "after_epoch", "stages", "start_stage", "extra_state"),
    "dept_base": ("predict", "predict_features", "transform_image", "extra_image_features", "features_of_rows", "fit",
                  "select", "backward", "stages", "start_stage", "extra_state"),
}  # fmt: skip


def origin(method: type) -> str:
    """A class, and the file that it is from."""
    return f"{method.__name__} ({getattr(sys.modules.get(method.__module__), '__file__', method.__module__)})"


def check_final(method: type, base: type) -> None:
    """Raises ConfigError for a class that overrides, or inherits from elsewhere, what is final in `base`."""
    for name, instead in FINAL.items():
        if getattr(method, name) is not getattr(base, name):
            raise ConfigError(f"{origin(method)} overrides {name}, which is final: {instead}")


def class_problem(entry: "MethodEntry", base: "type[PromptMethod]", one_prompt: "type[PromptMethod]") -> str | None:
    """Why a class is not the method that its registration says, in one line, or None."""
    method, name = entry.build, entry.name
    if not isinstance(method, type) or not issubclass(method, base):
        return f"{name} is {quoted(method)}, expected a class below PromptMethod"

    def own(names: Iterable[str]) -> list[str]:
        return [name for name in names if getattr(method, name) is not getattr(base, name)]

    if not own(("encode_classes", "predict_features", "predict")):
        return f"{origin(method)} implements neither encode_classes nor predict_features nor predict, expected one"
    for fact, kept in HELD.items():
        if not getattr(entry, fact):
            continue
        if changed := own(kept):
            return (
                f"{origin(method)} is registered with {fact}=True and overrides {changed[0]}, expected one of the two"
            )
        losses = (one_prompt.loss, *([base.loss] if fact == "expert" else []))
        if method.loss not in losses:
            return f"{origin(method)} is registered with {fact}=True and a loss of its own, expected loss_of_features"
    if entry.expert and not any(key.name == "CTX_INIT" and isinstance(key.default, str) for key in entry.keys):
        return f"{origin(method)} is registered with expert=True, expected a key CTX_INIT of words that it starts from"
    if entry.export == "features" and not hasattr(method, "scoring_tensors"):
        return f'{origin(method)} is registered with export="features", expected it to implement scoring_tensors'
    return None


def check_built(method: "PromptMethod") -> None:
    """Raises ConfigError for what a built method says of itself in other types than the contract's."""
    for name, instead in FINAL.items():
        if name in vars(method):
            raise ConfigError(f"{origin(type(method))} sets {name}, which is final: {instead}")
    if type(method.image_encoder) is not ImageEncoder:
        encoder = quoted(method.image_encoder)
        raise ConfigError(f"{origin(type(method))} has the image encoder {encoder}, expected image_parts instead")
    knowledge, bound, structure = method.knowledge, method.bound_to_classes(), method.structure()
    said = {
        "knowledge": (knowledge, "a list of texts", isinstance(knowledge, list) and _texts(knowledge)),
        "bound_to_classes()": (bound, "a text or None", bound is None or isinstance(bound, str)),
        "structure()": (structure, "a dict with texts as keys", isinstance(structure, dict) and _texts(structure)),
    }
    for what, (value, expected, is_right) in said.items():
        if not is_right:
            raise ConfigError(f"{what} of {origin(type(method))} is {quoted(value)}, expected {expected}")


def _texts(values: Iterable) -> bool:
    return all(isinstance(value, str) for value in values)


def check_prediction(method: "PromptMethod", prediction: dict[str, Tensor], images: int) -> dict[str, Tensor]:
    """The prediction, made of so many images or of a batch of which a rank has so many. Raises TrainingError if it is
    none."""
    count = images_together() or images
    expected = f'a dict with "logits" of shape ({count}, {len(method.classnames)}), the images and the classes'
    logits = prediction.get("logits") if isinstance(prediction, dict) else None
    if not isinstance(logits, Tensor):
        raise TrainingError(f"the prediction of {origin(type(method))} is {_kind(prediction)}, expected {expected}")
    if logits.shape != (count, len(method.classnames)):
        found, hint = tuple(logits.shape), _hint(images, count) if len(logits) == images < count else ""
        raise TrainingError(f"the logits of {origin(type(method))} have the shape {found}, expected {expected}{hint}")
    return prediction


def checked_loss(loss: Callable) -> Callable:
    """`PromptMethod.loss` that raises TrainingError for what is no loss, and for one of a share of the images alone."""

    @functools.wraps(loss)
    def checked(self: "PromptMethod", image: Tensor, label: Tensor) -> dict[str, Tensor]:
        try:
            parts = loss(self, image, label)
        except (RuntimeError, ValueError, IndexError) as error:
            sizes = {len(image), len(label)}
            if not _is_of_a_share(str(error), sizes):
                raise
            reason = f"fails on {world_size()} ranks: {reason_of(error)}{_hint(*sorted(sizes))}"
            raise TrainingError(f"{origin(type(self))} {reason}") from error
        if problem := _loss_problem(parts):
            raise TrainingError(f"the loss of {origin(type(self))} is {problem}")
        return parts

    return checked


def _is_of_a_share(message: str, sizes: set[int]) -> bool:
    """Whether an error is about tensors of a rank's share of the images and of all of them, by both numbers."""
    about_shapes = re.search(r"size|shape|index", message) and not re.search(r"gloo|nccl|memory", message, re.I)
    return len(sizes) == 2 and bool(about_shapes) and sizes <= set(map(int, re.findall(r"\d+", message)))


def _hint(share: int, images: int) -> str:
    return (
        f"; a rank has {share} of the batch's {images} images, and the labels of all: take features from "
        "image_features, raw_image_features or image_encoder, which gather those of all ranks, and call no module of "
        "CLIP's image tower"
    )


def _loss_problem(parts: dict[str, Tensor]) -> str | None:
    if not isinstance(parts, dict) or "loss" not in parts:
        return f'{_kind(parts)}, expected a dict with "loss", its parts, and "acc"'
    for name, value in parts.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.dim():
            return f"{_kind(value)} under {quoted(name)}, expected a tensor of one number, without dimensions"
    if torch.is_grad_enabled() and not parts["loss"].requires_grad:
        return "a number that depends on nothing that learns, expected one with a gradient"
    return None


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a dict of {', '.join(map(repr, value)) or 'nothing'}" if isinstance(value, dict) else quoted(value)
