"""Tiny copies of the fifteen datasets in the layout they are distributed in, for the tests.

`TREES[name](root)` makes the folder of one dataset under `root`. Every image is the same small JPEG.
"""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZES = (43, 20, 41, 12, 9)  # images of the first, second, ... class
SYNSETS = {
    "n01440764": "tench",
    "n01443537": "goldfish",
    "n01484850": "great white shark",
    "n01498041": "stingray",
    "n01514668": "rooster",
}


def _jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (120, 60, 30)).save(file, "JPEG")
    return file.getvalue()


JPEG = _jpeg()


def put(path: Path, content: bytes | str = JPEG) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def put_class_folders(folder: Path, pattern: str, names, sizes=SIZES) -> None:
    """Images called by `pattern` of class name and number, in a folder for each class."""
    for index, name in enumerate(names):
        for number in range(1, sizes[index % len(sizes)] + 1):
            put(folder / name / pattern.format(name=name, number=number))


def make_caltech101(root: Path) -> None:
    images = root / "caltech-101/101_ObjectCategories"
    names = ("BACKGROUND_Google", "Faces", "Faces_easy", "Leopards", "Motorbikes", "accordion", "airplanes", "yin_yang")
    put_class_folders(images, "image_{number:04d}.jpg", names)
    put(images / ".DS_Store", "")


def make_pets(root: Path) -> None:
    folder = root / "oxford_pets"
    breeds = ("Abyssinian", "american_bulldog", "Great_Pyrenees", "Bengal", "yorkshire_terrier")
    lines = [
        (f"{breed}_{number}", f"{breed}_{number} {label} 1 {label}\n", number)
        for label, breed in enumerate(breeds, start=1)
        for number in range(1, SIZES[label - 1] + 1)
    ]
    for image, _, _ in lines:
        put(folder / f"images/{image}.jpg")
    put(folder / "images/Abyssinian_34.mat", "")
    put(folder / "annotations/trainval.txt", "".join(line for _, line, number in lines if number % 3))
    put(folder / "annotations/test.txt", "".join(line for _, line, number in lines if number % 3 == 0))


def _struct_array(rows: list[dict]) -> np.ndarray:
    array = np.empty((1, len(rows)), dtype=[(key, object) for key in rows[0]])
    for index, row in enumerate(rows):
        array[0, index] = tuple(row.values())
    return array


def make_cars(root: Path) -> None:
    folder = root / "stanford_cars"
    names = ["AM General Hummer SUV 2000", "Acura TL Sedan 2012", "smart fortwo Convertible 2012"]
    cell = np.empty((1, 4), dtype=object)
    cell[0, :] = [*names, "Ram C/V Cargo Van 2012"]
    put(folder / "devkit/README.txt", "")
    savemat(folder / "devkit/cars_meta.mat", {"class_names": cell})
    for part, path, step in (
        ("cars_train", "devkit/cars_train_annos.mat", 0),
        ("cars_test", "cars_test_annos_withlabels.mat", 2),
    ):
        labels = [(number * 7 + step) % 5 % 4 + 1 for number in range(90)]
        rows = [{"bbox_x1": 1, "class": label, "fname": f"{n:05d}.jpg"} for n, label in enumerate(labels, start=1)]
        for row in rows:
            put(folder / part / row["fname"])
        savemat(folder / path, {"annotations": _struct_array(rows)})


