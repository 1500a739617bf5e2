"""One object before a cluttered, light, low-saturation background (strong colours there would hide a negative).

All arrays are float32; a scene's pictures are (N, 64, 64, 3) in 0..1.
"""

from dataclasses import dataclass

import numpy as np

from mocoop.shapes.outlines import OUTLINES, PATTERNS
from mocoop.shapes.vocabulary import PALETTE, STYLES

SIDE = 64
CLUTTER = 4
PENCIL_WIDTH = np.float32(1.6)

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


def _grouped(functions: tuple, choice: Array, x: Array, y: Array) -> Array:
    """functions[choice[i]](x[i], y[i]) for each picture i, (N, 64, 64)."""
    out = np.empty_like(x)
    for index in np.unique(choice):
        chosen = choice == index
        out[chosen] = functions[index](x[chosen], y[chosen])
    return out


def _background(n: int, rng: np.random.Generator) -> Array:
    """A light wall with a few rectangles of other pale colours."""
    base, tone = draw(rng, n, 0.72, 0.95, 1), draw(rng, n, -0.04, 0.04, 3)
    pictures = np.broadcast_to((base + tone)[:, None, None], (n, SIDE, SIDE, 3)).copy()
    centre, half = draw(rng, n, 0, SIDE, CLUTTER, 2), draw(rng, n, 2, 16, CLUTTER, 2)
    shade, angle = draw(rng, n, -0.16, 0.14, CLUTTER, 1), draw(rng, n, 0, np.pi, CLUTTER)
    hue = draw(rng, n, -0.05, 0.05, CLUTTER, 3)
    for i in range(CLUTTER):
        cosine, sine = (f(angle[:, i])[:, None, None] for f in (np.cos, np.sin))
        dx, dy = COLUMNS - centre[:, i, 0, None, None], ROWS - centre[:, i, 1, None, None]
        outside = np.maximum(
            np.abs(cosine * dx + sine * dy) - half[:, i, 0, None, None],
            np.abs(cosine * dy - sine * dx) - half[:, i, 1, None, None],
        )
        cover = np.clip(np.float32(0.5) - outside, 0, 1)
        pictures += cover[..., None] * (shade + hue)[:, i, None, None]
    return pictures


def _inks(colour: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Main and second ink of each object, (N, 3) each; the second is a much lighter or darker shade of the first."""
    n = len(colour)
    main = PALETTE[colour] * draw(rng, n, 0.88, 1.1, 1) + draw(rng, n, -0.04, 0.04, 3)
    light, dark = main * np.float32(0.4) + np.float32(0.56), main * np.float32(0.35)
    pale = PALETTE[colour].mean(-1) > 0.6
    use_light = (rng.random(n) < 0.5) & ~pale
    return main, np.where(use_light[:, None], light, dark)


def _pencil(cover: Array, distance: Array) -> Array:
    """Coverage of a pencil drawing: the outline and a light hatching, nothing else."""
    line = np.clip(np.float32(1.4) - np.abs(distance) / PENCIL_WIDTH, 0, 1)
    hatch = np.sin((COLUMNS + ROWS) * np.float32(1.3)) > 0.2
    return np.maximum(line, cover * np.where(hatch, np.float32(0.55), np.float32(0.1)))


def _light(n: int, rng: np.random.Generator) -> Array:
    """Brightness (N, 64, 64) that falls off to one side."""
    slope = draw(rng, n, -0.12, 0.12, 2, 1, 1)
    middle = SIDE / 2
    return 1 + (slope[:, 0] * (COLUMNS - middle) + slope[:, 1] * (ROWS - middle)) / np.float32(middle)


def compose(colour: Array, texture: Array, shape: Array, style: Array, rng: np.random.Generator) -> Array:
    """Draw one object per picture; arguments are (N,) indices into the vocabulary."""
    n = len(style)
    pose = Pose.random(style, rng)
    x, y = pose.local()  # (N, 64, 64)
    shift_x, shift_y = draw(rng, n, 0, 1, 2, 1, 1).swapaxes(0, 1)
    distance = _grouped(OUTLINES, shape, x, y) * pose.radius[:, None, None]  # pixels
    cover = np.clip(np.float32(0.5) - distance, 0, 1)
    pictures = _background(n, rng)

    sketch = style == STYLES.index("sketch")
    cover[sketch] = _pencil(cover[sketch], distance[sketch])
    pictures[sketch] = np.float32(0.92) + pictures[sketch] * np.float32(0.05)  # paper

    pattern = _grouped(PATTERNS, texture, x + shift_x, y + shift_y)[..., None]
    main, second = (ink[:, None, None] for ink in _inks(colour, rng))
    pictures += cover[..., None] * (main + pattern * (second - main) - pictures)
    return pictures * _light(n, rng)[..., None]
