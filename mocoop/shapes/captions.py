"""The picture-caption pairs the tiny CLIPs are pre-trained on, and nothing the Shapes sets are judged on.

Pictures show only the combinations of `classes.PRETRAINING`, in every style but painting, through a neutral camera.
"""

import numpy as np

from mocoop.shapes.render import render
from mocoop.shapes.vocabulary import COLOURS, PRETRAINING, SHAPES, STYLES, TEMPLATES, TEXTURES

PRETRAINING_STYLES = tuple(style for style in STYLES if style != "painting")
STYLE_SHARES = np.array([0.28 if style == "photo" else 0.08 for style in PRETRAINING_STYLES])  # adds up to 1

NEUTRAL_TEMPLATES = (
    "a {}.", "the {}.", "an image of a {}.", "this is a {}.", "a {} before a wall.", "there is one {} in this image.",
)  # fmt: skip
NAMES_STYLE = 0.6
DROPS_WORD = 0.08
GENERIC_SHAPES = ("object", "shape", "thing")


def _pick(options: tuple[str, ...], number: float) -> str:
    return options[int(number * len(options))]


def caption(colour: int, texture: int, shape: int, style: str, rng: np.random.Generator) -> str:
    """Say what is seen: the style in 6 of 10 captions, now and then without colour, texture or the shape's name."""
    template, which, drop_colour, drop_texture, drop_shape, generic = rng.random(6)
    templates = TEMPLATES[style] if template < NAMES_STYLE else NEUTRAL_TEMPLATES
    words = [
        "" if drop_colour < DROPS_WORD else COLOURS[colour],
        "" if drop_texture < DROPS_WORD else TEXTURES[texture],
        _pick(GENERIC_SHAPES, generic) if drop_shape < DROPS_WORD / 2 else SHAPES[shape],
    ]
    return _pick(templates, which).format(" ".join(filter(None, words)))


def draw_pairs(count: int, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Random pre-training pairs: pictures (count, 64, 64, 3) uint8 and their captions."""
    combinations = np.array(PRETRAINING)[rng.integers(len(PRETRAINING), size=count)]
    styles = rng.choice(len(PRETRAINING_STYLES), size=count, p=STYLE_SHARES)
    captions = [
        caption(colour, texture, shape, PRETRAINING_STYLES[style], rng)
        for (colour, texture, shape), style in zip(combinations, styles, strict=True)
    ]
    codes = np.array([STYLES.index(style) for style in PRETRAINING_STYLES])[styles]
    colours, textures, shapes = combinations.T
    return render(colours, textures, shapes, codes, rng), captions


def every_caption() -> list[str]:
    """Captions in which each word that pre-training can use occurs."""
    templates = [t for style in PRETRAINING_STYLES for t in TEMPLATES[style]] + list(NEUTRAL_TEMPLATES)
    words = [*COLOURS, *TEXTURES, *SHAPES, *GENERIC_SHAPES]
    return [template.format(word) for template in templates for word in words]
