"""A hand-made test of six images in three classes; two classes bear one name."""

import numpy as np
import pytest

from mocoop.errors import DataError
from mocoop.results.csv_files import as_text, predictions_frame, read_mistakes, write_predictions
from mocoop.results.metrics import compute_metrics, per_class
from mocoop.results.record import build_record, unfinished_record, write_record
from tests.results.runs import make_config

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
    record = build_record(
        make_config(),
        split=split,
        epoch=5,
        selection="last_step",
        manifest_sha256=None,
        engine="lite",
        seconds={},
        peak_memory_mb=None,
        **measured,
    )
    write_record(folder / "result.json", record)
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
    with pytest.raises(DataError, match="has 5 images .* tells of 6 images of 4 classes"):
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
