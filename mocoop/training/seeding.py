"""Random number generators: seeding them, and carrying their state through a checkpoint."""

import random

import numpy as np
import torch


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, on every device."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


def random_state() -> dict:
    """The state of those generators, in tensors, lists and numbers only, so that it loads with `weights_only=True`."""
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    keys, position = (numpy["state"][part] for part in ("key", "pos"))
    return {
        "python": [version, list(words), gauss],
        "numpy": [numpy["bit_generator"], keys.tolist(), int(position), int(numpy["has_gauss"]), float(numpy["gauss"])],
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict) -> None:
    """Put back what `random_state` returned, on CUDA for the device in use."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0].cpu())