def make_flowers(root: Path) -> None:
    folder = root / "oxford_flowers"
    labels = [3] * 43 + [1] * 20 + [5] * 41 + [2] * 12 + [4] * 9 + [1] * 22
    names = ["pink primrose", "hard-leaved pocket orchid", "canterbury bells", "sweet pea", "bird of paradise"]
    for number in range(1, len(labels) + 1):
        put(folder / f"jpg/image_{number:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    put(folder / "cat_to_name.json", json.dumps(dict(zip("12345", names))))


def make_food101(root: Path) -> None:
    names = ("apple_pie", "baby_back_ribs", "beef_tartare", "waffles")
    put_class_folders(root / "food-101/images", "{number}005649.jpg", names)
    put(root / "food-101/meta/train.txt", "apple_pie/1005649\n")


def make_aircraft(root: Path) -> None:
    folder = root / "fgvc_aircraft"
    variants = ("707-320", "A340-200", "Falcon 2000", "F/A-18", "Model B200")
    put(folder / "variants.txt", "".join(f"{name}\n" for name in variants))
    for start, part in ((0, "train"), (1000, "val"), (2000, "test")):
        lines = [f"{start + n:07d} {variants[n * 3 % 7 % 5]}\n" for n in range(1, 121)]
        for line in lines:
            put(folder / f"images/{line[:7]}.jpg")
        put(folder / f"images_variant_{part}.txt", "".join(lines))


def make_sun397(root: Path) -> None:
    folder = root / "sun397"
    classes = ("/a/abbey", "/a/apartment_building/outdoor", "/b/bazaar/indoor", "/y/youth_hostel")
    put(folder / "ClassName.txt", "".join(f"{name}\n" for name in classes))
    for part, offset in (("Training_01.txt", 0), ("Testing_01.txt", 500)):
        images = [(name, offset + n) for index, name in enumerate(classes) for n in range(SIZES[index])]
        lines = [f"{name}/sun_{number:04d}abc.jpg\n" for name, number in images]
        for line in lines:
            put(folder / f"SUN397{line.strip()}")
        put(folder / part, "".join(lines))


def make_dtd(root: Path) -> None:
    names = ("banded", "blotchy", "honeycombed", "polka-dotted", "zigzagged")
    put_class_folders(root / "dtd/images", "{name}_{number:04d}.jpg", names)
    put(root / "dtd/labels/train1.txt", "banded/banded_0001.jpg\n")
    put(root / "dtd/imdb/imdb.mat", "")


def make_eurosat(root: Path) -> None:
    names = "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential River SeaLake"
    put_class_folders(root / "eurosat/2750", "{name}_{number}.jpg", names.split())


def make_ucf101(root: Path) -> None:
    folder = root / "ucf101"
    actions = ("ApplyEyeMakeup", "HandstandPushups", "TaiChi", "YoYo")
    renamed = ("Apply_Eye_Makeup", "Handstand_Pushups", "Tai_Chi", "Yo_Yo")
    put(folder / "ucfTrainTestlist/classInd.txt", "".join(f"{n} {name}\r\n" for n, name in enumerate(actions, start=1)))
    for part, offset in (("trainlist01", 8), ("testlist01", 1)):
        lines = []
        for label, (action, classname) in enumerate(zip(actions, renamed), start=1):
            for number in range(SIZES[label - 1]):
                video = f"v_{action}_g{offset + number:02d}_c{offset:02d}"
                put(folder / f"UCF-101-midframes/{classname}/{video}.jpg")
                lines.append(f"{action}/{video}.avi" + (f" {label}" if part == "trainlist01" else "") + "\n")
        put(folder / f"ucfTrainTestlist/{part}.txt", "".join(lines))


def put_classnames(path: Path, synsets=SYNSETS) -> None:
    put(path, "".join(f"{folder} {name}\n" for folder, name in synsets.items()))


def make_imagenet(root: Path) -> None:
    folder = root / "imagenet"
    put_classnames(folder / "classnames.txt")
    put_class_folders(folder / "images/train", "{name}_{number}.JPEG", SYNSETS)
    put_class_folders(folder / "images/val", "ILSVRC2012_val_{number:08d}.JPEG", SYNSETS, sizes=(3,))


def make_sketch(root: Path) -> None:
    put_classnames(root / "imagenet-sketch/classnames.txt")
    put_class_folders(root / "imagenet-sketch/images", "sketch_{number}.JPEG", SYNSETS, sizes=(4, 2))


def make_imagenet_a(root: Path) -> None:
    put_classnames(root / "imagenet-adversarial/classnames.txt")
    kept = list(SYNSETS)[1::2]
    put_class_folders(root / "imagenet-adversarial/imagenet-a", "0.0{number}_fox.jpg", kept, sizes=(4, 2))
    put(root / "imagenet-adversarial/imagenet-a/README.txt", "")


def make_imagenet_r(root: Path) -> None:
    put_classnames(root / "imagenet-rendition/classnames.txt")
    kept = list(SYNSETS)[::2]
    put_class_folders(root / "imagenet-rendition/imagenet-r", "art_{number}.jpg", kept, sizes=(4, 2))
    put(root / "imagenet-rendition/imagenet-r/README.txt", "")


def make_imagenetv2(root: Path, synsets=SYNSETS) -> None:
    put_classnames(root / "imagenetv2/classnames.txt", synsets)
    labels = [str(label) for label in range(len(synsets))]
    images = root / "imagenetv2/imagenetv2-matched-frequency-format-val"
    put_class_folders(images, "{number}af.jpeg", labels, sizes=(2, 1))


TREES = {
    "Caltech101": make_caltech101,
    "OxfordPets": make_pets,
    "StanfordCars": make_cars,
    "OxfordFlowers": make_flowers,
    "Food101": make_food101,
    "FGVCAircraft": make_aircraft,
    "SUN397": make_sun397,
    "DescribableTextures": make_dtd,
    "EuroSAT": make_eurosat,
    "UCF101": make_ucf101,
    "ImageNet": make_imagenet,
    "ImageNetSketch": make_sketch,
    "ImageNetA": make_imagenet_a,
    "ImageNetR": make_imagenet_r,
    "ImageNetV2": make_imagenetv2,
}
