"""The fast text encoder against CLIP's own 77-position pass: features and gradients."""

import pytest
import torch
from torch import nn

from mocoop.clip.prompts import Context, PromptLayout, hard_prompts
from mocoop.clip.text_encoder import TextEncoder, encode_plain
from mocoop.methods.coop import coop_layout
from tests.clip.test_tower_parts import assert_same, gradients_of
from tests.small_clip import small_clip

NAMES = ["cat", "hot-air balloon", "dog", "the great wall of china", "oak tree", "cat fish", "tabby cat"]


def expert_layouts():
    sides = [(2, 0), (3, 2), (0, 1), (2, 0)]
    layouts = []
    for before, after in sides:
        context = [Context(before, after)] if after else []
        layouts.append(PromptLayout([[Context(0, before), name, *context, "."] for name in NAMES]))
    return layouts, [before + after for before, after in sides]


def assert_equal_to_plain(model, layouts, contexts, chunk=0):
    contexts = [ctx.requires_grad_() for ctx in contexts]
    fast, plain = (TextEncoder(model, kind, chunk)(contexts, layouts) for kind in ("fast", "plain"))
    assert_same(fast, plain, contexts)


@pytest.mark.parametrize("chunk", [0, 1, 7, 10, 1000])
def test_experts_with_contexts_on_both_sides(chunk):
    model = small_clip(double=True)
    layouts, lengths = expert_layouts()
    contexts = [torch.randn(n, 64, dtype=torch.float64) for n in lengths]
    assert_equal_to_plain(model, layouts, contexts, chunk)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [False, True])
def test_coop_layouts(position, class_specific):
    model = small_clip(double=True)
    layout = coop_layout(NAMES, 5, position, class_specific)
    ctx = torch.randn(5 * (len(NAMES) if class_specific else 1), 64, dtype=torch.float64)
    assert_equal_to_plain(model, [layout], [ctx])


@pytest.mark.parametrize("chunk", [0, 3, 7])
def test_one_layout_with_a_context_per_image(chunk):
    model = small_clip(double=True)
    layout = coop_layout(NAMES, 4, "end")
    contexts = list(torch.randn(5, 4, 64, dtype=torch.float64))
    assert_equal_to_plain(model, [layout] * 5, contexts, chunk)


def test_resnet_clip_has_the_same_text_tower():
    model = small_clip(vision="rn", double=True)
    layout = coop_layout(NAMES, 4, "end")
    assert_equal_to_plain(model, [layout], [torch.randn(4, 64, dtype=torch.float64)])


def test_hard_prompts_equal_encode_text():
    model = small_clip()
    texts = [f"a photo of a {name}." for name in NAMES]
    layout = hard_prompts(texts)
    expected = model.encode_text(layout.tokens)
    with torch.no_grad():
        fast = TextEncoder(model)([None, None], [layout, hard_prompts([f"a {name}" for name in NAMES])])
    torch.testing.assert_close(fast[0], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(encode_plain(model, None, layout), expected, rtol=1e-5, atol=1e-5)


def test_a_single_class():
    model = small_clip(double=True)
    layout = coop_layout(["cat"], 4, "end")
    assert_equal_to_plain(model, [layout], [torch.randn(4, 64, dtype=torch.float64)])


def test_another_activation_than_quick_gelu():
    model = small_clip(double=True)
    for block in model.transformer.resblocks:
        block.mlp.gelu = nn.GELU()
    layout = coop_layout(NAMES, 4, "end")
    assert_equal_to_plain(model, [layout], [torch.randn(4, 64, dtype=torch.float64)])


def test_positions_after_eot_and_padding_are_not_computed(monkeypatch):
    model = small_clip()
    layout = coop_layout(NAMES, 4, "end")
    seen, layer = [], model.transformer.resblocks[0].ln_2
    whole = layer.forward
    monkeypatch.setattr(layer, "forward", lambda x: seen.append(x) or whole(x))
    TextEncoder(model)([torch.randn(4, 64)], [layout])
    positions = sum(x.numel() // x.shape[-1] for x in seen)
    assert positions == layout.prefix_length + int((layout.lengths - layout.prefix_length).sum())


def test_halving_the_chunk_ends_at_one():
    model = small_clip()
    encoder = TextEncoder(model, chunk=5)
    sizes = []
    while encoder.halve_chunk():
        sizes.append(encoder.tower.chunk)
    assert sizes == [2, 1]
    assert not TextEncoder(model, "plain").halve_chunk()


def test_halving_an_automatic_chunk_starts_from_what_was_used():
    model = small_clip()
    encoder = TextEncoder(model)
    encoder([torch.randn(4, 64)], [coop_layout(NAMES, 4, "end")])
    assert encoder.halve_chunk() and encoder.tower.chunk == len(NAMES) // 2


@pytest.mark.parametrize("chunk", [0, 1, 3, 10])
@pytest.mark.parametrize("chosen", [[2, 0], [1], [3, 3, 1]])
def test_chosen_prompts_are_encoded_alone(chosen, chunk):
    model = small_clip(double=True)
    layouts, lengths = expert_layouts()
    contexts = [torch.randn(n, 64, dtype=torch.float64, requires_grad=True) for n in lengths]
    encoders = [TextEncoder(model, kind, chunk) for kind in ("fast", "plain", "fast")]
    fast, plain, again = (encoder(contexts, layouts, chosen=torch.tensor(chosen)) for encoder in encoders)
    assert fast.shape == (len(chosen), len(NAMES), 32)
    assert_same(fast, plain, [contexts[g] for g in chosen])
    others = [ctx for g, ctx in enumerate(contexts) if g not in chosen]
    assert not any(gradient is not None and gradient.any() for gradient in gradients_of(again, others))


def test_a_plan_is_made_once_for_the_same_prompts():
    model, made = small_clip(), []
    encoder, layouts = TextEncoder(model), [coop_layout(NAMES, 4, "end")] * 2
    for _ in range(3):
        encoder(torch.randn(2, 4, 64, requires_grad=True).unbind(0), layouts)
        made.append(dict(encoder.tower._plans[True]))
    assert len(made[0]) == 1 and made[0].keys() == made[2].keys()
    encoder(torch.randn(1, 4, 64, requires_grad=True).unbind(0), layouts[:1])
    assert len(encoder.tower._plans[True]) == 2
