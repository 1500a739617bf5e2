import io
import xml.etree.ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from mocoop.registry import listed
from mocoop.results.figures.style import (
    COLOURS,
    accuracy_label,
    curve_names,
    entry_looks,
    in_method_order,
    literal,
    panel_grid,
    save_figure,
    shortened,
    squeezed,
    wrapped,
    write_figure,
)


def test_a_method_keeps_its_colour_whoever_it_stands_with_and_twenty_entries_differ():
    alone = entry_looks([("MoCoOp", "tiny")])[("MoCoOp", "tiny")]
    among = entry_looks([("Unknown", "tiny"), ("CoOp", "tiny"), ("MoCoOp", "tiny")])[("MoCoOp", "tiny")]
    assert alone == among and alone["color"] == COLOURS[list(listed()).index("MoCoOp") % len(COLOURS)]
    looks = entry_looks([("MoCoOp", str(number)) for number in range(20)])
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == 20


def test_no_panel_is_left_empty():
    figure, axes = panel_grid(5, 2.0, most=3)
    assert len(axes) == len(figure.axes) == 5


@pytest.mark.parametrize(
    "text, width, lines, expected",
    [
        ("short", 18, 2, "short"),
        ("shapes_both_painting", 12, 2, "shapes_both_\npainting"),
        ("a photo of a very long class name", 12, 2, "a photo of a\nvery long c…"),
        ("unbreakable" * 3, 10, 2, "unbreakab…"),
        ("", 10, 2, ""),
    ],
)
def test_labels_are_broken_and_cut(text, width, lines, expected):
    assert wrapped(text, width, lines) == expected


def test_shortened_keeps_what_fits_and_squeezed_both_ends():
    assert shortened("abcdef", 6) == "abcdef" and shortened("abcdefg", 6) == "abcde…"
    assert squeezed("2012 Ferrari 458 Italia Coupe", 20) == "2012 Ferrari…a Coupe"
    assert len(squeezed("x" * 99, 26)) == 26 and squeezed("short", 5) == "short"


def test_known_methods_come_first_and_in_their_order_and_a_cfg_is_named_where_one_has_several():
    curves = [("New", "a"), ("MoCoOp", "b"), ("ZeroshotCLIP", "a"), ("MoCoOp", "a")]
    assert in_method_order(curves) == [("ZeroshotCLIP", "a"), ("MoCoOp", "a"), ("MoCoOp", "b"), ("New", "a")]
    assert curve_names([("CoOp", "a"), ("MoCoOp", "a"), ("MoCoOp", "b")]) == ["CoOp", "MoCoOp a", "MoCoOp b"]
    assert "± std" in accuracy_label([float("nan"), 0.5]) and "±" not in accuracy_label([float("nan")])


def test_names_are_shown_as_they_are():
    assert literal("$x$ <b>\n\u202e") == "$x$ <b>??"
    figure = panel_grid(1, 1.0)[0]
    figure.axes[0].set_title(literal(r"$\frac{1}{$ costs 100 $"))
    write_figure(figure, io.BytesIO(), "svg")  # mathematics would not parse


def test_a_figure_is_saved_in_the_format_of_its_name(tmp_path):
    figure = Figure(figsize=(1, 1))
    save_figure(figure, tmp_path / "new" / "a.png")
    assert Image.open(tmp_path / "new" / "a.png").format == "PNG"
    save_figure(figure, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_the_same_figure_gives_the_same_bytes():
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        figure, axes = panel_grid(1, 1.0)
        axes[0].plot([1, 2], marker="o")
        write_figure(figure, file, "svg")
    assert first.getvalue() == second.getvalue()
    xml.etree.ElementTree.fromstring(first.getvalue())


def test_a_letter_that_no_font_has_is_named_once(tmp_path, caplog):
    figure = Figure(figsize=(1, 1))
    figure.text(0.1, 0.5, "a \N{EGYPTIAN HIEROGLYPH A001}")
    for name in ("one.png", "two.pdf"):
        save_figure(figure, tmp_path / name)
    (line,) = caplog.messages
    assert "no font has \N{EGYPTIAN HIEROGLYPH A001}: drawn as boxes" in line and "fontlist-*.json" in line
