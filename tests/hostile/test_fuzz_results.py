"""Spoiled records of runs and the tables beside them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mocoop.results.csv_files import read_history, read_predictions
from mocoop.results.record import read_record
from mocoop.results.runs import collect
from tests.hostile.fuzz import FUZZ, odd_text, spoiled, spoiled_json, value_or_refusal
from tests.hostile.results import HISTORY, PREDICTIONS
from tests.results.runs import make_record

ROUTING = {
    "groups": ["a", "b"],
    "top_k": 1,
    "chosen": [40.0, 60.0],
    "chosen_by_domain": {"photo": [40.0, 60.0]},
    "domain_in_top_k": 50.0,
    "gate_entropy": 0.1,
}
RECORD = make_record(routing=ROUTING)


def check_record(folder, content: bytes) -> None:
    path = folder / "result.json"
    path.write_bytes(content)
    record = value_or_refusal("record", read_record, path)
    found = collect(folder)
    done = record is not None and record["status"] == "done"
    assert len(found.frame) == done and len(found.problems) == (not done)


@FUZZ
@given(record=spoiled_json(RECORD))
def test_values_of_records(folder, record):
    check_record(folder, json.dumps(record).encode())


@FUZZ
@given(content=spoiled(json.dumps(RECORD).encode()))
def test_bytes_of_records(folder, content):
    check_record(folder, content)


@FUZZ
@given(content=spoiled(HISTORY.encode() * 2))
def test_histories(folder, content):
    path = folder / "history.csv"
    path.write_bytes(content)
    frame = value_or_refusal("history", read_history, path)
    assert frame is None or frame["step"].dtype.kind == "i"


@FUZZ
@given(content=spoiled(PREDICTIONS.encode()))
def test_predictions(folder, content):
    path = folder / "predictions.csv"
    path.write_bytes(content)
    frame = value_or_refusal("predictions", read_predictions, path)
    assert frame is None or frame["label"].dtype.kind == "i"


@FUZZ
@given(cells=st.lists(odd_text, min_size=7, max_size=7))
def test_cells_of_predictions(folder, cells):
    row = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
    path = folder / "predictions.csv"
    path.write_bytes((PREDICTIONS + row + "\n").encode("utf-8", "surrogatepass"))
    value_or_refusal("predictions", read_predictions, path)
