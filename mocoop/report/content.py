"""What a report is made of: the runs that it is about, and sections of blocks, which the template makes HTML of."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pandas as pd
from matplotlib.figure import Figure

from mocoop.errors import DataError, MocoopError
from mocoop.protocol import ALIASES, PROTOCOLS, TRANSFER
from mocoop.results.agreement import apart
from mocoop.results.figures.style import write_figure
from mocoop.results.render import Table
from mocoop.results.runs import IDENTITY, LAYOUT, collect, join, place_strays, runs_of, without_other_models


@dataclass(frozen=True)
class ProtocolRuns:
    """The runs of one protocol, gaps among them.

    what: what sets them apart from other runs of the protocol, which are another part; "" if there are none. main: one
    configuration of each method. variants: the runs of methods with further configurations, on the datasets
    these were run on; may be empty. notes: what a reader of the tables has to know. seeds: those that are expected.
    """

    protocol: str
    main: pd.DataFrame
    variants: pd.DataFrame
    notes: list[str]
    seeds: list[int]
    what: str = ""

    @property
    def title(self) -> str:
        title = PROTOCOLS[self.protocol].title
        return f"{title}, {self.what}" if self.what else title


@dataclass(frozen=True)
class Runs:
    """What was found below `output`. problems: one line for each run that is left out."""

    output: Path
    frame: pd.DataFrame
    protocols: list[ProtocolRuns]
    problems: list[str]

    @property
    def finished(self) -> pd.DataFrame:
        return self.frame[self.frame["accuracy"].notna()]


def find_runs(output: Path, protocol: str | None = None, seeds: list[int] | None = None) -> Runs:
    """The runs below `output` of one protocol, or of all. Raises DataError if none has finished."""
    found = collect(output)
    problems = list(found.problems)
    frame, strays = place_strays(found.with_gaps())
    if seeds is not None:
        frame = frame[frame["seed"].isin(seeds)]
    asked = [ALIASES.get(protocol, protocol)] if protocol else list(PROTOCOLS)
    parts = {}
    for name in asked:
        parts[name], others = without_other_models(runs_of(frame, name), name)
        problems += others
    parts = {name: runs for name, runs in parts.items() if runs["accuracy"].notna().any() and _is_tested(runs, name)}
    if not parts:
        wanted = f" of protocol {asked[0]}" if protocol else ""
        raise DataError(f"{output}: no finished run{wanted} in {LAYOUT}; make one by mocoop run, or name another")
    used = pd.concat(parts.values()).drop_duplicates(IDENTITY)
    relative = [problem.replace(f"{output}/", "") for problem in problems]
    alike = [(name, what, part) for name, runs in parts.items() for what, part in apart(runs)]
    split = [_split(part, name, seeds, what) for name, what, part in alike if _is_tested(part, name)]
    split[0].notes.extend(line.replace(f"{output}/", "") for line in strays)
    return Runs(output, used, split, relative)


def _is_tested(runs: pd.DataFrame, protocol: str) -> bool:
    """Whether there is more than the training that protocols share."""
    return PROTOCOLS[protocol].measure != TRANSFER or (runs["phase"] == "test").any()


def _split(runs: pd.DataFrame, protocol: str, seeds: list[int] | None, what: str) -> ProtocolRuns:
    """Main runs are those of the configuration of each method that covers most datasets."""
    runs, notes = join(runs, protocol)
    covered = runs.groupby(["method", "cfg"])["dataset"].nunique()
    further = covered[covered < covered.groupby("method").transform("max")].index
    is_further = pd.MultiIndex.from_frame(runs[["method", "cfg"]]).isin(further)
    places = runs.loc[is_further, ["method", "dataset"]].drop_duplicates()
    variants = runs.merge(places, on=["method", "dataset"]) if len(places) else runs.iloc[:0]
    seeds = sorted(int(seed) for seed in runs["seed"].unique()) if seeds is None else seeds
    return ProtocolRuns(protocol, runs[~is_further], variants, notes, seeds, what)


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


def folded_figures(about: str, drawn: Mapping[str, Callable[[], Figure]]) -> list[Block]:
    """A `figure_block` for each title, of which all but the first are folded."""
    return fold_all_but_first({title: figure_block(title, about, draw) for title, draw in drawn.items()})


def fold_all_but_first(blocks: Mapping[str, Block]) -> list[Block]:
    """The first block in full, the others folded under their titles."""
    return [block if place == 0 else Folded(title, [block]) for place, (title, block) in enumerate(blocks.items())]
