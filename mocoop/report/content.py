"""What a report consists of: sections of blocks. How they become HTML is the business of the template."""

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from matplotlib.figure import Figure

from mocoop.errors import MocoopError
from mocoop.results.figures.style import write_figure
from mocoop.results.tables import Table

MEDIA = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Text:
    """Paragraphs; with `items`, a list below them."""

    text: str
    items: list[str] = field(default_factory=list)
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class TableBlock:
    """A table; `about` says what it shows."""

    table: Table
    about: str
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class FigureBlock:
    """A figure; `about` says what it shows, and stands in for it where it cannot be seen. media: svg, or png."""

    title: str
    about: str
    figure: Figure
    media: str = "svg"
    kind: ClassVar[str] = "figure"

    @property
    def uri(self) -> str:
        file = io.BytesIO()
        write_figure(self.figure, file, self.media)
        return f"data:{MEDIA[self.media]};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"

    @property
    def width(self) -> int:
        """CSS pixels at its printed size."""
        return round(96 * self.figure.get_figwidth())


@dataclass(frozen=True)
class Listing:
    """Literal text, such as a config."""

    text: str
    kind: ClassVar[str] = "listing"


@dataclass(frozen=True)
class Folded:
    """Blocks that are out of sight until they are asked for."""

    title: str
    blocks: list["Block"]
    kind: ClassVar[str] = "folded"


Block = Text | TableBlock | FigureBlock | Listing | Folded


@dataclass(frozen=True)
class Section:
    """key: its anchor in the page, of letters, digits and hyphens. about: what it is, for a newcomer."""

    key: str
    title: str
    about: str
    blocks: list[Block]


def figure_block(title: str, about: str, draw: Callable[[], Figure], media: str = "svg") -> FigureBlock | Text:
    """The figure that `draw()` gives, or a line that says why there is none."""
    try:
        return FigureBlock(title, about, draw(), media)
    except MocoopError as error:
        return Text(f"{title} is not shown: {error}.")


def figures_in(blocks: list[Block]) -> Iterator[FigureBlock]:
    """Every figure of the blocks, folded ones too."""
    for block in blocks:
        if isinstance(block, FigureBlock):
            yield block
        elif isinstance(block, Folded):
            yield from figures_in(block.blocks)


def fold_all_but_first(titled: Iterable[tuple[str, Block]]) -> list[Block]:
    """The first block in full, the others folded under their titles."""
    return [block if place == 0 else Folded(title, [block]) for place, (title, block) in enumerate(titled)]
