"""What must be the same, to the bit, in two folders of the same run."""

import json
from pathlib import Path

import pytest
import torch

from mocoop.images import read_image
from mocoop.results import csv_files, record
from mocoop.training.checkpoint import MODEL
from mocoop.training.folder_lock import LOCK

OF_THE_PROCESS = ("seconds", "timings", "peak_memory_mb", "finished", "train_seconds")
WRITTEN_ANEW = ("log.txt", "tensorboard", "out.txt", "err.txt")


def differences(run: Path, reference: Path) -> list[str]:
    """One line for each thing that differs: checkpoints, history, predictions, the record, files that are left."""
    return list(_differences("", _outcome(run), _outcome(reference)))


def must_predict_as_tested(run, folder: Path, data: Path) -> None:
    """A loaded run gives what the test in a folder gave, image by image."""
    tested = csv_files.read_predictions(folder / csv_files.PREDICTIONS)
    images = torch.stack([run.transform(read_image(data / path)) for path in tested["path"]])
    predicted = run.predict(images)["logits"].softmax(-1)
    assert predicted.argmax(-1).tolist() == tested["prediction"].tolist()
    assert predicted.amax(-1).tolist() == pytest.approx(tested["confidence"].tolist(), abs=2e-4)


def _outcome(folder: Path) -> dict:
    checkpoints = sorted((folder / MODEL).glob("model*"))
    return {
        "files": _names(folder),
        "record": _record(folder / record.FILE_NAME),
        "history": _bytes(folder / csv_files.HISTORY),
        "predictions": _bytes(folder / csv_files.PREDICTIONS),
        "checkpoints": {path.name: _checkpoint(path) for path in checkpoints},
    }


def _names(folder: Path) -> list[str]:
    kept = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in kept if not path.parts[0].startswith(WRITTEN_ANEW) and path.name != LOCK)


def _bytes(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _record(path: Path) -> dict | None:
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    found["config"] = _without_changeable(found["config"])
    return {key: value for key, value in found.items() if key not in (*OF_THE_PROCESS, "config_sha256")}


def _checkpoint(path: Path) -> dict:
    found = torch.load(path, weights_only=True)
    found["method"]["config"] = _without_changeable(found["method"]["config"])
    return {key: value for key, value in found.items() if key not in OF_THE_PROCESS}


def _without_changeable(config: dict, prefix: str = "") -> dict:
    """Without what may differ between processes that work on one run."""
    return {
        key: _without_changeable(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in config.items()
        if prefix + key not in record.CHANGEABLE_KEYS
    }


def _differences(where: str, found, expected):
    if isinstance(found, torch.Tensor) and isinstance(expected, torch.Tensor):
        if found.dtype != expected.dtype or not torch.equal(found, expected):
            yield f"{where}: other values"
    elif isinstance(found, dict) and isinstance(expected, dict):
        for key in found.keys() | expected.keys():
            if key in found and key in expected:
                yield from _differences(f"{where}/{key}", found[key], expected[key])
            else:
                yield f"{where}/{key}: only in {'this' if key in found else 'the reference'}"
    elif isinstance(found, (list, tuple)) and isinstance(expected, (list, tuple)) and len(found) == len(expected):
        for number, (one, other) in enumerate(zip(found, expected)):
            yield from _differences(f"{where}[{number}]", one, other)
    elif found != expected:
        yield f"{where}: {str(found)[:200]!r} is not {str(expected)[:200]!r}"
