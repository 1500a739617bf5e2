"""Predictions as text, piece by piece as they come: csv, json, or a table to be read."""

import csv
import io
import json
from collections.abc import Iterable, Iterator

from mocoop.names import SEPARATOR
from mocoop.runs.prediction import Prediction


def csv_text(predictions: Iterable[Prediction]) -> Iterator[str]:
    """One row for each class reported of an image: path, rank (from 1), class, probability, experts, gates.

    The last two columns are empty for a method without experts.
    """
    yield _csv_row("path", "rank", "class", "probability", "experts", "gates")
    for prediction in predictions:
        names = SEPARATOR.join(name for name, _ in prediction.experts)
        gates = SEPARATOR.join(f"{weight:.6f}" for _, weight in prediction.experts)
        for rank, (name, probability) in enumerate(prediction.classes, start=1):
            yield _csv_row(prediction.path, rank, name, f"{probability:.6f}", names, gates)


def json_text(predictions: Iterable[Prediction]) -> Iterator[str]:
    """A list with one object per line."""
    opening = "[\n"
    for prediction in predictions:
        classes = [{"class": name, "probability": round(value, 6)} for name, value in prediction.classes]
        experts = [{"expert": name, "weight": round(value, 6)} for name, value in prediction.experts]
        entry = {"path": prediction.path, "classes": classes} | ({"experts": experts} if experts else {})
        yield opening + json.dumps(entry)
        opening = ",\n"
    yield "[]\n" if opening == "[\n" else "\n]\n"


def table_text(predictions: Iterable[Prediction]) -> Iterator[str]:
    """A paragraph per image, for reading."""
    for prediction in predictions:
        lines = [prediction.path]
        lines += [f"  {100 * probability:5.1f} %  {name}" for name, probability in prediction.classes]
        if prediction.experts:
            lines.append("  experts: " + ", ".join(f"{name} {weight:.2f}" for name, weight in prediction.experts))
        yield "\n".join(lines) + "\n"


def _csv_row(*values: object) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow(values)
    return row.getvalue()


FORMATS = {"csv": csv_text, "json": json_text, "table": table_text}
