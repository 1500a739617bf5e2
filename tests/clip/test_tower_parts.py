"""What is put into CLIP's towers: fast and plain alike, and as hooks on a copy of CLIP would do it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mocoop import tiny as store
from mocoop.clip.image_encoder import ImageEncoder
from mocoop.clip.lora import LoRA
from mocoop.clip.prompts import Context, PromptLayout, hard_prompts
from mocoop.clip.text_encoder import TextEncoder
from mocoop.clip.tower_parts import Rows, TowerParts
from mocoop.errors import ConfigError
from mocoop.methods.coop import coop_layout
from tests.small_clip import in_fp64, small_clip

NAMES = ["cat", "hot-air balloon", "dog", "the great wall of china", "oak tree", "cat fish"]
C, N = len(NAMES), 3
TEXT_NORMS = ["transformer.resblocks.0.ln_1.weight", "transformer.resblocks.1.ln_2.bias", "ln_final.weight"]
VIT_NORMS = [
    "transformer.resblocks.0.ln_1.weight",
    "transformer.resblocks.1.ln_2.bias",
    "ln_pre.bias",
    "ln_post.weight",
]

BLOCK_WEIGHTS = [
    "transformer.resblocks.1.attn.in_proj_weight",
    "transformer.resblocks.1.attn.out_proj.bias",
    "transformer.resblocks.1.mlp.c_fc.bias",
    "transformer.resblocks.1.mlp.c_proj.weight",
]
VIT_WEIGHTS = [*BLOCK_WEIGHTS, "ln_post.weight", "proj"]
TEXT_WEIGHTS = [*BLOCK_WEIGHTS, "ln_final.bias", "text_projection"]


class Adapter(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down, self.up = nn.Linear(width, 5).double(), nn.Linear(5, width).double()

    def forward(self, x):
        return self.up(F.relu(self.down(x)))


def learned(*shape):
    return nn.Parameter(0.3 * torch.randn(*shape, dtype=torch.float64))


def rows(values, how="replace"):
    return {block: Rows(value, how) for block, value in values.items()}


class Mix(nn.Module):
    """MMRL++'s mix of new rows with those that are there, with a share that learns."""

    def __init__(self):
        super().__init__()
        self.share = learned(1)

    def forward(self, value, there):
        return self.share * value + (1 - self.share) * there


def mixed(*shape):
    return Rows(learned(*shape), mix=Mix())


def lora(width, blocks, dropout=0.0):
    made = {i: LoRA(width, 2, 0.7, dropout).double() for i in blocks}
    for update in made.values():
        for b in update.b:
            nn.init.normal_(b, std=0.2)
    return made


def copied(tower, names):
    own = dict(tower.named_parameters())
    return {name: nn.Parameter(own[name].detach() + 0.2 * torch.randn_like(own[name])) for name in names}


def text_parts(kind, width, model, prompts):
    """Parts for towers of two or more blocks, the last of which is block -1."""
    torch.manual_seed(5)
    last = len(model.transformer.resblocks) - 1
    made = {
        "deep": lambda: dict(rows=rows({1: learned(N, width), last: learned(N, width)})),
        "deep longer than the shared prefix": lambda: dict(rows=rows({1: learned(5, width)})),
        "deep of each class": lambda: dict(rows=rows({1: learned(1, C, N, width)})),
        "deep of each class in the last block": lambda: dict(rows=rows({last: learned(1, C, N, width)})),
        "deep of each prompt": lambda: dict(rows=rows({1: learned(prompts, 1, N, width)})),
        "deep, first shared, then of each class and prompt": lambda: dict(
            rows=rows({0: learned(2, width), 1: learned(prompts, C, N, width), last: learned(N, width)})
        ),
        "inserted": lambda: dict(rows=rows({0: learned(2, width), last: learned(1, width)}, "insert")),
        "inserted, then replaced": lambda: dict(rows={1: Rows(learned(N, width), "insert"), last: mixed(N, width)}),
        "inserted for each class": lambda: dict(rows=rows({1: learned(prompts, C, N, width)}, "insert")),
        "mixed with more than the shared prefix": lambda: dict(rows={0: mixed(5, width), last: mixed(1, C, N, width)}),
        "adapters": lambda: dict(adapters={i: Adapter(width) for i in (0, last)}),
        "lora": lambda: dict(lora=lora(width, (0, 1, last))),
        "norms": lambda: dict(weights=copied(model, TEXT_NORMS)),
        "weights": lambda: dict(weights=copied(model, TEXT_WEIGHTS)),
    }
    made["all but inserted"] = lambda: dict(
        rows=rows({0: learned(N, width), last: learned(1, C, N, width)}),
        **made["adapters"](),
        **made["lora"](),
        **made["norms"](),
    )
    made["all but deep"] = lambda: made["inserted"]() | made["adapters"]() | made["lora"]() | made["norms"]()
    return TowerParts(**made[kind]()) if kind else list(made)


