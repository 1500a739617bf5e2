"""Predicting image files: the same answers as the run's own test, in order, without the broken ones."""

import csv
import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from mocoop.errors import DataError, MocoopError
from mocoop.results.csv_files import read_predictions
from mocoop.runs.prediction import FORMATS, Prediction, Predictor, find_images, printable
from mocoop.runs.trained_run import load_run


def draw(path, value=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((70, 90, 3), value, dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("name", ["zeroshot", "cocoop", "mocoop"])
def test_says_what_the_run_s_own_test_said(trained_runs, name):
    folder = trained_runs.of(name)
    recorded = read_predictions(folder / "predictions.csv")[::4]
    run = load_run(folder)
    predictor = Predictor(run, top=3, batch=7)
    found = list(predictor.predict([trained_runs.data_root / path for path in recorded["path"]]))
    assert [p.classes[0][0] for p in found] == [run.classnames[label] for label in recorded["prediction"]]
    assert np.allclose([p.classes[0][1] for p in found], recorded["confidence"], atol=2e-6)
    assert all(len(p.classes) == 3 and p.classes[0][1] >= p.classes[1][1] >= p.classes[2][1] for p in found)
    if name == "mocoop":
        assert [[name for name, _ in p.experts] for p in found] == recorded["experts"].tolist()
        assert np.allclose([[w for _, w in p.experts] for p in found], recorded["gates"].tolist(), atol=2e-6)
    else:
        assert not any(p.experts for p in found)


def test_folders_are_walked_in_order(tmp_path, caplog):
    caplog.set_level("INFO")
    names = ["b/é à.PNG", "b/a/1.jpg", "a.png", "b/.hidden.png", ".thumbs/x.png", "b/notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path])]
    assert found == ["a.png", "b/é à.PNG", "b/a/1.jpg"]
    assert "left out, no image by the suffix: 1 .txt file such as b/notes.txt" in caplog.text
    assert list(find_images([tmp_path / "b/notes.txt"])) == [tmp_path / "b/notes.txt"]  # named, so tried


def test_places_without_images(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image or folder .*gone"):
        find_images([tmp_path / "empty", tmp_path / "gone"])
    with pytest.raises(DataError, match="empty holds no image, expected files ending in .jpg"):
        list(find_images([tmp_path / "empty"]))


def test_broken_images_are_named_and_left_out(trained_runs, tmp_path, caplog):
    good = [draw(tmp_path / f"{i} ü.png", 40 * i) for i in range(3)]
    broken = tmp_path / "0 broken.png"
    broken.write_bytes(good[0].read_bytes()[:60])
    predictor = Predictor(load_run(trained_runs.of("coop")), batch=2)
    found = list(predictor.predict(find_images([tmp_path])))
    assert [p.path for p in found] == [str(path) for path in good]
    assert predictor.unreadable == [broken] and f"left out {broken}" in caplog.text


def test_images_are_read_as_they_are_asked_for(trained_runs, tmp_path):
    def endless():
        path = draw(tmp_path / "a.png")
        while True:
            yield path

    predictions = Predictor(load_run(trained_runs.of("coop")), batch=2).predict(endless())
    assert next(predictions) == next(predictions)


def test_diverged_weights_are_no_prediction(trained_runs, tmp_path):
    run = load_run(trained_runs.of("coop"))
    run.method.ctx.data.fill_(float("nan"))
    with pytest.raises(MocoopError, match="its training diverged"):
        list(Predictor(run).predict([draw(tmp_path / "a.png")]))


def test_a_path_that_is_no_text_is_told_all_the_same():
    assert printable(os.fsdecode(b"a\xff \xc3\xa9.png")) == "a\\xff é.png"


PREDICTIONS = [
    Prediction('a "b", é.png', [("cat", 0.75), ("dog, big", 0.25)], [("photo", 0.6), ("sketch", 0.4)]),
    Prediction("b.png", [("cat", 1.0)], []),
]


def test_csv():
    rows = list(csv.DictReader(io.StringIO("".join(FORMATS["csv"](PREDICTIONS)))))
    assert [(row["path"], row["rank"], row["class"]) for row in rows] == [
        ('a "b", é.png', "1", "cat"),
        ('a "b", é.png', "2", "dog, big"),
        ("b.png", "1", "cat"),
    ]
    assert (rows[0]["experts"], rows[0]["gates"], rows[2]["experts"]) == ("photo|sketch", "0.600000|0.400000", "")


def test_json():
    first, second = json.loads("".join(FORMATS["json"](PREDICTIONS)))
    assert first["classes"][1] == {"class": "dog, big", "probability": 0.25}
    assert first["experts"][0] == {"expert": "photo", "weight": 0.6} and "experts" not in second
    assert json.loads("".join(FORMATS["json"]([]))) == []


def test_table():
    assert "".join(FORMATS["table"](PREDICTIONS)) == (
        'a "b", é.png\n   75.0 %  cat\n   25.0 %  dog, big\n  experts: photo 0.60, sketch 0.40\nb.png\n  100.0 %  cat\n'
    )
