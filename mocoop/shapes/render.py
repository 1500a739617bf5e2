"""From indices to pixels: compose the scene, apply the camera's tint, then the style."""

import numpy as np

from mocoop.shapes.effects import EFFECTS, tinted
from mocoop.shapes.scene import SIDE, compose
from mocoop.shapes.vocabulary import STYLES

CHUNK = 64  # pictures drawn at once: what fits a core's cache


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