TEXT_KINDS = text_parts(None, 64, small_clip(), 1)


def image_parts(kind, width, visual):
    torch.manual_seed(6)
    last = len(visual.transformer.resblocks) - 1
    made = {
        "tokens": lambda: dict(tokens=learned(N, width)),
        "deep": lambda: dict(
            tokens=learned(N, width), rows=rows({1: learned(N, width), last: learned(N, width)}, "replace_last")
        ),
        "appended": lambda: dict(rows=rows({1: learned(2, width)}, "append")),
        "hidden": lambda: made["deep"]() | dict(hidden=2),
        "inserted, then replaced": lambda: dict(rows={1: Rows(learned(N, width), "insert"), last: mixed(N, width)}),
        "inserted": lambda: dict(rows=rows({1: learned(2, width)}, "insert")),
        "adapters": lambda: dict(adapters={0: Adapter(width), last: Adapter(width)}),
        "lora": lambda: dict(lora=lora(width, (0, last))),
        "norms": lambda: dict(weights=copied(visual, VIT_NORMS)),
        "weights": lambda: dict(weights=copied(visual, VIT_WEIGHTS)),
    }
    made["all but inserted"] = lambda: made["deep"]() | made["adapters"]() | made["lora"]() | made["norms"]()
    return TowerParts(**made[kind]()) if kind else list(made)


IMAGE_KINDS = image_parts(None, 64, small_clip().visual)


def gradients_of(features, leaves):
    weights = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view_as(features)
    return torch.autograd.grad((features * weights).sum(), leaves, allow_unused=True)


def assert_same(found, expected, leaves):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    reached = 0
    for own, other in zip(gradients_of(found, leaves), gradients_of(expected, leaves)):
        own, other = (0.0 if gradient is None else gradient for gradient in (own, other))
        torch.testing.assert_close(
            torch.as_tensor(own + 0 * other), torch.as_tensor(other + 0 * own), rtol=1e-9, atol=1e-9
        )
        reached += bool(torch.as_tensor(other).abs().max() > 0)
    assert reached >= len(leaves) / 2


def towers():
    return {"small": small_clip(double=True), "tiny": in_fp64(store.load("rn")), "tiny-vit": in_fp64(store.load("vit"))}


@pytest.mark.parametrize("chunk", [1, 7, 0])
@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_fast_text_equals_plain(kind, chunk):
    assert_fast_text_is_plain(towers()["small"], kind, chunk)


@pytest.mark.parametrize("which", ["tiny", "tiny-vit"])
@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_fast_text_equals_plain_on_the_embedded_towers(kind, which):
    assert_fast_text_is_plain(towers()[which], kind, 0)


def assert_fast_text_is_plain(model, kind, chunk, prompts=3):
    width = model.ln_final.weight.shape[0]
    layouts = [coop_layout(NAMES, 4, "end")] * (prompts - 1)
    layouts.append(PromptLayout([[Context(0, 3), name, Context(3, 2), "."] for name in NAMES]))
    contexts = [learned(4, width) for _ in range(prompts - 1)] + [learned(5, width)]
    parts = text_parts(kind, width, model, prompts)
    fast, plain = (TextEncoder(model, name, chunk)(contexts, layouts, parts) for name in ("fast", "plain"))
    assert_same(fast, plain, contexts + list(parts.tensors()))


@pytest.mark.parametrize("kind", ["deep", "deep of each class", "inserted", "lora", "adapters"])
def test_hard_prompts_take_parts_too(kind):
    model = small_clip(double=True)
    layout = hard_prompts([f"a photo of a {name}." for name in NAMES])
    parts = text_parts(kind, 64, model, 1)
    fast, plain = (TextEncoder(model, name)([None], [layout], parts) for name in ("fast", "plain"))
    assert_same(fast, plain, list(parts.tensors()))


@pytest.mark.parametrize("which", ["small", "tiny-vit"])
@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_fast_images_equal_plain(kind, which):
    model = towers()[which]
    visual = model.visual
    parts = image_parts(kind, visual.conv1.out_channels, visual)
    torch.manual_seed(7)
    image = torch.randn(2, 3, visual.input_resolution, visual.input_resolution, dtype=torch.float64)
    fast, plain = (ImageEncoder(model, name)(image, parts) for name in ("fast", "plain"))
    assert_same(fast, plain, list(parts.tensors()))


