"""Spoiled images."""

from hypothesis import given
from hypothesis import strategies as st

from mocoop.data.inspection import inspect_images
from mocoop.images import read_image
from tests.hostile.fuzz import FUZZ, spoiled, value_or_refusal
from tests.hostile.images import HARMLESS, PICTURE, encoded, png

WHOLE = {kind: encoded(PICTURE, kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")}


def check(folder, content: bytes) -> None:
    path = folder / "x.jpg"
    path.write_bytes(content)
    image = value_or_refusal("image", read_image, str(path))
    assert image is None or image.mode == "RGB"
    problem = inspect_images(str(folder), ["x.jpg"])["x.jpg"].problem
    assert problem.isprintable() and len(problem) < 400 and (image is None) == bool(problem)


@FUZZ
@given(content=st.sampled_from(sorted(WHOLE)).flatmap(lambda kind: spoiled(WHOLE[kind], near=(0, 16, 100))))
def test_spoiled_images(folder, content):
    check(folder, content)


@FUZZ
@given(content=st.sampled_from(sorted(HARMLESS)).flatmap(lambda name: spoiled(HARMLESS[name])))
def test_spoiled_images_of_odd_modes(folder, content):
    check(folder, content)


@FUZZ
@given(
    width=st.integers(0, 2**31 - 1),
    height=st.integers(0, 2**31 - 1),
    colour=st.sampled_from([0, 2, 3, 4, 6]),
    content=st.binary(max_size=64),
)
def test_png_of_any_size(folder, width, height, colour, content):
    check(folder, png(width, height, content, colour))
