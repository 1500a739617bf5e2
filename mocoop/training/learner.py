"""What learns: a method with its optimiser, schedule and precision; one step, and the state between steps."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.optim import Optimizer
from yacs.config import CfgNode

from mocoop.clip.backbone import Backbone
from mocoop.clip.shares import together
from mocoop.distributed import make_alike, world_size
from mocoop.errors import TrainingError
from mocoop.methods.base import PromptMethod
from mocoop.training.graph import StepGraph, why_eager
from mocoop.training.optim import EpochScheduler, build_lr_scheduler, build_optimizer, iterations

ADVICE = "lower OPTIM.LR or use a higher PREC; the last saved state is kept"

logger = logging.getLogger(__name__)


class Precision:
    """fp32; fp16, CLIP's weights in half precision; amp, fp16 autocast with loss scaling; bf16, bfloat16 autocast.

    On a CPU fp16 and amp run as fp32, with a log line that says so.

    Args:
        prec: of training.
        test: "peers" tests as CoOp and its kin do, without autocast; "train" as in training.

    Attributes:
        asked, used: the precision asked for, and the one that trains.
        tested: the one that tests.
        scaler: the loss scaler of amp; it does nothing in the others.
    """

    def __init__(self, prec: str, device: torch.device, test: str = "peers"):
        self.asked = self.used = prec
        self.device = device
        if device.type == "cpu" and prec in ("fp16", "amp"):
            self.used = "fp32"
            logger.info("PREC %s needs a GPU: on the CPU it runs as fp32", prec)
        self.tested = self.used if test == "train" or self.used == "fp16" else "fp32"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.used == "amp")
        place = device if self.scaler.is_enabled() else "cpu"  # where nothing is counted, no GPU need be there
        self._one, self._skipped = torch.ones((), device=place), torch.zeros((), device=place)

    def prepare(self, clip_model: Backbone) -> Backbone:
        """CLIP with its weights in this precision."""
        if self.used == "fp16":
            clip_model.halve()
        return clip_model

    def autocast(self, testing: bool = False) -> AbstractContextManager:
        """The context in which a forward pass runs."""
        dtypes = {"amp": torch.float16, "bf16": torch.bfloat16}
        dtype = dtypes.get(self.tested if testing else self.used)
        return torch.autocast(self.device.type, dtype=dtype) if dtype else nullcontext()

    def backward(self, method: PromptMethod, parts: dict[str, Tensor]) -> None:
        """The method's backward pass, on losses multiplied by the scaler's number."""
        scale = self.scaler.scale
        method.backward({name: scale(value) if value.requires_grad else value for name, value in parts.items()})

    def update(self, model: nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float = 0.0) -> None:
        """The optimiser's step on the gradients, clipped to `clip_norm` if that is above 0.

        Under amp a step whose gradients overflow is skipped, and the next loss is scaled by less.
        """
        if clip_norm > 0:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], clip_norm)
        if self.scaler.is_enabled():
            before = self.scaler.scale(self._one)
            self.scaler.step(optimizer)
            self.scaler.update()
            self._skipped += self.scaler.scale(self._one) < before
        else:
            optimizer.step()
        for group in optimizer.param_groups:  # fused optimisers do not count as others do
            for p in group["params"]:
                increment_version(p)  # what was kept of the weights before (`class_features`) is known to be old

    def take_skipped(self) -> int:
        """How many steps amp has skipped since this was last asked."""
        skipped = int(self._skipped.item())
        self._skipped.zero_()
        return skipped


@contextmanager
def left_alone(optimizer: Optimizer, resting: Mapping[nn.Parameter, Tensor]) -> Iterator[None]:
    """Inside the block a step leaves as they are the parameters that rest, and the optimiser's averages of them.

    So does torch with a parameter without a gradient; here the device decides, and the host waits for nothing. Adam's
    count of steps goes on.

    Args:
        resting: for each parameter that may rest, a bool scalar on the device that says whether it does.
    """
    if not resting:
        yield
        return
    before = _moved_by(optimizer, resting)
    kept = dict(zip(before, torch.cat([value.flatten() for value in before.values()]).split(_sizes(before))))
    yield
    after = _moved_by(optimizer, resting)
    old = torch.cat([kept[key] if key in kept else torch.zeros_like(v).flatten() for key, v in after.items()])
    new = torch.cat([value.flatten() for value in after.values()])
    rests = torch.cat([resting[p].expand(value.numel()) for (p, _), value in after.items()])
    parts = torch.where(rests, old, new).split(_sizes(after))
    torch._foreach_copy_(list(after.values()), [part.view_as(value) for part, value in zip(parts, after.values())])


def _sizes(tensors: dict[tuple[nn.Parameter, str], Tensor]) -> list[int]:
    return [value.numel() for value in tensors.values()]


def _moved_by(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> dict[tuple[nn.Parameter, str], Tensor]:
    """What a step changes of each parameter, by its name in the optimiser's state: itself, as "", and its averages."""
    states = ((p, {"": p.detach(), **optimizer.state.get(p, {})}) for p in parameters)
    return {
        (p, name): value
        for p, state in states
        for name, value in state.items()
        if torch.is_tensor(value) and value.shape == p.shape
    }


