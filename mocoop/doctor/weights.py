"""CLIP's weights: the embedded ones, and those of OpenAI's that were downloaded."""

from collections.abc import Iterator
from pathlib import Path

from mocoop.doctor.finding import NOTE, OK, PROBLEM, Finding
from mocoop.files import file_sha256


def check_embedded() -> Iterator[Finding]:
    """Raises CheckpointError for one that is damaged."""
    from mocoop import tiny
    from mocoop.backbone import EMBEDDED

    for name, stored in EMBEDDED.items():
        tiny.load(stored)  # compares the hash
        yield Finding(OK, name, f"embedded, sha256 {file_sha256(tiny.weights_file(stored))[:16]}... as it should be")


def check_downloaded(folder: Path | None = None) -> Iterator[Finding]:
    """Every file of OpenAI's in `folder`, by default where their package keeps them, against its published hash."""
    from mocoop.backbone import WEIGHTS_FOLDER
    from mocoop.clip.openai import MODEL_URLS

    folder = (folder or WEIGHTS_FOLDER).expanduser()
    found = False
    for name, url in MODEL_URLS.items():
        path, expected = folder / url.split("/")[-1], url.split("/")[-2]
        if not path.is_file():
            continue
        found = True
        sha256 = file_sha256(path)
        if sha256 == expected:
            yield Finding(OK, name, f"{path}, sha256 {sha256[:16]}... as published")
        else:
            text = f"{path} has sha256 {sha256[:16]}..., expected {expected[:16]}...: remove it, it is fetched again"
            yield Finding(PROBLEM, name, text)
    if not found:
        yield Finding(NOTE, "CLIP weights", f"none of OpenAI's in {folder}; a run that names one downloads it")
