"""Version of the pictures: raised whenever the same seed would give other ones, the renderer's or the sets'."""

DATA_VERSION = 1