class Learner:
    """Takes training steps with a method.

    Args:
        batches: of an epoch.

    Attributes:
        clip_norm: the norm that gradients are clipped to, 0 for none.
        optimizer, scheduler: of a method with parameters that learn; others have none.
        by_iteration: whether the schedule moves on after each step, not after each epoch.
        shared: whether several ranks take each step together.
        graph: what replays steps on a GPU; None where they run eagerly, for the reason in `why_eager`.
    """

    optimizer: Optimizer
    scheduler: EpochScheduler

    def __init__(self, cfg: CfgNode, method: PromptMethod, precision: Precision, batches: int):
        self.method, self.precision = method, precision
        steps = iterations(cfg, batches)
        settings, self.by_iteration = method.settings, steps > 0
        clips = settings.get("GRAD_CLIP_WHEN", "always") == "always" or settings.PREC == "amp"
        self.clip_norm = settings.get("GRAD_CLIP_NORM", 0.0) if clips else 0.0
        if method.learned_parameters():
            self.optimizer = build_optimizer(method.parameter_groups(cfg.OPTIM.LR), cfg.OPTIM, precision.device)
            self.scheduler = build_lr_scheduler(self.optimizer, cfg.OPTIM, steps, method.stages)
        self.shared = world_size() > 1
        compute = self._loss_and_gradients_of_all if self.shared else self._loss_and_gradients
        self.why_eager = why_eager(precision.device, cfg.TRAIN.get("CUDA_GRAPH", "auto"), method.steps_alike)
        parameters = list(method.learned_parameters().values())
        self.graph = None if self.why_eager else StepGraph(compute, parameters, precision.device)
        self._compute = self.graph or compute

    @property
    def learns(self) -> bool:
        return bool(self.method.learned_tensors())

    @property
    def lr(self) -> float:
        """The rate of the first parameter group."""
        return self.optimizer.param_groups[0]["lr"]

    def step(self, batch: dict, place: str) -> "StepValues":
        """One step on a batch of the training loader; the loss, its parts and the accuracy, once they are read.

        The host waits for nothing: it may continue before the device is done, and a loss that is not finite is noticed
        when the values are read. Among several ranks it is the step of the whole batch, of which `batch` holds this
        rank's images and all labels.

        Args:
            place: where training is, for an error.
        """
        if self.method.stages and self.scheduler.stage != self.method.stage:
            self.method.start_stage(self.scheduler.stage)
            self._forget_graph()
        device = self.precision.device
        image, label = (batch[name].to(device, non_blocking=True) for name in ("img", "label"))
        with self.graph.on_stream() if self.graph else nullcontext():
            while (parts := self._gradients(image, label)) is None:
                torch.cuda.empty_cache()
                logger.warning("out of GPU memory: continuing with half as many prompts per chunk")
            with left_alone(self.optimizer, self.method.resting()):
                self.precision.update(self.method, self.optimizer, self.clip_norm)
            self.method.after_step()
            return StepValues(parts, batch["impath"], place)

    def end_step(self) -> None:
        """Move the schedule on, if that is due after each step."""
        if self.by_iteration:
            self.scheduler.step()

    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Move the schedule on, unless each step does, then let the method act; `epoch` from 1 to `epochs`."""
        if not self.by_iteration:
            self.scheduler.step()
        self.method.after_epoch(epoch, epochs)

    def _gradients(self, image: Tensor, label: Tensor) -> dict[str, Tensor] | None:
        """Fill the gradients; None after running out of memory, if a smaller chunk of prompts may help."""
        try:
            return self._compute(image, label)
        except torch.cuda.OutOfMemoryError:
            if self.shared or not self.method.text_encoder.halve_chunk():  # the other ranks wait for this one
                raise
            self._forget_graph()
            return None

    def _forget_graph(self) -> None:
        if self.graph is not None:
            self.graph.reset()

    def _loss_and_gradients(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        self.optimizer.zero_grad()
        with self.precision.autocast():
            parts = self.method.loss(image, label)
        self.precision.backward(self.method, parts)
        return parts

    def _loss_and_gradients_of_all(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        with together(len(label)):
            parts = self._loss_and_gradients(image, label)
        make_alike([p.grad for p in self.method.learned_parameters().values() if p.grad is not None])
        return parts

    def describe(self) -> str:
        """How steps are taken, in one line."""
        device = self.precision.device
        where = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
        steps = f"eagerly ({self.why_eager})" if self.why_eager else "as one CUDA graph"
        chunk = self.method.text_encoder.tower.chunk or "as many as memory holds"
        return f"Training on {where} in {self.precision.used}; steps run {steps}; prompts at a time: {chunk}"

    def check_finite(self, place: str) -> None:
        """Raises TrainingError if what was learned is not finite: such a state must not be saved."""
        state = self.method.learned_state()
        broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
        if broken:
            raise TrainingError(f"after {place} the parameters {', '.join(broken)} are not finite; {ADVICE}")

    def stateful_parts(self) -> dict:
        """What has a state of its own beside the method, by its name in a checkpoint."""
        own = {name: part for name, part in vars(self).items() if name in ("optimizer", "scheduler")}
        return own | {"scaler": self.precision.scaler}


class StepValues:
    """What a step measured: on a GPU it is on its way to the host.

    Args:
        parts: scalars on the device; "loss" is among them.
        files: the batch's images, place: where training was, for an error.
    """

    def __init__(self, parts: dict[str, Tensor], files: Sequence[str], place: str):
        self.names, self.files, self.place = list(parts), files, place
        self._values = torch.stack([value.detach().float() for value in parts.values()])
        self._copied: torch.cuda.Event | None = None
        if self._values.device.type == "cuda":
            host = torch.empty(self._values.shape, pin_memory=True)
            self._values, self._copied = host.copy_(self._values, non_blocking=True), torch.cuda.Event()
            self._copied.record()

    def read(self) -> dict[str, float]:
        """The values by name. Raises TrainingError for a loss that is not finite."""
        if self._copied is not None:
            self._copied.synchronize()
        values = dict(zip(self.names, self._values.tolist()))
        if not math.isfinite(values["loss"]):
            shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if name != "acc")
            images = f"the batch's images: {' '.join(self.files)}"
            raise TrainingError(f"the loss of {self.place} is not finite ({shown}); {ADVICE}; {images}")
        return values
