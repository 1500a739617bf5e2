import numpy as np
import pytest

from mocoop.clip.openai import tokenizer
from mocoop.shapes.vocabulary import COLOURS, HELD_OUT, PRETRAINING, SHAPES, STYLES, TEMPLATES, TEXTURES, phrase
from scripts import pretrain_tiny as script

WORDS = {*COLOURS, *TEXTURES, *SHAPES, *script.GENERIC_SHAPES}


@pytest.fixture
def drawn(monkeypatch):
    """What 4,000 pre-training pairs ask the renderer for, and their captions."""
    asked = {}

    def spy(colour, texture, shape, style, rng, tint=None):
        asked.update(combinations=list(zip(colour.tolist(), texture.tolist(), shape.tolist())), style=style, tint=tint)

    monkeypatch.setattr(script, "render", spy)
    _, asked["captions"] = script.draw_pairs(4000, np.random.default_rng(0))
    return asked


def test_pretraining_sees_every_allowed_combination_and_no_class_of_the_sets(drawn):
    """With a neutral camera, and no painting."""
    assert set(drawn["combinations"]) == set(PRETRAINING)
    held_out = [phrase(*combination) for combination in HELD_OUT]
    assert not any(name in caption for caption in drawn["captions"] for name in held_out)
    assert drawn["tint"] is None and {STYLES[code] for code in drawn["style"]} == set(STYLES) - {"painting"}
    assert not any("paint" in caption for caption in drawn["captions"])


def test_captions_tell_what_the_picture_shows(drawn):
    full = 0
    for combination, caption in zip(drawn["combinations"], drawn["captions"], strict=True):
        said = WORDS.intersection(caption.rstrip(".").split())
        assert said and said <= {*phrase(*combination).split(), *script.GENERIC_SHAPES}
        full += phrase(*combination) in caption
    assert full / len(drawn["captions"]) == pytest.approx(0.92 * 0.92 * 0.96, abs=0.03)


def test_six_captions_of_ten_name_the_style_and_never_a_wrong_one(drawn):
    named = 0
    for code, caption in zip(drawn["style"], drawn["captions"], strict=True):
        fits = {style for style, templates in TEMPLATES.items() for t in templates if _fits(t, caption)}
        assert fits <= {STYLES[code]}
        named += bool(fits)
    assert named / len(drawn["captions"]) == pytest.approx(0.6, abs=0.03)


def _fits(template, caption):
    before, after = template.split("{}")
    middle = caption.removeprefix(before).removesuffix(after)
    return caption == before + middle + after and WORDS.issuperset(middle.split())


def test_every_caption_covers_the_tokens_of_all_pairs(drawn):
    known = {token for caption in script.every_caption() for token in tokenizer.encode(caption)}
    assert known >= {token for caption in drawn["captions"] for token in tokenizer.encode(caption)}
