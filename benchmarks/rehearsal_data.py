"""Data sets of the true shapes, and a CLIP, for a rehearsal: nothing in them can be learned, all of it costs what the
true ones cost.

Class counts, folder layouts and split files are those of the eleven data sets; images are JPEGs of 500 x 375 with the
spectrum of photographs, each file different from all others. Test images are as many as the true ones times the scale,
at least one a class; training images as many as the shots.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from safetensors.torch import save_file

from benchmarks.common import VIT_B16, classnames
from mocoop.checkout import find_checkout, import_datasets
from mocoop.clip.openai import CLIP
from mocoop.data.draws import VAL_SHOTS
from mocoop.engine import DATASET_REGISTRY

WIDTH, HEIGHT, QUALITY = 500, 375, 90
PICTURES = 32  # that all files are made of
CLIPS = {
    "cuda": VIT_B16,
    "cpu": VIT_B16 | dict(
        embed_dim=64, vision_layers=2, vision_width=64, vision_patch_size=32,
        transformer_width=64, transformer_heads=1, transformer_layers=2,
    ),
}  # fmt: skip
Entries = list[tuple[str, int, str]]  # path in the folder of images, label, class name


@dataclass(frozen=True)
class Shape:
    """classes, test: how many classes and test images there are. path: of an image, by its part, class and number."""

    classes: int
    test: int
    path: str

    def test_images(self, scale: float) -> int:
        return max(self.classes, round(self.test * scale))


SHAPES = {
    "imagenet": Shape(1000, 50_000, "{part}/n{label:08d}/{number:08d}.JPEG"),
    "caltech101": Shape(100, 2465, "{folder}/image_{number:04d}.jpg"),
    "oxford_pets": Shape(37, 3669, "{folder}_{number}.jpg"),
    "stanford_cars": Shape(196, 8041, "cars_{part}/{number:05d}.jpg"),
    "oxford_flowers": Shape(102, 2463, "image_{number:05d}.jpg"),
    "food101": Shape(101, 30_300, "{folder}/{number}.jpg"),
    "fgvc_aircraft": Shape(100, 3333, "{number:07d}.jpg"),
    "sun397": Shape(397, 19_850, "{letter}/{folder}/sun_{number}.jpg"),
    "dtd": Shape(47, 1692, "{folder}/{folder}_{number:04d}.jpg"),
    "eurosat": Shape(10, 8100, "{folder}/{folder}_{number}.jpg"),
    "ucf101": Shape(101, 3783, "{folder}/v_{folder}_g01_c{number}.jpg"),
}


def make_data(root: Path, names: list[str], scale: float, shots: int) -> None:
    """Write the data sets that are not there yet below `root`, which belongs to this scale and these shots."""
    import_datasets(find_checkout())
    pictures: list[bytes] = []
    for name in names:
        done = root / f"{name}.made"
        if done.is_file():
            continue
        pictures = pictures or [photograph(seed) for seed in range(PICTURES)]
        shape = SHAPES[name]
        per_class = {"train": shots, "val": min(shots, VAL_SHOTS)}
        counts = {part: number * shape.classes for part, number in per_class.items()}
        parts = _entries(shape, counts | {"test": shape.test_images(scale)})
        _write(root, name, parts, pictures)
        done.write_text("")


def make_clip(path: Path, device: str) -> None:
    """Write a CLIP with random weights, of ViT-B/16's size for a GPU and a small one for a CPU, unless it is there."""
    import torch

    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        state = CLIP(**CLIPS[device]).float().state_dict()
        save_file({name: value.contiguous() for name, value in state.items()}, path)


def photograph(seed: int) -> bytes:
    """A JPEG whose spectrum falls as that of photographs: amplitudes over the frequency, the channels much alike."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = np.inf
    noise = rng.standard_normal((4, HEIGHT, WIDTH))
    fields = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(HEIGHT, WIDTH))
    channels = fields[:1] + 0.3 * fields[1:]  # (3, H, W)
    pixels = 115 + 60 * channels / channels.std()
    file = BytesIO()
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _entries(shape: Shape, counts: dict[str, int]) -> dict[str, Entries]:
    names, number, parts = classnames(shape.classes), 0, {}
    for part, count in counts.items():
        parts[part] = []
        for place in range(count):
            label, number = place % shape.classes, number + 1
            folder = names[label].replace(" ", "_")
            words = {"part": "test" if part == "test" else "train", "label": label, "number": number}
            path = shape.path.format(folder=folder, letter=folder[0], **words)
            parts[part].append((path, label, names[label]))
    return parts


def _write(root: Path, name: str, parts: dict[str, Entries], pictures: list[bytes]) -> None:
    dataset = DATASET_REGISTRY.get(_registered_name(name))
    folder = root / dataset.dataset_dir
    images = folder / dataset.image_dir
    if name == "imagenet":  # its validation images are the test, and it has no others
        parts = {
            "train": parts["train"],
            "test": [(f"val{p.removeprefix('test')}", *more) for p, *more in parts["test"]],
        }
    for place, path in enumerate(path for entries in parts.values() for path, *_ in entries):
        file = images / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pictures[place % len(pictures)] + f"{name}/{path}".encode())  # behind the image's end
    for file_name, text in _lists(name, dataset.split_file, parts):
        (folder / file_name).write_text(text)


def _lists(name: str, split_file: str, parts: dict[str, Entries]) -> Iterator[tuple[str, str]]:
    """Files that say which images are for what, as the loader of the data set reads them: name and content."""
    if split_file:
        yield split_file, json.dumps(parts)
        return
    names = {label: classname for _, label, classname in parts["train"]}
    if name == "imagenet":
        yield "classnames.txt", "".join(f"n{label:08d} {classname}\n" for label, classname in names.items())
        return
    yield "variants.txt", "".join(f"{classname}\n" for classname in names.values())
    for part, entries in parts.items():
        lines = (f"{Path(path).stem} {classname}\n" for path, _, classname in entries)
        yield f"images_variant_{part}.txt", "".join(lines)


def _registered_name(name: str) -> str:
    config = find_checkout() / "configs" / "datasets" / f"{name}.yaml"
    return yaml.safe_load(config.read_text())["DATASET"]["NAME"]
