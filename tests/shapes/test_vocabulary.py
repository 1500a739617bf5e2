import hashlib

import pytest

from mocoop.clip.openai import tokenizer
from mocoop.shapes.vocabulary import (
    ALL_COMBINATIONS,
    COLOURS,
    COOL,
    HELD_OUT,
    PRETRAINING,
    SHAPES,
    STYLES,
    TEMPLATES,
    TEXTURES,
    WARM,
    class_list,
    classnames,
)

SHAPE_HALVES, COLOUR_HALVES = (set(SHAPES[:6]), set(SHAPES[6:])), (set(WARM), set(COOL))
PARTS = {  # colours and shapes of base and of new classes
    "color": (COLOUR_HALVES, (set(SHAPES), set(SHAPES))),
    "shape": ((set(COLOURS), set(COLOURS)), SHAPE_HALVES),
    "both": (COLOUR_HALVES, SHAPE_HALVES),
}


@pytest.mark.parametrize("split", PARTS)
def test_each_set_has_forty_base_and_forty_new_classes_all_held_out(split):
    classes, names = class_list(split), classnames(split)
    assert len(classes) == len(set(classes)) == len(set(names)) == 80
    assert not set(classes) & set(PRETRAINING)
    for half, colours, shapes in zip((names[:40], names[40:]), *PARTS[split]):
        words = [name.split() for name in half]
        assert ({word[0] for word in words}, {word[2] for word in words}) == (colours, shapes)
        assert {word[1] for word in words} == set(TEXTURES)


def test_held_out_and_pretraining_divide_all_combinations():
    assert len(HELD_OUT) == 160 and len(PRETRAINING) == 320
    assert sorted(HELD_OUT + PRETRAINING) == sorted(ALL_COMBINATIONS)


@pytest.mark.parametrize("position, words", [(0, COLOURS), (1, TEXTURES), (2, SHAPES)])
def test_pretraining_shows_each_word_equally_often_beside_every_other_word(position, words):
    counts = [sum(c[position] == index for c in PRETRAINING) for index in range(len(words))]
    assert max(counts) - min(counts) <= len(TEXTURES)
    for other in {0, 1, 2} - {position}:
        pairs = {(c[position], c[other]) for c in PRETRAINING}
        assert len(pairs) == len(words) * len({c[other] for c in ALL_COMBINATIONS})


@pytest.mark.parametrize(
    "split, digest", [("color", "84c05d8b1bcc61ae"), ("shape", "975dc11321fa4b10"), ("both", "b977c3a485e7e8aa")]
)
def test_class_lists_are_fixed(split, digest):
    """Figures depend on the lists and their order: a change needs a new data version."""
    assert hashlib.sha256("\n".join(classnames(split)).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("style", STYLES)
def test_templates_take_one_class_name_and_end_like_clips(style):
    assert 2 <= len(TEMPLATES[style]) <= 4
    for template in TEMPLATES[style]:
        assert template.count("{}") == 1 and template.endswith(".")
        assert len(tokenizer.encode(template.format("red checkered hexagon"))) < 20
