"""A table: rows of labels and cells, and how it is printed as markdown, csv or LaTeX."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class Cell:
    """A mean in percent with its spread over seeds; NaN for what is not there.

    spread: None for a number that has none, such as one from a paper. rank: 1 best, 2 second, else 0. signed: the
    number is a difference.
    """

    mean: float
    spread: float | None = float("nan")
    rank: int = 0
    signed: bool = False


@dataclass(frozen=True)
class Table:
    """rows: a list of labels (str) and Cells for each; a row of None separates blocks. spread: which one cells have."""

    title: str
    columns: list[str]
    rows: Sequence[list | None]
    notes: list[str] = field(default_factory=list)
    spread: str = "std"

    @property
    def has_second(self) -> bool:
        """Whether a cell is marked as the second best."""
        return any(isinstance(item, Cell) and item.rank == 2 for row in filter(None, self.rows) for item in row)


NONE = Cell(float("nan"))
GAP = "–"
NARROWEST = 3  # characters that the rule below a column's name needs
_LATEX_SPECIAL = {character: f"\\{character}" for character in "&%_#${}"} | {
    "[": "{[}",  # after the \\ of the row above it would be that command's argument
    "]": "{]}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "Δ": r"$\Delta$",
    "†": r"\dag{}",
}
_SHRINK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def in_blocks(blocks: Iterable[list[list]]) -> list[list | None]:
    """The rows of a table from those of its blocks, of which empty ones are left out."""
    return [row for block in filter(None, blocks) for row in (None, *block)][1:]


def to_markdown(table: Table) -> str:
    """Columns are padded, so that the source reads as a table too."""
    rows = [[_markdown_cell(item) for item in row] for row in table.rows if row is not None]
    widths = [max(NARROWEST, *map(len, column)) for column in zip(table.columns, *rows)]
    numeric = _numeric_columns(table)
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric)]
    lines = [_markdown_line(row, widths, numeric) for row in [table.columns, rule, *rows]]
    return "\n".join([f"### {table.title}", "", *lines, "", *(f"{note}  " for note in table.notes)]).rstrip() + "\n"


def to_csv(table: Table) -> str:
    """Full precision; a column whose cells have a spread is followed by one of it. A gap is an empty field."""
    columns = []
    for name, *items in zip(table.columns, *filter(None, table.rows)):
        values = [float(item.mean) if isinstance(item, Cell) else str(item) for item in items]
        spreads = [item.spread if isinstance(item, Cell) else None for item in items]
        columns.append(pd.Series(values, name=name))
        if any(spread is not None for spread in spreads):
            columns.append(pd.Series(spreads, name=f"{name} {table.spread}", dtype=float))
    return pd.concat(columns, axis=1).to_csv(index=False, lineterminator="\n")


def to_latex(table: Table) -> str:
    r"""A `tabular` for booktabs, shrunk to the line if it is wider: best in bold, second underlined."""
    layout = "".join("r" if right else "l" for right in _numeric_columns(table))
    head = _latex_line(map(_escape, table.columns))
    lines = [_SHRINK, rf"\begin{{tabular}}{{{layout}}}", r"\toprule", head, r"\midrule"]
    lines += [r"\midrule" if row is None else _latex_line(map(_latex_cell, row)) for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    second = ["The second best is underlined."] * table.has_second
    notes = [*table.notes, *second, "Needs the packages booktabs and graphicx."]
    return "\n".join(["% " + table.title, *lines, *(f"% {note}" for note in notes)]) + "\n"


FORMATS = {"markdown": to_markdown, "csv": to_csv, "latex": to_latex}


def cell_text(cell: Cell) -> str:
    """The cell as people read it: two decimals, its spread where there is one, and a dash for what is not there."""
    if math.isnan(cell.mean):
        return GAP
    mean = round(round(cell.mean, 9), 2) + 0.0  # one number is rounded alike however it was summed; no negative zero
    text = f"{mean:+.2f}".replace("-", "−") if cell.signed else f"{mean:.2f}"
    return text if cell.spread is None or math.isnan(cell.spread) else f"{text} ± {cell.spread:.2f}"


def _markdown_cell(item: object) -> str:
    if not isinstance(item, Cell):
        return str(item).replace("|", r"\|")
    return f"**{cell_text(item)}**" if item.rank == 1 else cell_text(item)


def _markdown_line(row: list[str], widths: list[int], numeric: list[bool]) -> str:
    padded = [item.rjust(width) if right else item.ljust(width) for item, width, right in zip(row, widths, numeric)]
    return f"| {' | '.join(padded)} |"


def _latex_cell(item: object) -> str:
    if not isinstance(item, Cell):
        return _escape(str(item))
    marks = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
    return marks.get(item.rank, "%s") % _escape(cell_text(item))


def _latex_line(fields: Iterable[str]) -> str:
    return " & ".join(fields) + r" \\"


def _escape(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)


def _numeric_columns(table: Table) -> list[bool]:
    first = next(filter(None, table.rows))
    return [isinstance(item, Cell) for item in first]