def hooked_copy(model, tower, parts, replace=None):
    """A copy of CLIP whose blocks, CLIP's own, do by hooks and changed weights what the parts say."""
    clone = copy.deepcopy(model)
    own = clone if tower == "text" else clone.visual
    with torch.no_grad():
        for name, value in parts.weights.items():
            dict(own.named_parameters())[name].copy_(value)
        for i, update in parts.lora.items():
            own.transformer.resblocks[i].attn.in_proj_weight.add_(update.weight_update())
    for i, block in enumerate(own.transformer.resblocks):
        if i in parts.rows:
            block.register_forward_pre_hook(lambda _, args, i=i: (replace(args[0].clone(), parts.rows[i].value),))
        if i in parts.adapters:
            adapter = parts.adapters[i]
            block.register_forward_hook(lambda m, args, out, adapter=adapter: out + adapter(m.ln_1(args[0])))
    return clone


@pytest.mark.parametrize(
    "kind", ["deep", "deep of each class", "adapters", "lora", "norms", "weights", "all but inserted"]
)
def test_plain_text_is_what_hooks_on_clips_blocks_do(kind):
    model = small_clip(double=True)
    layout = hard_prompts([f"a photo of a {name}." for name in NAMES])
    parts = text_parts(kind, 64, model, 1)

    def replace(x, rows):  # x (77, C, W)
        rows = rows if rows.dim() == 4 else rows[None, None]
        x[1 : 1 + rows.shape[2]] = rows[0].expand(C, -1, -1).transpose(0, 1)
        return x

    with torch.no_grad():
        expected = hooked_copy(model, "text", parts, replace).encode_text(layout.tokens)
        found, bare = (TextEncoder(model, "plain")([None], [layout], some)[0] for some in (parts, None))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert (found - bare).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["adapters", "lora", "norms", "weights"])
def test_plain_images_are_what_hooks_on_clips_blocks_do(kind):
    model = small_clip(double=True)
    parts = image_parts(kind, 64, model.visual)
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = hooked_copy(model, "image", parts).visual(image)
        found = ImageEncoder(model, "plain")(image, parts)
        assert (found - model.visual(image)).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_prompts_in_images_are_appended_before_ln_pre_and_replaced_before_blocks():
    model = small_clip(double=True)
    parts, visual = image_parts("deep", 64, model.visual), copy.deepcopy(model.visual)
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)

    def append(module, args):
        return (torch.cat([args[0], parts.tokens.expand(2, -1, -1)], dim=1),)

    def replace(module, args):  # (L, B, W)
        return (torch.cat([args[0][:-N], parts.rows[1].value.unsqueeze(1).expand(-1, 2, -1)]),)

    visual.ln_pre.register_forward_pre_hook(append)
    visual.transformer.resblocks[1].register_forward_pre_hook(replace)
    with torch.no_grad():
        torch.testing.assert_close(ImageEncoder(model)(image, parts), visual(image), rtol=1e-9, atol=1e-9)


def test_dropout_is_drawn_for_each_class_and_again_the_same_in_recomputation():
    model, layout = small_clip(double=True), coop_layout(NAMES[:3], 4, "end")
    ctx, updates = learned(4, 64), lora(64, (0, 1, 2), dropout=0.5)
    parts, encoder = TowerParts(lora=updates), TextEncoder(model, chunk=1)

    def encode(ctx):
        torch.manual_seed(11)
        return encoder([ctx], [layout], parts)

    features = encode(ctx)
    (gradient,), direction, step = gradients_of(features, [ctx]), torch.randn_like(ctx), 1e-6
    with torch.no_grad():  # a chunk recomputed with other draws would have another gradient than the loss's
        weights = torch.linspace(-1, 1, features.numel(), dtype=torch.float64).view_as(features)
        up, down = ((encode(ctx + sign * step * direction) * weights).sum() for sign in (1, -1))
    torch.testing.assert_close((up - down) / (2 * step), (gradient * direction).sum(), rtol=1e-5, atol=1e-6)
    twins = coop_layout(["cat", "cat"], 4, "end")
    first, second = TextEncoder(model)([ctx], [twins], parts)[0]
    assert not torch.allclose(first, second)
    for update in updates.values():
        update.eval()
    torch.testing.assert_close(*TextEncoder(model)([ctx], [twins], parts)[0])


