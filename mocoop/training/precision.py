"""In which precision a method trains and is tested: TRAINER.<METHOD>.PREC and TEST.PREC."""

import logging
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mocoop.clip.backbone import Backbone
from mocoop.methods.base import PromptMethod

TEST_PRECISIONS = ("peers", "train")

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
        if not self.scaler.is_enabled():
            optimizer.step()
            return
        before = self.scaler.scale(self._one)
        self.scaler.step(optimizer)
        self.scaler.update()
        self._skipped += self.scaler.scale(self._one) < before

    def take_skipped(self) -> int:
        """How many steps amp has skipped since this was last asked."""
        skipped = int(self._skipped.item())
        self._skipped.zero_()
        return skipped
