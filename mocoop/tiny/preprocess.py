"""Pictures as CLIP takes them."""

import numpy as np
import torch
from torch import Tensor

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def normalised(pictures: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32, with the mean and deviation of CLIP's pixels."""
    mean, std = (torch.tensor(values) * 255 for values in (PIXEL_MEAN, PIXEL_STD))
    return ((torch.from_numpy(pictures) - mean) / std).permute(0, 3, 1, 2)
