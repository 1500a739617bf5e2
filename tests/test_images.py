import io
import os

import numpy as np
import pytest
from PIL import Image

from mocoop.errors import DataError
from mocoop.images import MAX_ASPECT, read_image


def saved(path, size, mode="RGB"):
    Image.new(mode, size).save(path)
    return path


def test_pils_bound_of_pixels_holds(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.png", (50, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match='cannot read image ".*x.png": Image size .2500 pixels. exceeds limit'):
        read_image(path)


def test_thin_images(tmp_path):
    assert read_image(saved(tmp_path / "fits.png", (MAX_ASPECT, 1))).size == (MAX_ASPECT, 1)
    with pytest.raises(DataError, match="401 x 1 pixels, expected sides of at most 1 : 400"):
        read_image(saved(tmp_path / "thin.png", (MAX_ASPECT + 1, 1)))


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


def test_the_rotation_in_a_photograph_is_left_to_the_data_set(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").size == (8, 4)  # as CoOp reads it


def test_content_counts_and_not_the_name(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(file, "PNG")
    (tmp_path / "x.jpg").write_bytes(file.getvalue())
    assert read_image(tmp_path / "x.jpg").size == (2, 2)
    Image.new("RGB", (2, 2)).save(tmp_path / "x.eps")
    with pytest.raises(DataError, match="cannot identify image file"):  # PIL hands it to a program
        read_image(tmp_path / "x.eps")
