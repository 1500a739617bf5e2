"""Pictures of every awkward kind, in class folders, for the tests of own images."""

from pathlib import Path

import numpy as np
from PIL import Image

PICTURE = np.zeros((12, 20, 3), dtype=np.uint8)  # red above green, so that a turn shows
PICTURE[:6, :, 0] = 200
PICTURE[6:, :, 1] = 200


def save(path: Path, kind: str = "rgb") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(PICTURE)
    if kind == "grey":
        image.convert("L").save(path)
    elif kind == "palette":
        image.convert("P", palette=Image.Palette.ADAPTIVE).save(path)
    elif kind == "cmyk":
        image.convert("CMYK").save(path, "JPEG")
    elif kind == "deep":
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(path)
    elif kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned a quarter to be upright
        image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    elif kind == "transparent":
        image.putalpha(image.getchannel(0).point(lambda red: 255 if red else 40))
        image.save(path)
    elif kind == "corrupt":
        image.resize((200, 120)).save(path)
        path.write_bytes(path.read_bytes()[:300])
    else:
        image.save(path)
    return path


def make_own_tree(root: Path, per_class: int = 6) -> Path:
    """Three classes with spaces, accents and underscores in their names; one picture is CMYK, one is corrupt."""
    for name in ("Fée verte", "grand_duc", "sea eagle"):
        for number in range(per_class):
            save(root / name / f"photo nº {number}.jpg")
    save(root / "Fée verte/photo nº 1.jpg", "cmyk")
    save(root / "sea eagle/photo nº 2.jpg", "corrupt")
    return root


def make_odd_tree(root: Path) -> Path:
    """Ten oddities of people's folders in one: DATASETS.md shows what `mocoop datasets new` says of it."""
    wrapped = root / "archive/birds"  # 1: folders in folders
    for part, count in (("train", 5), ("val", 3)):  # 2: validation, and no test
        for name in ("n02085620-Chihuahua", "sea_eagle", "Sea Eagle", "grey heron"):  # 3: codes; 4: one text to CLIP
            for number in range(count):
                save(wrapped / part / name / f"{number}.jpg")
    heron = wrapped / "train/grey heron"
    save(heron / "0.jpg").rename(heron / "0.jfif")  # 5: another suffix of JPEG
    save(heron / "1.jpg", "rotated")
    for number in range(4):  # 6: values of 12 bits, and one picture that shows nothing in their range
        values = np.linspace(100, 4095 if number else 180, 240).reshape(12, 20)
        Image.fromarray(values.astype("<u2")).save(heron / f"deep {number}.png")
    save(heron / "cut.jpg", "corrupt")  # 7
    for name in ("IMG_1.HEIC", "IMG_2.HEIC", "clip.mp4", "Thumbs.db"):  # 8: what is no image
        (heron / name).write_bytes(b"x")
    (wrapped / "train/kiwi").mkdir()  # 9: a class without an image
    (wrapped / "train/kiwi/IMG_3.HEIC").write_bytes(b"x")
    save(wrapped / "unlabelled/1.jpg")  # 10: images of no class
    return root
