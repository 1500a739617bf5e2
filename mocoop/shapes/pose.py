"""The pixel grid, and where an object is in it. All arrays are float32."""

from dataclasses import dataclass

import numpy as np

from mocoop.shapes.vocabulary import STYLES

SIDE = 64

Array = np.ndarray

ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float32)[:, None]  # (1, 64, 64) each


def draw(rng: np.random.Generator, count: int, low: float, high: float, *shape: int) -> Array:
    """Uniform numbers (count, *shape) in float32."""
    return rng.uniform(low, high, (count, *shape)).astype(np.float32)


@dataclass(frozen=True)
class Pose:
    """Where each object is: centre, radius (pixels) and angle (radians), each (N,)."""

    x: Array
    y: Array
    radius: Array
    angle: Array

    @classmethod
    def random(cls, style: Array, rng: np.random.Generator) -> "Pose":
        """A free place inside the frame; "small" objects are far away, "cropped" ones hang over its edge."""
        n, middle = len(style), SIDE / 2
        size, place, heading = draw(rng, n, 0, 1), draw(rng, n, -1, 1, 2), draw(rng, n, 0, 2 * np.pi)
        radius = 14 + 8 * size
        radius = np.where(style == STYLES.index("small"), 6.5 + 2.5 * size, radius)
        cropped = style == STYLES.index("cropped")
        radius = np.where(cropped, 24 + 5 * size, radius)
        x, y = (middle + place[:, i] * (middle - 1 - radius) for i in (0, 1))
        x = np.where(cropped, middle + 22 * np.cos(heading), x)
        y = np.where(cropped, middle + 22 * np.sin(heading), y)
        return cls(x, y, radius.astype(np.float32), draw(rng, n, -0.6, 0.6))

    def local(self) -> tuple[Array, Array]:
        """Each pixel in its object's own frame: x and y (upwards), (N, 64, 64) each."""
        dx = (COLUMNS - self.x[:, None, None]) / self.radius[:, None, None]
        dy = (self.y[:, None, None] - ROWS) / self.radius[:, None, None]
        cosine, sine = (f(self.angle)[:, None, None] for f in (np.cos, np.sin))
        return cosine * dx + sine * dy, cosine * dy - sine * dx
