"""The contract of a method: a frozen CLIP, something learned, features, predictions, losses and gradients.

A method is a module that knows no engine. From Python, or in any loop of one's own:

    method.fit(features)  # methods on frozen features start from those of all images
    parts = method.loss(image, label)  # {"loss": ..., parts of it, "acc": ...}
    method.backward(parts)  # fills the gradients; then the optimiser's step
    method.after_step()
    method.after_epoch(epoch, epochs)
    method.select(features)

Scaling, clipping and the optimiser's step belong to whoever drives it; a step of a method with parameters that may
rest (`resting`) is taken inside `mocoop.training.learner.left_alone`.

All that a prediction takes of an image goes through `image_features`, which no method overrides:

    normalise(transform_image(image_encoder(image, image_parts())))

What a method does to the feature is `transform_image`; what it puts into the tower is `image_parts`. A method that
needs several vectors of an image says how many in `extra_vectors` and makes them in `extra_image_features`, or of other
rows of the same pass through the tower, which it names in `image_rows`, in `features_of_rows`.

Among several ranks (torchrun) each is given its own share of a batch's images, and the labels of all of them.
`image_features`, `raw_image_features`, `frozen_image_features` and `text_encoder` give every rank the features of the
whole batch. So a method calls neither a module of CLIP's image tower nor anything else on `image` by itself, compares
no `len(image)` with labels, starts no collective, and draws from no generator but torch's default ones, which are alike
on all ranks.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.backbone import Backbone
from mocoop.clip.image_encoder import CLASS_TOKEN, ImageEncoder
from mocoop.clip.text_encoder import TextEncoder
from mocoop.clip.tower_parts import TowerParts
from mocoop.errors import CheckpointError, ConfigError, one_line
from mocoop.methods.class_rows import rows_among
from mocoop.methods.contract import check_built, check_final, check_prediction, checked_loss

if TYPE_CHECKING:
    from mocoop.methods.on_features import FewShotFeatures
    from mocoop.registry import MethodEntry


class PromptMethod(nn.Module):
    """Base of all methods. Subclasses implement `setup`, `encode_classes`, and what else of the contract is special.

    What learns are the method's own parameters; CLIP is shared, and nothing in it is changed. What is put into its
    towers is handed to them in each pass (`TowerParts`). What `fit` and `select` find are persistent buffers: they are
    kept as the parameters are, and no optimiser moves them.

    Args:
        cfg: the whole config.
        classnames: C class names in label order.
        clip_model: from `mocoop.backbone.load_clip`.
        all_classnames: names of all classes, base and new, in label order, for methods whose training may use them.
        teacher: a finished run's method over the classes `taught_names`, for a method that learns from one.

    Attributes:
        settings: the method's own keys.
        teaching_run: the finished run's method that was given; None where there is none, as in tests.
        rows, all_trained: (C,) the place of each class among `trained_classnames`, -1 for one that was not trained, and
            whether all were; of a method registered with `trained_classes`.

    Raises ConfigError if it does not keep to the contract; a class that overrides what is final is not even made.
    """

    entry: "MethodEntry"  # set by `register_method`
    takes_steps = True  # whether training takes steps; if not, `fit` is all of it, and its epochs are empty
    unit_features = True  # whether `image_features` are normalised
    steps_alike = True  # whether each step of a stage launches the same work on the device, whatever the values are
    averages_epochs = False  # whether training ends with an average over its epochs, with shares of how many there are
    class_rows: tuple[str, ...] = ()  # the learned tensors that have one row for each class, in label order
    stages: tuple[float, ...] = ()  # shares of the training at which later stages start; the schedule starts anew there
    stage = 0
    views = 1  # of each training image; `loss` is given (B, V, 3, H, W) where there are several
    plain_view = False  # whether one view more, the last, is the image as it is, resized
    one_class_batches = False  # whether the images of a training batch are of one class, where shots allow
    extra_vectors = 0  # of an image, behind its feature
    image_rows: tuple[int, ...] = ()  # in an image's sequence, that `features_of_rows` reads (ImageEncoder.states)
    teaching_run: "PromptMethod | None"
    rows: Tensor
    all_trained: bool

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_final(cls, PromptMethod)
        if "loss" in vars(cls):
            cls.loss = checked_loss(cls.loss)  # type: ignore[method-assign]  # the same, checked

    def __init__(
        self,
        cfg: CfgNode,
        classnames: Sequence[str],
        clip_model: Backbone,
        all_classnames: Sequence[str] | None = None,
        teacher: "PromptMethod | None" = None,
    ):
        super().__init__()
        self.__dict__["teaching_run"] = teacher  # no part of this module: nothing of it is saved, moved or trained
        self.cfg, self.settings = cfg, self.entry.settings(cfg)
        self.classnames, self.all_classnames = list(classnames), all_classnames
        if self.entry.trained_classes:
            rows = rows_among(self.trained_classnames, self.classnames)
            self.all_trained = bool((rows >= 0).all())
            self.register_buffer("rows", rows, persistent=False)
        self.clip_model = clip_model
        kind = self.settings.get("TEXT_ENCODER", "fast")
        self.text_encoder = TextEncoder(clip_model, kind, self.settings.get("TEXT_CHUNK", 0))
        self.image_encoder = ImageEncoder(clip_model, kind)
        self._class_features: tuple[tuple, Tensor] | None = None
        self._frozen: dict[str, Tensor] = {}
        self.setup()
        check_built(self)

    def setup(self) -> None:
        """Make what is learned. Raises ConfigError for settings or a CLIP that the method cannot work with."""

    # --- what others give -----------------------------------------------------------------------------------------

    @classmethod
    def wants_all_images(cls, cfg: CfgNode) -> bool:
        """Whether training is given the images of all the dataset's classes, base and new, each with the label -1."""
        return False

    @property
    def taught_names(self) -> list[str]:
        """The classes that a teacher has to know."""
        return self.classnames

    # --- features -------------------------------------------------------------------------------------------------

    def image_parts(self) -> TowerParts | None:
        """What the method puts into the image tower: prompts, adapters, LayerNorms; None for CLIP's own tower."""
        return None

    def text_parts(self) -> TowerParts | None:
        """What the method puts into the text tower for its own prompts; None for CLIP's own tower."""
        return None

    def transform_image(self, features: Tensor) -> Tensor:
        """What the method makes of the image tower's features (B, D), which are not normalised: as they are."""
        return features

    def extra_image_features(self, image: Tensor, features: Tensor) -> Tensor:
        """`extra_vectors` more features (B, n, D) of each image, given `image_features` (B, D) without them."""
        raise NotImplementedError

    def features_of_rows(self, states: Tensor) -> Tensor:
        """The `extra_vectors` (B, n, D) of a method with `image_rows`, given their last states (B, R, W)."""
        raise NotImplementedError

    @property
    def takes_clip_features(self) -> bool:
        """Whether all that predictions take of an image is what CLIP's own tower gives: that may be kept and shared."""
        return keeps(type(self), "predict") and self.image_parts() is None and not self.extra_vectors

    @property
    def image_learns(self) -> bool:
        """Whether the image features depend on what is learned, now or in an earlier stage of the training.

        Derived so that it is never wrongly False: anything that a method which learns puts into the tower or behind it
        counts, with a gradient or without one (buffers, averages, a stage in which it rests).
        """
        changed = self.image_parts() is not None or not keeps(type(self), "transform_image") or self.extra_vectors > 0
        return changed and bool(self.learned_tensors())

    def image_features(self, image: Tensor) -> Tensor:
        """Image features (B, D), normalised unless the method wants them as they are (`unit_features`).

        (B, 1 + n, D) of a method with n `extra_vectors`. Final. No graph is built of a tower in which nothing learns.
        """
        parts = self.image_parts()
        learns = parts is not None and parts.learns
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            if self.image_rows:
                states = self.image_encoder.states(image.to(self.dtype), parts, CLASS_TOKEN + self.image_rows)
                encoded = self.image_encoder.project(states[:, 0])
            else:
                encoded = self.image_encoder(image.to(self.dtype), parts)
        features = self.of_encoded(encoded)
        if not self.extra_vectors:
            return features
        extra = self.features_of_rows(states[:, 1:]) if self.image_rows else self.extra_image_features(image, features)
        return torch.cat([features.unsqueeze(1), extra], dim=1)

    def of_encoded(self, encoded: Tensor) -> Tensor:
        """`image_features` (B, D) of what the image tower gave, (B, D)."""
        features = self.transform_image(encoded)
        return F.normalize(features, dim=-1) if self.unit_features else features

    @torch.no_grad()
    def raw_image_features(self, image: Tensor) -> Tensor:
        """Image features (B, D) of CLIP itself, not normalised."""
        return self.image_encoder(image.to(self.dtype))

    def frozen_image_features(self, image: Tensor) -> Tensor:
        """Normalised image features (B, D) of CLIP itself."""
        return F.normalize(self.raw_image_features(image), dim=-1)

    def encode_classes(self) -> Tensor:
        """Normalised text features of the classes: (C, D), or (E, C, D) for E experts."""
        raise NotImplementedError

    def class_features(self) -> Tensor:
        """`encode_classes()`, once per state of the learned parameters if no gradient is wanted."""
        if torch.is_grad_enabled():
            return self.encode_classes()
        state = self._state_key()
        if self._class_features is None or self._class_features[0] != state:
            self._class_features = (state, self.encode_classes())
        return self._class_features[1]

    def frozen(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """What `compute` gives, without a graph, computed once on the method's device and kept under a name."""
        if name not in self._frozen or self._frozen[name].device != self.logit_scale.device:
            with torch.no_grad():
                self._frozen[name] = compute()
        return self._frozen[name]

    # --- predictions ----------------------------------------------------------------------------------------------

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W). Final."""
        return check_prediction(self, self.predict(image), len(image))["logits"]

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        """Logits (B, C) under "logits"; methods that route add what they chose. Tests, tools and pages all ask this."""
        return self.predict_features(self.image_features(image))

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        """`predict` from what `image_features` gives, (B, D)."""
        return {"logits": self.logit_scale * image_features @ self.class_features().t() + self.logit_bias}

    def routing_evidence(self, prediction: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        """What a test judges a router by, of a prediction: "expert_logits" (B, E, C) of each expert alone, "similarity"
        (B, E) of the images to the experts' groups. Empty for a method that does not route, or whose experts encode no
        image but those that chose them."""
        return {}

    # --- training -------------------------------------------------------------------------------------------------

    def fit(self, features: "FewShotFeatures") -> None:
        """Called once, before the first step: sets what is made of the features of all training images."""

    def select(self, features: "FewShotFeatures") -> None:
        """Called once, after the last step and before the last weights are saved: chooses on the validation images."""

    @checked_loss
    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """The "loss" to be minimised, its parts if it has any, and "acc", the accuracy of the batch in percent."""
        logits = self(image)
        return {"loss": F.cross_entropy(logits, label), "acc": batch_accuracy(logits, label)}

    def backward(self, parts: dict[str, Tensor]) -> None:
        """Fill the gradients from what `loss` returned; all its losses may come multiplied by one number (amp)."""
        parts["loss"].backward()

    def resting(self) -> dict[nn.Parameter, Tensor]:
        """Parameters that the last `loss` may not have reached, each with a bool scalar that says, on the device, that
        it did not: the step then leaves them as they are, as if they had no gradient (`mocoop.training.learner`)."""
        return {}

    def start_stage(self, stage: int) -> None:
        """Called before the first step of stage 1, 2, ...; sets `stage`, which `extra_state` has to keep."""

    def after_step(self) -> None:
        """Called after each step of the optimiser, for running averages and the like."""

    def after_epoch(self, epoch: int, epochs: int) -> None:
        """Called after each epoch, 1 to `epochs`, when the schedule has moved on and before anything is saved."""

    def rate_factors(self) -> dict[str, float]:
        """Factors on the learning rate of the learned parameters whose names begin so; of others it is 1."""
        return {}

    def parameter_groups(self, lr: float) -> list[dict]:
        """Parameter groups for an optimiser whose base learning rate is `lr`, one for each factor."""
        factors = self.rate_factors()
        groups: dict[float, list[nn.Parameter]] = {}
        for name, p in self.learned_parameters().items():
            factor = next((factor for start, factor in factors.items() if name.startswith(start)), 1.0)
            groups.setdefault(factor, []).append(p)
        return [{"params": params, "lr": lr * factor} for factor, params in groups.items()]

    @property
    def knowledge(self) -> list[str]:
        """What training uses beyond images and names of the trained classes, in words; tables mark it."""
        return []

    # --- state ----------------------------------------------------------------------------------------------------

    def learned_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by name; none of them is CLIP's."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad and not _of_clip(name)}

    def learned_tensors(self) -> dict[str, Tensor]:
        """The parameters that training changes and the persistent buffers, by name; none of them is CLIP's."""
        own = ((name, t) for name, t in self.state_dict(keep_vars=True).items() if not _of_clip(name))
        return self.learned_parameters() | {name: t for name, t in own if not isinstance(t, nn.Parameter)}

    def learned_state(self) -> dict[str, Tensor]:
        """Copies of the learned tensors on the CPU."""
        return {name: t.detach().cpu().clone() for name, t in self.learned_tensors().items()}

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A state that other code saved, under this method's names and without what is not learned."""
        return state

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Set the learned tensors. Raises CheckpointError if names or shapes differ from this method's."""
        own, state = self.learned_tensors(), self.own_names(state)
        problems = [f"{name} is missing" for name in own if name not in state]
        problems += [f"{one_line(name, 80)} is not a parameter of this method" for name in state if name not in own]
        problems += [
            f"{name} has shape {tuple(state[name].shape)}, expected {tuple(p.shape)}"
            for name, p in own.items()
            if name in state and state[name].shape != p.shape
        ]
        if problems:
            raise CheckpointError(f"the weights do not fit {self.entry.name}: {'; '.join(problems[:3])}")
        with torch.no_grad():
            for name, p in own.items():
                p.copy_(state[name])

    def extra_state(self) -> dict:
        """What is kept beside the parameters, such as a running average: plain values and tensors on the CPU."""
        return {}

    def load_extra_state(self, state: dict) -> None:
        """Take over what `extra_state` returned. Raises CheckpointError if it does not fit."""
        if state:
            raise CheckpointError(f"{self.entry.name} keeps nothing beside its parameters, got {', '.join(state)}")

    @property
    def trained_classnames(self) -> list[str]:
        """Names of the T trained classes, whichever are at hand; of a method registered with `trained_classes`.

        They travel with its checkpoints. Raises ConfigError for another method.
        """
        if not self.entry.trained_classes:
            raise ConfigError(
                f"{self.entry.name} asks for trained_classnames, expected trained_classes=True beside its name"
            )
        return list(self.settings.HEAD_CLASSES) or self.classnames

    def bound_to_classes(self) -> str | None:
        """What is learned for the trained classes alone, in words; None if other class names can take their place."""
        return None

    def serves(self, trained: Sequence[str], wanted: Sequence[str]) -> bool:
        """Whether what is learned for the trained classes alone can be used for the wanted ones, in any order."""
        return not Counter(wanted) - Counter(trained)

    def rows_of_classes(self, state: dict[str, Tensor], trained: Sequence[str]) -> dict[str, Tensor]:
        """A state that was learned for `trained` classes, with the rows (`class_rows`) of those at hand, in order."""
        rows = rows_among(trained, self.classnames)
        parts = ((place, part) for place, part in self.named_modules() if isinstance(part, PromptMethod))
        names = {f"{place}.{name}".lstrip(".") for place, part in parts for name in part.class_rows}
        if not names or (rows < 0).any():
            return state
        size = (len(trained),)
        return {
            name: value[rows] if name in names and value.shape[:1] == size else value for name, value in state.items()
        }

    def structure(self) -> dict:
        """The values of the structural keys, resolved; they travel with a checkpoint."""
        own = {key: self.settings[key] for key in self.entry.structural_keys}
        return own | {"HEAD_CLASSES": self.trained_classnames} if self.entry.trained_classes else own

    # --- CLIP -----------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> "PromptMethod":
        """Training mode for what learns; the frozen CLIP stays in evaluation mode (its batch norms must not move)."""
        super().train(mode)
        self.clip_model.eval()
        return self

    @property
    def dtype(self) -> torch.dtype:
        return self.clip_model.dtype

    @property
    def logit_scale(self) -> Tensor:
        return self.clip_model.logit_scale.exp()

    @property
    def logit_bias(self) -> Tensor | float:
        """What all logits have in common: a softmax does not see it."""
        return 0.0 if self.clip_model.logit_bias is None else self.clip_model.logit_bias

    def _state_key(self) -> tuple:
        precision = (torch.is_autocast_enabled("cuda"), torch.is_autocast_enabled("cpu"), self.text_encoder.kind)
        learned = self.learned_tensors().values()
        where = self.clip_model.logit_scale
        return (*precision, self.stage, where.device, self.dtype, *((id(p), p._version, p.device) for p in learned))


def keeps(method: type[PromptMethod], *names: str) -> bool:
    """Whether a method leaves these parts of the contract as they are."""
    return all(getattr(method, name) is getattr(PromptMethod, name) for name in names)


def _of_clip(name: str) -> bool:
    """Whether a tensor is CLIP's, which a method that a method holds shares with it."""
    return "clip_model" in name.split(".")


def batch_accuracy(logits: Tensor, label: Tensor) -> Tensor:
    """Top-1 accuracy of a batch in percent, a detached scalar."""
    return 100.0 * (logits.detach().argmax(-1) == label).float().mean()
