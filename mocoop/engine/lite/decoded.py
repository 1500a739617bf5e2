"""Pictures of a few-shot training set, kept as decoded: epochs after the first only crop and flip them."""

import mmap
import multiprocessing

import numpy as np
from PIL import Image

EMPTY, TAKEN, READY = 0, 1, 2
START, WIDTH, HEIGHT, STATE = range(4)


class DecodedImages:
    """RGB pictures by number, as many as fit into `limit` bytes, in memory that processes forked later share.

    Whoever decodes a picture first keeps it for all. Memory is taken as pictures come; a picture that no longer fits is
    not kept. Raises OSError if the system cannot promise so much memory.
    """

    def __init__(self, count: int, limit: int):
        self._limit = limit
        self._pixels = mmap.mmap(-1, limit)
        # a row for each picture; in the last one START is where the next picture goes
        self._table = np.frombuffer(mmap.mmap(-1, (count + 1) * 4 * 8), np.int64).reshape(-1, 4)
        self._lock = multiprocessing.Lock()  # also orders what one process writes before what another reads

    @property
    def used(self) -> int:
        """Bytes taken by pictures."""
        return int(self._table[-1, START])

    def get(self, number: int) -> Image.Image | None:
        """A copy of the picture; None if it is not kept."""
        with self._lock:
            start, width, height, state = self._table[number].tolist()
        if state != READY:
            return None
        with memoryview(self._pixels)[start : start + 3 * width * height] as pixels:
            return Image.frombytes("RGB", (width, height), pixels)

    def keep(self, number: int, image: Image.Image) -> None:
        """Keep a picture in mode RGB, if there is room for it and no other process has begun to."""
        size = 3 * image.width * image.height
        with self._lock:
            start = self.used
            if self._table[number, STATE] != EMPTY or start + size > self._limit:
                return
            self._table[-1, START] = start + size
            self._table[number] = start, image.width, image.height, TAKEN
        self._pixels[start : start + size] = image.tobytes()
        with self._lock:
            self._table[number, STATE] = READY
