"""predictions.csv: written and read back."""

import numpy as np
import pytest

from mocoop.errors import DataError
from mocoop.results.csv_files import predictions_frame, read_predictions, write_predictions


def frame(**more):
    paths = ["/data/set/a b/é.png", "/elsewhere/c.png"]
    known = (np.array([0, 1]), np.array([1, 1]), np.array([0.25, 0.9999999]), ["photo", ""])
    return predictions_frame(paths, *known, root="/data", **more)


def test_round_trip_with_experts(tmp_path):
    table = frame(experts=[["photo", "dark"], ["dark", "photo"]], gates=np.array([[0.75, 0.25], [0.5, 0.5]]))
    write_predictions(tmp_path / "predictions.csv", table)
    read = read_predictions(tmp_path / "predictions.csv")
    assert read["path"].tolist() == ["set/a b/é.png", "/elsewhere/c.png"]
    assert read["label"].tolist() == [0, 1] and read["prediction"].tolist() == [1, 1]
    assert read["confidence"].tolist() == [0.25, 1.0] and read["domain"].tolist() == ["photo", ""]
    assert read["experts"].tolist() == [["photo", "dark"], ["dark", "photo"]]
    assert read["gates"].tolist() == [[0.75, 0.25], [0.5, 0.5]]


def test_without_experts_there_are_no_such_columns(tmp_path):
    write_predictions(tmp_path / "predictions.csv", frame())
    assert "experts" not in read_predictions(tmp_path / "predictions.csv").columns


DAMAGED = {
    "missing": (None, "cannot be read"),
    "empty": ("", "damaged"),
    "columns": ("path,label\na,1\n", "no column prediction"),
    "value": ("path,label,prediction,confidence,domain\na,1,cat,0.5,\n", "damaged"),
    "gates": ("path,label,prediction,confidence,domain,experts,gates\na,1,1,0.5,,x,heavy\n", "damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_clear_line(tmp_path, name):
    text, message = DAMAGED[name]
    path = tmp_path / "predictions.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
