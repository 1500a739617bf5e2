"""Steps, tests, bits and memory on a GPU."""

import pytest
import torch

import train
from mocoop.clip.openai import CLIP
from mocoop.clip.text_encoder import TextEncoder
from mocoop.methods import build_method
from mocoop.methods.coop import coop_layout
from mocoop.methods.keys import PRECISIONS
from mocoop.training.checkpoint import load_checkpoint
from mocoop.training.precision import Precision
from tests.methods.naive import REFERENCES
from tests.methods.test_coop_and_cocoop import config
from tests.shipped import STEPPING
from tests.small_clip import small_clip

NAMES = ["cat", "oak tree", "dog"]


@pytest.mark.parametrize("prec", PRECISIONS)
@pytest.mark.parametrize("name", STEPPING)
def test_every_method_steps_and_is_tested_in_every_precision(gpu, name, prec):
    torch.manual_seed(0)
    keys = REFERENCES.get(name, (None, {}))[1]
    image, label = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    exact = build_method(config(name, **keys), NAMES, small_clip()).train()
    precision = Precision(prec, gpu)
    method = build_method(config(name, **keys), NAMES, precision.prepare(small_clip())).to(gpu).train()
    with torch.no_grad():
        for p, q in zip(method.learned_parameters().values(), exact.learned_parameters().values()):
            p.copy_(q)
    before = method.learned_state()
    optimizer = torch.optim.SGD(method.parameter_groups(0.01), lr=0.01)
    torch.manual_seed(1)
    with precision.autocast():
        parts = method.loss(image.to(gpu), label.to(gpu))
    precision.backward(method, parts)
    precision.update(method, optimizer, clip_norm=1.0)
    torch.manual_seed(1)
    assert parts["loss"].item() == pytest.approx(exact.loss(image, label)["loss"].item(), rel=0.1)
    assert any(not torch.equal(value, before[key]) for key, value in method.learned_state().items())
    with torch.no_grad(), precision.autocast(testing=True):
        assert torch.isfinite(method.eval()(image.to(gpu))).all()


@pytest.mark.parametrize("name", ["CoOp", "MoCoOp", "MaPLe"])
def test_deterministic_runs_have_the_same_bits(gpu, runs, name):
    found = []
    for _ in range(2):
        run = runs.new(name, "TRAIN.DETERMINISTIC", "True")
        assert train.main(run.argv()) == 0
        found.append(load_checkpoint(run.out / "prompt_learner/model.pth.tar-4")["state_dict"])
    torch.use_deterministic_algorithms(False)
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


def test_the_chunk_is_halved_when_memory_really_runs_out(gpu):
    torch.manual_seed(0)
    clip = vit_b16().to(gpu)
    classes = [f"class {i} of many" for i in range(600)]
    layout = coop_layout(classes, 4, "end").to(gpu)
    ctx = torch.randn(4, 512, device=gpu, requires_grad=True)
    encoder, halved = TextEncoder(clip, chunk=len(classes)), 0
    whole = torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_allocated() + 1.5e9) / whole))
    try:
        while True:
            try:
                encoder([ctx], [layout])[0].square().sum().backward()
                break
            except torch.cuda.OutOfMemoryError:
                ctx.grad = None
                assert encoder.halve_chunk()
                halved += 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert halved and torch.isfinite(ctx.grad).all()


@pytest.mark.parametrize("experts", ["chosen", "all"])
def test_imagenets_shape_at_batch_one_fits(gpu, experts, record_property):
    """E=20, C=1000, ViT-B/16 with random weights, amp: the released setting for ImageNet."""
    torch.manual_seed(0)
    cfg = config("MoCoOp", TEXT_LOSS_EXPERTS=experts)
    cfg.DATASET.NAME = "ImageNet"
    method = build_method(cfg, [f"class {i}" for i in range(1000)], vit_b16()).to(gpu).train()
    precision = Precision("amp", gpu)
    with precision.autocast():
        parts = method.loss(torch.randn(1, 3, 224, 224, device=gpu), torch.tensor([3], device=gpu))
    precision.backward(method, parts)
    peak = torch.cuda.max_memory_allocated() / 2**30
    record_property("peak_gib", round(peak, 2))
    print(f"\nE=20, C=1000, batch 1, {experts}: {peak:.1f} GiB")
    assert peak < 0.95 * torch.cuda.get_device_properties(gpu).total_memory / 2**30


def vit_b16() -> CLIP:
    return CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12).float().eval().requires_grad_(False)
