"""From indices to pixels: compose the scene, apply the camera's tint, then the style.

Each effect takes pictures (N, 64, 64, 3) in 0..1 and a random generator, and returns pictures of that shape. "small",
"cropped" and "sketch" are not among them: they change how the scene is drawn (`scene.py`).
"""

from collections.abc import Callable

import numpy as np

from mocoop.shapes.scene import SIDE, compose
from mocoop.shapes.vocabulary import STYLES

Array = np.ndarray
Effect = Callable[[Array, np.random.Generator], Array]
CHUNK = 64  # pictures drawn at once: what fits a core's cache


def _per_picture(rng: np.random.Generator, count: int, low: float, high: float) -> Array:
    return rng.uniform(low, high, (count, 1, 1, 1)).astype(np.float32)


def blurry(pictures: Array, rng: np.random.Generator) -> Array:
    from scipy import ndimage  # slow to import, and needed where pictures are drawn alone

    return ndimage.gaussian_filter(pictures, (0, 2.2, 2.2, 0), mode="nearest", truncate=2.5)


def dark(pictures: Array, rng: np.random.Generator) -> Array:
    return pictures * _per_picture(rng, len(pictures), 0.20, 0.32)


def pixelated(pictures: Array, rng: np.random.Generator, block: int = 4) -> Array:
    n, height, width, _ = pictures.shape
    means = pictures.reshape(n, height // block, block, width // block, block, 3).mean((2, 4))
    return means.repeat(block, 1).repeat(block, 2)


def negative(pictures: Array, rng: np.random.Generator) -> Array:
    return 1 - pictures


def noisy(pictures: Array, rng: np.random.Generator) -> Array:
    grain = rng.standard_normal(pictures.shape, np.float32)
    return pictures + grain * _per_picture(rng, len(pictures), 0.14, 0.20)


def faded(pictures: Array, rng: np.random.Generator) -> Array:
    contrast = _per_picture(rng, len(pictures), 0.28, 0.40)
    return pictures * contrast + (1 - contrast) * np.float32(0.95)


def painting(pictures: Array, rng: np.random.Generator) -> Array:
    """Flat strokes (Kuwahara's filter: each pixel takes the mean of its calmest quadrant) on a woven canvas."""
    from scipy import ndimage

    means, variances = [], []
    for origin in ((0, dy, dx, 0) for dy in (-2, 2) for dx in (-2, 2)):
        mean, mean_square = (
            ndimage.uniform_filter(values, (0, 5, 5, 0), mode="nearest", origin=origin)
            for values in (pictures, pictures**2)
        )
        means.append(mean)
        variances.append((mean_square - mean**2).sum(-1, keepdims=True))
    calmest = np.argmin(variances, 0, keepdims=True)
    strokes = np.take_along_axis(np.stack(means), calmest, 0)[0]
    rows = np.arange(pictures.shape[1])
    weave = ((rows[:, None] + rows) % 4 < 2).astype(np.float32)[..., None] * np.float32(0.06)
    return np.round(strokes * 9) / 9 - weave


EFFECTS: dict[str, Effect] = {
    effect.__name__: effect for effect in (blurry, dark, pixelated, negative, noisy, faded, painting)
}

TINTS = {"warm": (1.0, 0.95, 0.85), "cool": (0.85, 0.95, 1.0)}  # gain of red, green and blue


def tinted(pictures: Array, tint: str) -> Array:
    """Pictures as a camera with this tint would take them."""
    return pictures * np.array(TINTS[tint], np.float32)


def render(
    colour: np.ndarray,
    texture: np.ndarray,
    shape: np.ndarray,
    style: np.ndarray,
    rng: np.random.Generator,
    tint: str | None = None,
) -> np.ndarray:
    """Render N pictures.

    The first four are (N,) integer indices into `COLOURS`, `TEXTURES`, `SHAPES` and `STYLES`; `tint` is a key of
    `effects.TINTS` or None for a neutral camera. Returns (N, 64, 64, 3) uint8. The same indices and generator state
    give the same pictures.
    """
    out = np.empty((len(style), SIDE, SIDE, 3), np.uint8)
    for start in range(0, len(style), CHUNK):
        part = slice(start, start + CHUNK)
        pictures = compose(colour[part], texture[part], shape[part], style[part], rng)
        if tint is not None:
            pictures = tinted(pictures, tint)
        for index in np.unique(style[part]):
            effect = EFFECTS.get(STYLES[index])
            if effect is not None:
                chosen = style[part] == index
                pictures[chosen] = effect(pictures[chosen].clip(0, 1), rng)
        out[part] = np.rint(pictures.clip(0, 1) * 255)
    return out
