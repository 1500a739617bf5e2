"""A place to meet hostile files in: data, a folder outside of it that nothing may touch, and what tells if one did."""

import os
from pathlib import Path

from tests.hostile.corpus import CANARY, OUTSIDE
from tests.hostile.images import JPEG

CLASSES = ("ant", "bee")


class Box:
    """Folders below `home`, which holds whatever the readers make.

    Attributes:
        root: data root of the set `ToySet`, with two classes of four images, a pipe and two links out.
        own: data root of own images, the same two classes.
        outside: a folder with a picture that no file may reach.
    """

    def __init__(self, home: Path):
        self.home, self.root, self.own, self.outside = home, home / "data", home / "own", home / OUTSIDE
        self.images = self.root / "toy/images"
        self.outside.mkdir()
        (self.outside / "secret.jpg").write_bytes(JPEG)
        for folder in (self.images, self.own):
            for name in CLASSES:
                (folder / name).mkdir(parents=True)
                for number in range(4):
                    (folder / name / f"{number:03d}.jpg").write_bytes(JPEG)
        self._add_traps(self.images)
        (home / "here").mkdir()
        os.chdir(home / "here")

    def add_traps(self) -> None:
        """Put the pipe and the links into the own images too."""
        self._add_traps(self.own)

    def _add_traps(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe.jpg")
        (folder / "link.jpg").symlink_to(self.outside / "secret.jpg")
        (folder / "linked").symlink_to(self.outside)

    def was_executed(self) -> bool:
        """Whether something in a file has run."""
        return any(self.home.rglob(CANARY))

    def check_untouched(self) -> None:
        """Fail if something left its folder."""
        assert not os.listdir(self.home / "here"), "something was written to the working folder"
        assert {path.name: path.read_bytes() for path in self.outside.rglob("*")} == {"secret.jpg": JPEG}
