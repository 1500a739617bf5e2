"""Image files, and folders of them."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

PICTURE = Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3))


def png(width: int, height: int, content: bytes = b"", colour: int = 2, bits: int = 8) -> bytes:
    """A PNG that claims a size, whatever it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _grey_deep() -> Image.Image:
    return Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)


def _fractions(fill: float) -> Image.Image:
    return Image.fromarray(np.full((16, 16), fill, dtype=np.float32))


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(PICTURE, "JPEG", exif=exif)


JPEG, PNG = encoded(PICTURE, "JPEG"), encoded(PICTURE, "PNG")
REFUSED = {
    "bomb of 60000 x 60000": png(60_000, 60_000),
    "bomb between PIL's warning and its error": png(10_000, 10_000),
    "bomb whose pixels are there": png(60_000, 60_000, b"\0" * 10**6),
    "bomb of all sizes": png(2**31 - 1, 2**31 - 1),
    "bmp bomb": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "gif bomb": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
    "line that grows when it is resized": png(80_000_000, 1),
    "column that grows when it is resized": png(1, 65_000),
    "no pixels": png(0, 0),
    "truncated JPEG": JPEG[: len(JPEG) // 2],
    "truncated PNG": PNG[: len(PNG) // 2],
    "only the start": JPEG[:4],
    "broken checksum": PNG.replace(b"IDAT", b"IDAX"),
    "zero bytes": b"",
    "zeros": b"\0" * 1000,
    "text": b"not an image",
    "HTML": b"<html>404</html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "PostScript, which PIL hands to a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(canary) (w) file\n",
    "pickle": b"\x80\x02cos\nsystem\nU\x0ctouch canary\x85R.",
    "zip": b"PK\x05\x06" + b"\0" * 18,
    "PNG text bomb": PNG[:33] + struct.pack(">I", 2**31 - 1) + b"zTXt",
    "TIFF of directories in a ring": b"II*\0\x08\0\0\0\x00\x00\x08\0\0\0",
}
HARMLESS = {
    "palette and transparency": encoded(PICTURE.convert("P"), "PNG", transparency=0),
    "grey and alpha": encoded(PICTURE.convert("LA"), "PNG"),
    "alpha": encoded(PICTURE.convert("RGBA"), "PNG"),
    "16 bits": encoded(_grey_deep(), "PNG"),
    "16 bits, TIFF": encoded(_grey_deep(), "TIFF"),
    "CMYK": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "one bit": encoded(PICTURE.convert("1"), "PNG"),
    "fractions": encoded(_fractions(0.5), "TIFF"),
    "no numbers": encoded(_fractions(float("nan")), "TIFF"),
    "infinite": encoded(_fractions(float("inf")), "TIFF"),
    "animated": encoded(PICTURE.convert("P"), "GIF", save_all=True, append_images=[PICTURE.convert("P")]),
    "rotated by EXIF": _rotated(),
    "PNG called jpg": PNG,
    "webp": encoded(PICTURE, "WEBP"),
    "something after the end": JPEG + b"PK\x03\x04" + b"\0" * 100,
}


def add_entries(add) -> None:
    for name, content in REFUSED.items():
        add("image", name, content)
    for name, content in HARMLESS.items():
        add("image", name, content, harmless=True)
    add("image", "a folder", lambda path: path.mkdir())
    add("image", "a pipe", lambda path: os.mkfifo(path))
    add("image", "a device", lambda path: path.symlink_to("/dev/zero"))
    add("image", "a link to nowhere", lambda path: path.symlink_to("nowhere"))
    add("image", "a link to itself", lambda path: path.symlink_to(path.name))
    _trees(add)


def _trees(add) -> None:
    """Folders of classes, of which something is wrong; `path` is the data root with two good classes in it."""

    def with_folder(name: bytes):
        def make(root):
            folder = os.path.join(os.fsencode(root), name)
            os.mkdir(folder)
            for number in range(3):
                with open(folder + b"/%d.jpg" % number, "wb") as file:
                    file.write(JPEG)

        return make

    for name, folder in {
        "newline": b"a\nb",
        "escape code": b"\x1b[2J",
        "not UTF-8": b"caf\xe9",
        "turned writing": "gpj\u202eexe".encode(),
    }.items():
        add("tree", f"class folder with {name}", with_folder(folder))
    add("tree", "class folder out of the root", lambda root: _link(root, "own", "."), harmless=True)
    add("tree", "image name that is not UTF-8", lambda root: _put(os.fsencode(root / "ant") + b"/\xff.jpg"))
    add("tree", "image name with a newline", lambda root: _put(os.fsencode(root / "ant") + b"/a\nb.jpg"))
    add("tree", "a pipe among images", lambda root: os.mkfifo(root / "ant/x.jpg"), harmless=True)
    add("tree", "a folder called like an image", lambda root: (root / "ant/x.jpg").mkdir(), harmless=True)
    add("tree", "an image out of the root", lambda root: _link(root, "ant/x.jpg", "secret.jpg"), harmless=True)
    add("tree", "its memory out of the root", lambda root: _link(root, ".mocoop", "."), harmless=True)
    add("tree", "its subsets out of the root", lambda root: _link(root, "split_fewshot", "."), harmless=True)
    for name, content in {"deep": b"[" * 100_000, "list": b"[1]", "lies": b'{"ant/000.jpg": 3, "x": [1]}'}.items():
        add("tree", f"its memory {name}", lambda root, content=content: _memory(root, content), harmless=True)


def _put(path: bytes) -> None:
    with open(path, "wb") as file:
        file.write(JPEG)


def _link(root, name: str, target: str) -> None:
    (root / name).symlink_to(root.parent / "outside" / target)


def _memory(root, content: bytes) -> None:
    (root / ".mocoop").mkdir()
    (root / ".mocoop/images.json").write_bytes(content)
