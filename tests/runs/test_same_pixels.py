"""One picture has one probability: in a run's test, in `mocoop predict`, on the page, and by an exported model."""

import inspect
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import train
from mocoop.export import export_run
from mocoop.pixels import Reading
from mocoop.results.csv_files import read_predictions
from mocoop.runs.prediction import Predictor, find_images
from mocoop.runs.trained_run import load_run
from mocoop.serve.session import Session
from mocoop.training.features import image_key
from tests.trained import forget_print_handler

ELSEWHERE = """
import sys
sys.modules["mocoop"] = None
import torch
from example import logits
from load_model import load, read_image
model, weights, info, preprocess = load()
images = torch.stack([preprocess(read_image(path, info)) for path in sys.argv[2:]])
torch.save(logits(model, weights, info, images).double().softmax(-1), sys.argv[1])
"""


def write_odd_images(folder):
    """One picture of each odd kind, with a structure that a turn, another range and another background change."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:60, :90] / 90
    values = np.stack([x, y, (x - 0.4) ** 2 + (y - 0.3) ** 2 < 0.05], axis=-1)
    image = Image.fromarray((values * 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "rotated.jpg", exif=exif)
    Image.fromarray((values[..., 0] * values[..., 1] * 6000 + 50).astype("<u2")).save(folder / "12-bit.png")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.quantize(16).save(folder / "palette.png")
    image.convert("L").save(folder / "grey.png")
    image.putalpha(image.getchannel(2).point(lambda v: v // 2))
    image.save(folder / "transparent.png")
    image.quantize(16).save(folder / "transparent palette.png")


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A run on own images, and the folder of the data."""
    place = tmp_path_factory.mktemp("pixels")
    for part in ("train", "test"):
        for number, name in enumerate(("dark", "plain")):
            if part == "test":
                write_odd_images(place / f"own/test/{name}")
                continue
            (place / f"own/train/{name}").mkdir(parents=True)
            for shade in range(4):
                colour = (60 * shade, 200 * number, 0)
                Image.new("RGB", (70, 70), colour).save(place / f"own/train/{name}/{shade}.png")
    words = ["--trainer", "CoOp", "--root", str(place / "own"), "--output-dir", str(place / "run"), "--seed", "1"]
    words += ["--config-file", "configs/trainers/CoOp/tiny.yaml", "DATASET.NAME", "Folder", "OPTIM.MAX_EPOCH", "1"]
    assert train.main(words) == 0
    forget_print_handler()
    return place / "run", place / "own"


def test_one_picture_has_one_probability(tested, tmp_path):
    folder, data = tested
    recorded = read_predictions(folder / "predictions.csv")
    assert sorted(recorded["path"]) == sorted(str(path.relative_to(data)) for path in find_images([data / "test"]))
    expected = recorded["confidence"].to_numpy()
    assert len(set(expected.round(4))) == len(expected) // 2  # the kinds differ, the classes have the same
    run, paths = load_run(folder), [data / path for path in recorded["path"]]

    predicted = [found.classes[0][1] for found in Predictor(run, batch=3).predict(paths)]
    assert np.allclose(predicted, expected, atol=1e-6)

    seen, _ = Session([run]).answer([str(path) for path in paths], run.classnames)
    by_name = {path.name: value for path, value in zip(paths, expected, strict=True)}
    assert len(seen) == len(paths)
    assert all(abs(one.answers[0].classes[0][1] - by_name[one.name]) < 1e-6 for one in seen)

    export_run(run, tmp_path / "model", onnx=False)
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "out.pt"), *map(str, paths)]
    done = subprocess.run(command, cwd=tmp_path / "model", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    exported = torch.load(tmp_path / "out.pt", weights_only=True).amax(-1)
    assert np.allclose(exported, expected, atol=1e-6)


def test_features_of_other_pixels_are_not_shared():
    """The key of the cache that all runs share, for one file that two data sets read in two ways."""
    linear = torch.nn.Linear(1, 1)
    method = SimpleNamespace(image_encoder=SimpleNamespace(is_fast=True))
    method.clip_model = SimpleNamespace(visual=linear, anatomy="plain", sha256="x")
    precision = SimpleNamespace(tested="fp32", device=torch.device("cpu"))
    others = [True] * (len(inspect.signature(image_key).parameters) - 3)
    readings = [Reading(), Reading(True), Reading(True, low=0.0, high=4095.0), Reading(True, low=0.0, high=65535.0)]
    datasets = [SimpleNamespace(transform="resize", reading=reading) for reading in readings]
    assert len({image_key(dataset, method, precision, *others) for dataset in datasets}) == 4
