"""Each method's losses and gradients beside a naive computation (naive.py), in fp64, on a ViT with several heads.

MoCoOp and CoCoOp have their own references (test_mocoop*.py, test_coop_and_cocoop.py).
"""

import pytest
import torch

from mocoop.methods import build_method, get_method
from mocoop.methods.prograd import without_conflict
from tests.methods import naive, naive_recent
from tests.methods.test_coop_and_cocoop import config
from tests.small_clip import small_clip

REFERENCES = naive.REFERENCES | naive_recent.REFERENCES
NAMES, MORE = ["cat", "hot air balloon", "oak tree"], ["violin", "old shoe"]


def build(name: str, **keys):
    """A method in fp64, its learned tensors moved away from where they start."""
    torch.manual_seed(0)
    clip = small_clip(double=True, width=128)
    with torch.no_grad():
        clip.logit_scale.fill_(2.0)  # so that no softmax is saturated
    trainer, _, base = name.partition(" on ")
    cfg = config(trainer, **(REFERENCES[name][1] | keys))
    if base:  # DePT's or a mixture's, with a weight of KgCoOp's of its own
        get_method(base).settings(cfg).update(REFERENCES[base][1] | ({"W": 2.0} if base == "KgCoOp" else {}))
    method = build_method(cfg, NAMES, clip, NAMES + MORE).double()
    with torch.no_grad():
        for p in method.learned_parameters().values():
            p.add_(0.05 * torch.randn_like(p))
    if trainer == "TAC":
        method.fit(None)  # finds its clusters, and asks for no images
    return method.train()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=generator), torch.tensor([0, 2, 1, 2])


def gradients(value, method):
    """Of each learned tensor; zeros where the value does not depend on it."""
    learned = method.learned_parameters()
    if not value.requires_grad:
        return {name: torch.zeros_like(p) for name, p in learned.items()}
    found = torch.autograd.grad(value, learned.values(), retain_graph=True, allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(learned.items(), found)}


@pytest.mark.parametrize("encoder", ["fast", "plain"])
@pytest.mark.parametrize("name", REFERENCES)
def test_losses_and_gradients(batch, name, encoder):
    method, reference = build(name, TEXT_ENCODER=encoder), REFERENCES[name][0]
    image, label = batch
    if method.views > 1:
        image = torch.stack([image, *(image.roll(i, 3) for i in range(1, method.views))], 1)
    expected, found = reference(method, image, label, NAMES, MORE), method.loss(image, label)
    assert found.keys() - {"acc"} == expected.keys()
    for part, value in expected.items():
        assert abs(found[part].item() - value.item()) < 1e-9 * max(1, abs(value.item())), part
        ours, theirs = gradients(found[part], method), gradients(value, method)
        for tensor in theirs:
            assert (ours[tensor] - theirs[tensor]).abs().max() < 1e-7, (part, tensor)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_step_moves_every_learned_tensor(batch, name):
    method = build(name, **({"TOP_K": 3} if name.startswith("Mixture") else {}))  # every expert answers
    method.backward(method.loss(*batch))
    still = [key for key, p in method.learned_parameters().items() if p.grad is None or not p.grad.abs().max() > 0]
    assert still == (["head"] if name == "TwoSFS" else [])  # the head learns in a stage of its own


def test_prograd_takes_away_what_goes_against_clip(batch):
    method = build("ProGrad")
    expected = REFERENCES["ProGrad"][0](method, *batch, NAMES, MORE)
    g, g_kl = (gradients(expected[part], method)["ctx"] for part in ("loss", "loss_kl"))
    along = (g * g_kl).sum() / g_kl.norm()
    projected = g - along * g_kl / g_kl.norm() if along < 0 else g
    method.backward(method.loss(*batch))
    assert (method.ctx.grad - projected).abs().max() < 1e-6  # the surgery is in fp32
    against = without_conflict(g, -g, 1.0)
    assert against.abs().max() < 1e-6 * g.abs().max() + 1e-6
    assert torch.allclose(without_conflict(g, g, 1.0), g, atol=1e-6)
    assert torch.allclose(without_conflict(g, torch.zeros_like(g), 1.0), g, atol=1e-6)  # no direction: g stands
