"""In which precision a step computes: TRAINER.<METHOD>.PREC."""

import contextlib
import logging

import torch
from torch import Tensor, nn

from mocoop.clip.openai import CLIP
from mocoop.clip.openai import clip_model as openai_model

logger = logging.getLogger(__name__)


class Precision:
    """fp32; fp16, CLIP's weights in half precision; amp, fp16 autocast with loss scaling; bf16, bfloat16 autocast.

    On a CPU fp16 and amp run as fp32, with a log line that says so.

    Attributes:
        asked, used: the precision asked for, and the one in use.
        scaler: the loss scaler of amp; it does nothing in the others.
    """

    def __init__(self, prec: str, device: torch.device):
        self.asked = self.used = prec
        self.device = device
        if device.type == "cpu" and prec in ("fp16", "amp"):
            self.used = "fp32"
            logger.info("PREC %s needs a GPU: on the CPU it runs as fp32", prec)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.used == "amp")

    def prepare(self, clip_model: CLIP) -> CLIP:
        """CLIP with its weights in this precision."""
        if self.used == "fp16":
            openai_model.convert_weights(clip_model)
        return clip_model

    def autocast(self):
        """The context in which a forward pass runs."""
        dtypes = {"amp": torch.float16, "bf16": torch.bfloat16}
        if self.used not in dtypes:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=dtypes[self.used])

    def step(self, loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float = 0.0) -> None:
        """Backward pass and update; the gradient is clipped to `clip_norm` where that is above 0."""
        optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if clip_norm > 0:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
