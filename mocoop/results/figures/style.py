"""How every figure looks: fonts, colours, markers, and how it is saved.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; a marker or a number says the same thing
again, so that a grey print loses nothing. No text is smaller than SMALL points at the printed size.

matplotlib lists the installed fonts once and keeps the list in a file: fonts that are installed later are not seen
until that file is deleted, which is logged where a letter is missing.
"""

import itertools
import logging
import math
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from mocoop.files import atomic_write
from mocoop.registry import listed
from mocoop.results.stats import rank

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

COLOURS = ["#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999"]
MARKERS = ["o", "P", "s", "^", "D", "v", "X", "p", "<", "*", "h", ">", "d", "8"]
# matplotlib takes a letter that the first font lacks from the next one that is installed and has it
FONTS = [
    *("DejaVu Sans", "Noto Sans CJK JP", "Source Han Sans", "Hiragino Sans", "PingFang SC", "WenQuanYi Zen Hei"),
    *("Noto Sans", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Bengali", "Arial Unicode MS"),
]
_INSTALLED = {font.name for font in fontManager.ttflist}
STYLE: "dict[RcKeyType, Any]" = {
    "font.family": [name for name in FONTS if name in _INSTALLED],  # it looks for each of them at each word
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "errorbar.capsize": 2,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "mocoop",
    "pdf.fonttype": 42,  # TrueType; journals refuse type 3
    "text.parse_math": False,
}
PAGE_WIDTH = 7.0  # inches
DPI = 200
SMALL = 6.5  # points
WRAP = 18  # characters of a label's line

_LOGGED: set[str] = set()  # letters that no font has
logger = logging.getLogger(__name__)
logging.getLogger("fontTools").setLevel(logging.WARNING)  # or every step of embedding a font in a PDF is logged
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # or every font that is not installed

styled = matplotlib.rc_context(STYLE)
styled_without_grid = matplotlib.rc_context(STYLE | {"axes.grid": False})


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes the figure atomically, in the format that the suffix of `path` names (png, pdf, svg).

    The same figure gives the same bytes: no date is written.
    """
    with atomic_write(path, "wb") as file:
        write_figure(figure, file, str(path).rpartition(".")[2])


@styled
def write_figure(figure: Figure, file: IO[bytes], suffix: str) -> None:
    """Writes the figure into an open binary file, as png, pdf or svg."""
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix, {})
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(file, format=suffix, dpi=DPI, bbox_inches="tight", metadata=undated)
    missing = {chr(int(found[1])) for warning in caught if (found := re.match(r"Glyph (\d+)", str(warning.message)))}
    if missing - _LOGGED:
        logger.warning(
            "no font has %s: drawn as boxes. Install one of %s; to have it seen, delete %s/fontlist-*.json",
            " ".join(sorted(missing - _LOGGED)[:10]),
            ", ".join(FONTS[1:]),
            matplotlib.get_cachedir(),
        )
        _LOGGED.update(missing)


def entry_looks(entries: Iterable[tuple]) -> dict[tuple, dict]:
    """Colour and marker of each entry, a tuple that begins with a method's name.

    A known method keeps its own in every figure; its further configurations, and other methods, get those left over,
    colours that no other entry has before all.
    """
    entries = list(entries)
    fixed = {method: number for number, method in enumerate(listed())}
    first = {entry[0]: entry for entry in reversed(entries)}
    numbers = {entry: fixed[method] for method, entry in first.items() if method in fixed}
    taken, size = set(numbers.values()), len(COLOURS)
    unused = [number for number in range(size) if number not in {other % size for other in taken}]
    spare = itertools.chain(unused, (number for number in itertools.count(size) if number not in taken))
    numbers |= {entry: next(spare) for entry in entries if entry not in numbers}
    return {
        entry: {
            "color": COLOURS[numbers[entry] % len(COLOURS)],
            "marker": MARKERS[numbers[entry] % len(MARKERS)],
            "markersize": 5,
        }
        for entry in entries
    }


def accuracy_label(stds: ArrayLike) -> str:
    """The name of an axis of accuracies with these deviations, which single seeds do not have."""
    return "accuracy (%), mean ± std over seeds" if np.isfinite(stds).any() else "accuracy (%), single seeds"


def in_method_order(curves: Iterable[tuple]) -> list[tuple]:
    """Tuples that begin with a method's name, known methods first and in the order of the papers' tables."""
    return sorted(set(curves), key=rank)


def panel_grid(count: int, height: float, most: int = 4, **options: Any) -> tuple[Figure, list[Axes]]:
    """A page-wide figure and the axes of `count` panels, at most `most` in a row, rows `height` inches high."""
    rows = math.ceil(count / most)
    columns = math.ceil(count / rows)
    figure = Figure(figsize=(PAGE_WIDTH, height * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for spare in axes[count:]:
        spare.remove()
    return figure, list(axes[:count])


def legend_above(figure: Figure, looks: dict, names: Iterable[str], **shared: Any) -> None:
    """One legend above all panels, for a figure of constrained layout."""
    handles = [Line2D([], [], **(shared | look)) for look in looks.values()]
    names = list(names)
    figure.legend(handles, names, loc="outside upper center", ncols=legend_columns(names))


def curve_names(curves: Iterable[tuple[str, str]]) -> list[str]:
    """A name for each (method, cfg): the method, with its cfg where it has several."""
    curves = list(curves)
    methods = [method for method, _ in curves]
    return [literal(method if methods.count(method) == 1 else f"{method} {cfg}") for method, cfg in curves]


def legend_columns(names: list[str]) -> int:
    """As many columns as fit into the page's width."""
    widest = max(map(len, names), default=1)
    return max(1, min(len(names), int(95 / (widest + 6))))


def wrapped(text: str, width: int = WRAP, lines: int = 2) -> str:
    """A label of a few short lines, broken at spaces, underscores, hyphens and slashes, and cut with an ellipsis."""
    rows = [""]
    for piece in re.findall(r"\s+|[^\s_/-]*[_/-]|[^\s_/-]+", text):
        if rows[-1] and len(rows[-1] + piece.rstrip()) > width:
            rows.append("")
        rows[-1] = (rows[-1] + piece).lstrip()
    rows = rows[: lines - 1] + ["".join(rows[lines - 1 :])] if len(rows) > lines else rows
    return "\n".join(literal(shortened(row.strip(), width)) for row in rows)


def shortened(text: str, width: int) -> str:
    """At most `width` characters, the last of them an ellipsis where something was cut."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def squeezed(text: str, width: int) -> str:
    """At most `width` characters, both ends kept: names of one family often differ in their last word."""
    kept = (width - 1) * 2 // 3
    return text if len(text) <= width else f"{text[:kept].rstrip()}…{text[kept + 1 - width :].lstrip()}"


def literal(text: str) -> str:
    """The text as it stands, in one line: what cannot be printed is a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
