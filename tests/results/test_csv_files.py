"""predictions.csv and history.csv: written, read back, refused where damaged; and what a test got wrong."""

import numpy as np
import pytest

from mocoop.errors import DataError
from mocoop.results.csv_files import (
    HistoryWriter,
    as_text,
    predictions_frame,
    read_history,
    read_mistakes,
    read_predictions,
    write_predictions,
)
from mocoop.results.metrics import compute_metrics, per_class
from mocoop.results.record import build_record, unfinished_record, write_record
from tests.results.runs import make_config


def frame(**more):
    paths = ["/data/set/a b/é.png", "/elsewhere/c.png"]
    known = (np.array([0, 1]), np.array([1, 1]), np.array([0.25, 0.9999999]), ["photo", ""])
    return predictions_frame(paths, *known, root="/data", **more)


def test_what_is_written_is_read_back(tmp_path):
    table = frame(experts=[["photo", "dark"], ["dark", "photo"]], gates=np.array([[0.75, 0.25], [0.5, 0.5]]))
    write_predictions(tmp_path / "predictions.csv", table)
    read = read_predictions(tmp_path / "predictions.csv")
    assert read["path"].tolist() == ["set/a b/é.png", "/elsewhere/c.png"]
    assert read["label"].tolist() == [0, 1] and read["prediction"].tolist() == [1, 1]
    assert read["confidence"].tolist() == [0.25, 1.0] and read["domain"].tolist() == ["photo", ""]
    assert read["experts"].tolist() == [["photo", "dark"], ["dark", "photo"]]
    assert read["gates"].tolist() == [[0.75, 0.25], [0.5, 0.5]]
    write_predictions(tmp_path / "predictions.csv", frame())
    assert "experts" not in read_predictions(tmp_path / "predictions.csv").columns


@pytest.mark.parametrize(
    "text, message",
    [(None, "cannot be read"), ("", "damaged"), ("path,label\na,1\n", "no column prediction")],
)
def test_damage_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "predictions.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(DataError) as caught:
        read_history(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def write(path, steps, steps_done=0, loss=1.0):
    history = HistoryWriter(path, steps_done)
    for step in steps:
        history.add(step, (step - 1) // 3 + 1, 0.002, {"loss": loss, "acc": 50.0})
    history.close()


def test_rows_of_a_history(tmp_path):
    """What is computed again is written again; a fresh start begins a fresh history."""
    path = tmp_path / "history.csv"
    write(path, [1, 2, 3, 4])
    frame = read_history(path)
    assert list(frame.columns) == ["step", "epoch", "lr", "loss", "acc"]
    assert frame["step"].tolist() == [1, 2, 3, 4] and frame["epoch"].tolist() == [1, 1, 1, 2]
    assert frame["lr"].tolist() == [0.002] * 4
    with open(path, "a") as file:
        file.write("5,2,0.0")  # cut short by a crash
    write(path, [3, 4, 5], steps_done=2, loss=2.0)
    frame = read_history(path)
    assert frame["step"].tolist() == [1, 2, 3, 4, 5] and frame["loss"].tolist() == [1.0, 1.0, 2.0, 2.0, 2.0]
    write(path, [1])
    assert read_history(path)["step"].tolist() == [1]


NAMES = ["cat", "dog", "crane", "crane"]
LABELS = np.array([0, 0, 0, 1, 2, 3])
PREDICTED = np.array([0, 1, 1, 1, 3, 1])
CONFIDENCE = np.array([0.9, 0.6, 0.8, 0.7, 0.5, 0.95])


def add_tested(folder, routed=True, names=NAMES, split="test"):
    """The two files of the test above."""
    logits = np.eye(4)[PREDICTED] * 3
    measured = {"metrics": compute_metrics(logits, LABELS), "per_class": per_class(logits, LABELS, NAMES)}
    for row, name in zip(measured["per_class"], names):
        row["classname"] = name
    measured |= {"split": split, "epoch": 5, "selection": "last_step", "manifest_sha256": None, "engine": "lite"}
    write_record(folder / "result.json", build_record(make_config(), seconds={}, peak_memory_mb=None, **measured))
    experts = [["photo", "sketch"]] * 6 if routed else None
    gates = np.full((6, 2), 0.5) if routed else None
    paths = [f"/data/pets/{i}.png" for i in range(6)]
    frame = predictions_frame(paths, LABELS, PREDICTED, CONFIDENCE, ["photo"] * 6, experts, gates, "/data")
    write_predictions(folder / "predictions.csv", frame)
    return folder


def test_errors_the_most_confident_first(tmp_path):
    mistakes = read_mistakes(add_tested(tmp_path))
    found = mistakes.errors()[["path", "truth", "prediction", "confidence"]].values.tolist()
    assert found == [
        ["pets/5.png", "crane", "dog", 0.95],
        ["pets/2.png", "cat", "dog", 0.8],
        ["pets/1.png", "cat", "dog", 0.6],
        ["pets/4.png", "crane", "crane", 0.5],
    ]
    assert mistakes.images["path"].tolist()[4:] == ["pets/0.png", "pets/3.png"]
    assert mistakes.overconfidence() == pytest.approx(100 * (CONFIDENCE.mean() - 2 / 6))


def test_confused_pairs(tmp_path):
    found = read_mistakes(add_tested(tmp_path)).confusions()
    assert found[["truth", "prediction", "count"]].values.tolist() == [
        ["cat", "dog", 2],
        ["crane", "crane", 1],
        ["crane", "dog", 1],
    ]
    assert found["share"].tolist() == pytest.approx([200 / 3, 100, 100])


def test_classes_worst_first(tmp_path):
    found = read_mistakes(add_tested(tmp_path)).per_class()
    assert found.values.tolist() == [
        ["crane", 1, 0, 0.0, "crane"],
        ["crane", 1, 0, 0.0, "dog"],
        ["cat", 3, 1, pytest.approx(100 / 3), "dog"],
        ["dog", 1, 1, 100.0, ""],
    ]


def test_written_form(tmp_path):
    table = as_text(read_mistakes(add_tested(tmp_path)).images)
    assert table["experts"][0] == "photo|sketch" and table["gates"][0] == "0.500000|0.500000"
    plain = as_text(read_mistakes(add_tested(tmp_path, routed=False)).images)
    assert list(plain.columns) == ["path", "truth", "prediction", "confidence", "right", "domain"]


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="no run .*gone"):
        read_mistakes(tmp_path / "gone")
    add_tested(tmp_path)
    csv = tmp_path / "predictions.csv"
    whole = csv.read_text().splitlines(keepends=True)
    csv.write_text("".join(whole[:-1]))
    with pytest.raises(DataError, match="has 5 images .* counts 6 images of 4 classes"):
        read_mistakes(tmp_path)
    csv.write_text("".join(whole).replace("pets/5.png,3,1", "pets/5.png,9,1"))
    with pytest.raises(DataError, match="labels up to 9"):
        read_mistakes(tmp_path)
    csv.unlink()
    with pytest.raises(DataError, match="holds no predictions.csv: test the run again"):
        read_mistakes(tmp_path)
    write_record(tmp_path / "result.json", unfinished_record(make_config(), "failed", "out of memory"))
    with pytest.raises(DataError, match="the run is failed"):
        read_mistakes(tmp_path)