def test_nothing_of_clip_is_changed():
    model = small_clip(double=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for kind in TEXT_KINDS:
        assert_fast_text_is_plain(model, kind, 7)
    for kind in IMAGE_KINDS:
        for name in ("fast", "plain"):
            ImageEncoder(model, name)(
                torch.randn(1, 3, 32, 32).double(), image_parts(kind, 64, model.visual)
            ).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_learning_is_seen():
    assert (
        TowerParts(rows=rows({1: learned(2, 4)})).learns
        and TowerParts(rows={1: mixed(2, 4)}).learns
        and TowerParts(lora=lora(4, (0,))).learns
    )
    assert TowerParts(adapters={0: Adapter(4)}).learns and TowerParts(weights={"ln_pre.bias": learned(4)}).learns
    assert not TowerParts(tokens=torch.zeros(2, 4)).learns and not TowerParts().learns


def test_no_graph_without_something_that_learns():
    model, image = small_clip(), torch.randn(1, 3, 32, 32)
    assert not ImageEncoder(model)(image, TowerParts(tokens=torch.randn(2, 64))).requires_grad
    assert ImageEncoder(model)(image, TowerParts(tokens=nn.Parameter(torch.randn(2, 64)))).requires_grad


def test_what_a_tower_cannot_take_is_refused():
    resnet = small_clip(vision="rn")
    with pytest.raises(ConfigError, match="is a ResNet, expected a vision transformer: prompts, adapters and LoRA"):
        ImageEncoder(resnet)(torch.randn(1, 3, 32, 32), TowerParts(tokens=torch.zeros(2, 64)))
    model, layout = small_clip(double=True), hard_prompts(["cat"])
    with pytest.raises(ConfigError, match="4 rows cannot be replaced in a prompt of 3 tokens"):
        TextEncoder(model)([None], [layout], TowerParts(rows=rows({1: learned(4, 64)})))
    with pytest.raises(ConfigError, match="the text tower takes rows by replace or insert, got append"):
        TextEncoder(model)([None], [layout], TowerParts(rows=rows({1: learned(1, 64)}, "append")))
    with pytest.raises(ConfigError, match="the image tower is a ResNet, expected a vision transformer: its rows"):
        ImageEncoder(resnet).states(torch.randn(1, 3, 32, 32), read=range(2))
    with pytest.raises(ValueError, match="rows are put in by one of replace, insert, .* got 'prepend'"):
        Rows(learned(1, 4), "prepend")
    with pytest.raises(ValueError, match="only rows that replace others can be mixed"):
        Rows(learned(1, 4), "insert", Mix())
    appended = {"tokens": learned(2, 64), "rows": rows({1: learned(1, 64)}, "append")}
    for given in ({}, {"tokens": learned(1, 64)}, appended):
        with pytest.raises(ValueError, match="2 rows are hidden from the patches, expected as many behind these, and "):
            TowerParts(hidden=2, **given)


@pytest.mark.parametrize("encoder", ["fast", "plain"])
def test_patches_do_not_see_hidden_rows_and_the_class_token_does(encoder):
    """Read after one block: what the patches are given reaches the class token in the next one."""
    model = towers()["small"]
    del model.visual.transformer.resblocks[1:]
    image, parts = torch.randn(1, 3, 32, 32, dtype=torch.float64), image_parts("tokens", 64, model.visual)
    other = torch.cat([learned(2, 64), parts.tokens[2:]])
    states = [
        ImageEncoder(model, encoder).states(image, TowerParts(tokens=tokens, hidden=hidden), range(8))[0]
        for hidden in (0, 2)
        for tokens in (parts.tokens, other)
    ]
    changed = [(a - b).abs().amax(-1) > 1e-9 for a, b in (states[:2], states[2:])]
    assert changed[0].all() and changed[1].tolist() == [True, *[False] * 4, True, True, True]


@pytest.mark.parametrize("chunk", [7, 0])
@pytest.mark.parametrize("read", [(0, 2, -1), (-1, -2), (1, -1)])
@pytest.mark.parametrize("kind", ["norms", "inserted, then replaced", "deep of each class", "lora"])
def test_chosen_positions_of_prompts_are_read_alike(kind, read, chunk):
    model = towers()["small"]
    parts, layouts, contexts = (
        text_parts(kind, 64, model, 2),
        [coop_layout(NAMES, 4, "end")] * 2,
        [learned(4, 64), learned(4, 64)],
    )
    fast, plain = (TextEncoder(model, name, chunk).states(contexts, layouts, parts, read) for name in ("fast", "plain"))
    assert fast.shape == (2, C, len(read), 64)
    assert_same(fast, plain, contexts + list(parts.tensors()))
    ends = TextEncoder(model)(contexts, layouts, parts)
    if -1 in read:
        encoder = TextEncoder(model)
        torch.testing.assert_close(encoder.project(fast[:, :, read.index(-1)]), ends, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("read", [range(4), (0, 2, -1), range(1, 5)])
@pytest.mark.parametrize("kind", ["norms", "deep", "hidden", "inserted, then replaced"])
def test_chosen_rows_of_images_are_read_alike(kind, read):
    model = towers()["small"]
    parts = image_parts(kind, 64, model.visual)
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    fast, plain = (ImageEncoder(model, name).states(image, parts, read) for name in ("fast", "plain"))
    assert fast.shape == (2, len(read), 64)
    assert_same(fast, plain, list(parts.tensors()))
    if 0 in read:
        encoder = ImageEncoder(model)
        torch.testing.assert_close(encoder.project(fast[:, 0]), encoder(image, parts), rtol=1e-9, atol=1e-9)
