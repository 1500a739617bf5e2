import os

import numpy as np
import pytest
from PIL import Image

from mocoop.errors import ConfigError, DataError
from mocoop.images import AS_COOP, MAX_ASPECT, own_reading, read_image
from mocoop.pixels import Reading


def saved(path, size, mode="RGB"):
    Image.new(mode, size).save(path)
    return path


def test_pils_bound_of_pixels_holds_and_one_of_thin_images(tmp_path, monkeypatch):
    assert read_image(saved(tmp_path / "fits.png", (MAX_ASPECT, 1))).size == (MAX_ASPECT, 1)
    with pytest.raises(DataError, match="401 x 1 pixels, expected sides of at most 1 : 400"):
        read_image(saved(tmp_path / "thin.png", (MAX_ASPECT + 1, 1)))
    path = saved(tmp_path / "x.png", (50, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match='cannot read image ".*x.png": Image size .2500 pixels. exceeds limit'):
        read_image(path)


@pytest.mark.timeout(10)
def test_a_pipe_and_a_device_are_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    for name, kind in (("pipe", "pipe"), ("device", "device")):
        with pytest.raises(DataError, match=f"{name}.jpg: got a {kind}, expected a file"):
            read_image(tmp_path / f"{name}.jpg")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_odd_modes_become_rgb(tmp_path, mode):
    path = saved(tmp_path / ("x.tif" if mode in ("CMYK", "F", "I") else "x.png"), (4, 3), mode)
    assert read_image(path).mode == "RGB" and read_image(path).size == (4, 3)


DEEP = (1000, 2000, 3000)  # values of 12 bits


@pytest.mark.parametrize(
    "reading, seen",
    [
        (Reading(low=1000, high=3000), (0, 128, 255)),
        (Reading(low=0, high=4095), (62, 125, 187)),
        (Reading(low=2000, high=2500), (0, 0, 255)),
        (AS_COOP, (4, 8, 12)),  # the full range
    ],
)
@pytest.mark.parametrize("name, kind", [("x.png", "<u2"), ("x.tif", "<u2"), ("x.tif", "i4"), ("x.tif", "f4")])
def test_deep_images_have_the_range_of_their_data_set(tmp_path, reading, seen, name, kind):
    Image.fromarray(np.array([DEEP], kind)).save(tmp_path / name)
    if kind == "f4" and reading is AS_COOP:
        seen = (255, 255, 255)  # fractions end at 1
    assert read_image(tmp_path / name, reading).getchannel(0).tobytes() == bytes(seen)
    if kind == "f4":  # numbers that are none are black
        Image.fromarray(np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)).save(tmp_path / name)
        assert read_image(tmp_path / name).getchannel(0).tobytes() == bytes([0, 255, 0, 128])


def with_alpha(path, mode):
    image = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    image.putpixel((1, 0), (0, 200, 0, 255))
    if mode == "P":
        image = image.quantize(4)
    elif mode == "RGB":
        image = image.convert("RGB")
        image.info["transparency"] = (200, 0, 0)
    image.convert(mode).save(path, **({"transparency": (200, 0, 0)} if mode == "RGB" else {}))
    return path


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
@pytest.mark.parametrize("background, seen", [("white", (255, 255, 255)), ("#102030", (16, 32, 48))])
def test_transparent_pixels_show_the_background_where_coop_drops_transparency(tmp_path, mode, background, seen):
    image = read_image(with_alpha(tmp_path / "x.png", mode), Reading(background=background))
    assert image.getpixel((0, 0)) == seen and image.getpixel((1, 0)) != seen
    assert mode != "RGBA" or read_image(tmp_path / "x.png").getpixel((0, 0)) == (200, 0, 0)


@pytest.mark.parametrize("span", ["4095", "5,5", "9,1", "a,b", "0,nan", "min"])
def test_a_range_or_a_background_that_is_none_is_one_line(span):
    with pytest.raises(ConfigError, match=f'DATASET.FOLDER.RANGE is \'{span}\', expected "full", "minmax"'):
        own_reading(span, "white")
    with pytest.raises(ConfigError, match="DATASET.FOLDER.BACKGROUND is 'whyte', expected a colour"):
        own_reading("full", "whyte")


def test_the_rotation_in_a_photograph_is_left_to_the_data_set_and_content_counts_and_not_the_name(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").size == (8, 4)  # as CoOp reads it
    assert read_image(tmp_path / "x.jpg", Reading(upright=True)).size == (4, 8)
    saved(tmp_path / "x.png", (2, 2)).rename(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg").size == (2, 2)
    with pytest.raises(DataError, match="cannot identify image file"):  # PIL hands it to a program
        read_image(saved(tmp_path / "x.eps", (2, 2)))
