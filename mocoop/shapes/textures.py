"""Surface patterns: how much of the second ink covers each point of an object, 0 to 1, with soft edges."""

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def _soft(signed: Array, sharpness: float) -> Array:
    return np.clip(signed * np.float32(sharpness) + np.float32(0.5), 0, 1)


def plain(x: Array, y: Array) -> Array:
    return np.zeros_like(x)


def striped(x: Array, y: Array) -> Array:
    return _soft(np.sin(x * np.float32(2 * np.pi / 0.52)), 2.5)


def dotted(x: Array, y: Array) -> Array:
    dx, dy = (v * np.float32(1 / 0.56) % 1 - np.float32(0.5) for v in (x, y))
    return _soft(np.float32(0.29) - np.sqrt(dx * dx + dy * dy), 8)


def checkered(x: Array, y: Array) -> Array:
    frequency = np.float32(np.pi / 0.46)
    return _soft(np.sin(x * frequency) * np.sin(y * frequency), 4)


PATTERNS: tuple[Callable[[Array, Array], Array], ...] = (plain, striped, dotted, checkered)
