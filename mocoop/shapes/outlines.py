"""An object's shape and surface: signed distances to its outline, and patterns of its second ink.

Every function takes `x` and `y` (y upwards) of any equal shape in the object's own frame, where the object about fills
the unit circle, and returns an array of that shape. Outlines give distances, negative inside, with about unit slope
near the outline; patterns give how much of the second ink covers each point, 0 to 1, with soft edges.
"""

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def _half_plane(x: Array, y: Array, degrees: float, offset: float) -> Array:
    angle = np.float32(np.deg2rad(degrees))
    return np.cos(angle) * x + np.sin(angle) * y - np.float32(offset)


def _polygon(x: Array, y: Array, degrees: tuple[float, ...], inradius: float) -> Array:
    return np.maximum.reduce([_half_plane(x, y, d, inradius) for d in degrees])


def _box(x: Array, y: Array, half_width: float, half_height: float) -> Array:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _disc(x: Array, y: Array, radius: float) -> Array:
    return np.sqrt(x * x + y * y) - radius


def circle(x: Array, y: Array) -> Array:
    return _disc(x, y, 0.88)


def square(x: Array, y: Array) -> Array:
    return _box(x, y, 0.76, 0.76)


def triangle(x: Array, y: Array) -> Array:
    return _polygon(x, y + 0.15, (-90, 30, 150), 0.55)


def star(x: Array, y: Array) -> Array:
    """Five points: the plane is folded onto the tenth between a tip (radius 1) and a notch (radius 0.42)."""
    tenth = np.float32(np.pi / 5)
    radius = np.sqrt(x * x + y * y)
    angle = np.abs((np.arctan2(x, y) + tenth) % (2 * tenth) - tenth)
    notch_x, notch_y = 0.42 * np.cos(tenth), 0.42 * np.sin(tenth)
    edge = np.hypot(1 - notch_x, notch_y)
    return ((radius * np.cos(angle) - 1) * notch_y + radius * np.sin(angle) * (1 - notch_x)) / np.float32(edge)


def cross(x: Array, y: Array) -> Array:
    return np.minimum(_box(x, y, 0.3, 0.92), _box(x, y, 0.92, 0.3))


def heart(x: Array, y: Array) -> Array:
    """A square on its corner with a disc on each upper side."""
    y = y + np.float32(0.12)
    tilted = np.abs(x) + np.abs(y)
    lobes = _disc(np.abs(x) - np.float32(0.38), y - np.float32(0.38), 0.5374)
    return np.minimum((tilted - np.float32(0.76)) * np.float32(0.7071), lobes)


def ring(x: Array, y: Array) -> Array:
    return np.abs(_disc(x, y, 0.68)) - np.float32(0.24)


def hexagon(x: Array, y: Array) -> Array:
    return _polygon(np.abs(x), np.abs(y), (90, 30), 0.82)


def diamond(x: Array, y: Array) -> Array:
    return (np.abs(x) + np.abs(y) * np.float32(0.56) - np.float32(0.56)) / np.float32(np.hypot(1, 0.56))


def crescent(x: Array, y: Array) -> Array:
    return np.maximum(_disc(x, y, 0.92), -_disc(x - np.float32(0.46), y, 0.74))


def arrow(x: Array, y: Array) -> Array:
    shaft = _box(x, y + np.float32(0.45), 0.24, 0.5)
    head = np.maximum(_half_plane(np.abs(x), y - 1, 42, 0), -y)
    return np.minimum(shaft, head)


def drop(x: Array, y: Array) -> Array:
    """A disc of radius 0.6 and the two tangents that meet in a tip above it."""
    sine = 0.6 / 1.3
    tangents = np.abs(x) * np.float32(np.sqrt(1 - sine**2)) + (y - 1) * np.float32(sine)
    touching = -0.3 + 0.6 * sine
    return np.minimum(_disc(x, y + np.float32(0.3), 0.6), np.maximum(tangents, np.float32(touching) - y))


OUTLINES: tuple[Callable[[Array, Array], Array], ...] = (
    circle, square, triangle, star, cross, heart, ring, hexagon, diamond, crescent, arrow, drop,
)  # fmt: skip


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
