"""Where style and class interact: objects whose colour is one class's and whose shape is another's.

No two of the classes, "red plain circle", "orange plain square", ..., share a colour or a shape. Where the two of an
object point to different classes, the picture's style says which one counts. The same object is of one class in a
photo and of another in a noisy picture, so that no one prompt can be right for both.
"""

import numpy as np

from mocoop.shapes.vocabulary import STYLES

COLOUR, SHAPE = 0, 2  # columns of an object (colour, texture, shape)
COUNTS = {"photo": COLOUR, "blurry": COLOUR, "pixelated": SHAPE, "noisy": SHAPE}
STRENGTHS = (0, 25, 50, 75, 100)  # percent of the pictures in which colour and shape disagree


def shown_objects(
    classes: np.ndarray, labels: np.ndarray, styles: np.ndarray, strength: int, rng: np.random.Generator
) -> np.ndarray:
    """Objects (N, 3) for pictures of the classes `labels` (N,) in `styles` (N,), indices into STYLES.

    In `strength` percent of them, what does not count is that of another class, all of which are equally likely.
    """
    objects = classes[labels].copy()
    others = classes[(labels + rng.integers(1, len(classes), len(labels))) % len(classes)]
    misled = rng.random(len(labels)) < strength / 100
    for style, counts in COUNTS.items():
        rows = misled & (styles == STYLES.index(style))
        column = SHAPE if counts == COLOUR else COLOUR
        objects[rows, column] = others[rows, column]
    return objects
