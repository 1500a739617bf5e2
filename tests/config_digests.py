"""Record what each yaml of configs/ says, with its bases merged: python -m tests.config_digests"""

import hashlib
import json
from pathlib import Path

from mocoop.config import read_settings

CONFIGS = Path(__file__).parents[1] / "configs"
RECORD = Path(__file__).with_name("config_digests.json")


def digests() -> dict[str, str]:
    """{path in configs/: digest of the keys and values} of every file for a data set or a trainer."""
    files = sorted(path for kind in ("datasets", "trainers") for path in (CONFIGS / kind).rglob("*.yaml"))
    return {path.relative_to(CONFIGS).as_posix(): _digest(read_settings(path)) for path in files}


def _digest(settings: dict) -> str:
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


if __name__ == "__main__":
    RECORD.write_text(json.dumps(digests(), indent=0) + "\n")
