"""A table as markdown, csv or LaTeX."""

import csv
import io
import math
from itertools import chain

from mocoop.results.tables import Cell, Table

GAP = "–"
NARROWEST = 3  # characters that the rule below a column's name needs
_LATEX_SPECIAL = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$", "–": "--", "Δ": r"$\Delta$"}


def to_markdown(table: Table) -> str:
    """Columns are padded, so that the source reads as a table too."""
    rows = [[_markdown_cell(item) for item in row] for row in table.rows if row is not None]
    widths = [max(NARROWEST, *map(len, column)) for column in zip(table.columns, *rows)]
    numeric = _numeric_columns(table)
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric)]
    lines = [_markdown_line(row, widths, numeric) for row in [table.columns, rule, *rows]]
    return "\n".join([f"### {table.title}", "", *lines, "", *(f"{note}  " for note in table.notes)]).rstrip() + "\n"


def to_csv(table: Table) -> str:
    """Full precision; each numeric column is followed by its deviation. A gap is an empty field."""
    numeric = _numeric_columns(table)
    heads = [[name, f"{name} std"] if right else [name] for name, right in zip(table.columns, numeric)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(chain.from_iterable(heads))
    for row in filter(None, table.rows):
        fields = [[_number(item.mean), _number(item.std)] if isinstance(item, Cell) else [item] for item in row]
        writer.writerow(chain.from_iterable(fields))
    return out.getvalue()


def to_latex(table: Table) -> str:
    r"""A `tabular` for booktabs: best in bold, second underlined."""
    layout = "".join("r" if right else "l" for right in _numeric_columns(table))
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", _latex_line(map(_escape, table.columns)), r"\midrule"]
    lines += [r"\midrule" if row is None else _latex_line(map(_latex_cell, row)) for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(["% " + table.title, *lines, *(f"% {note}" for note in table.notes)]) + "\n"


FORMATS = {"markdown": to_markdown, "csv": to_csv, "latex": to_latex}


def _text(cell: Cell) -> str:
    if math.isnan(cell.mean):
        return GAP
    return f"{cell.mean:.2f}" if math.isnan(cell.std) else f"{cell.mean:.2f} ± {cell.std:.2f}"


def _markdown_cell(item) -> str:
    if not isinstance(item, Cell):
        return str(item)
    return f"**{_text(item)}**" if item.rank == 1 else _text(item)


def _markdown_line(row, widths, numeric) -> str:
    padded = [item.rjust(width) if right else item.ljust(width) for item, width, right in zip(row, widths, numeric)]
    return f"| {' | '.join(padded)} |"


def _latex_cell(item) -> str:
    if not isinstance(item, Cell):
        return _escape(str(item))
    marks = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
    return marks.get(item.rank, "%s") % _escape(_text(item))


def _latex_line(fields) -> str:
    return " & ".join(fields) + r" \\"


def _escape(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)


def _numeric_columns(table: Table) -> list[bool]:
    first = next(filter(None, table.rows))
    return [isinstance(item, Cell) for item in first]


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))
