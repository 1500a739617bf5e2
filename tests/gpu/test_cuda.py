"""Steps, tests, bits and memory on a GPU."""

import pytest
import torch

import train
from mocoop.clip.openai import CLIP
from mocoop.clip.text_encoder import TextEncoder
from mocoop.engine import get_cfg_default
from mocoop.methods import build_method, extend_cfg, get_method
from mocoop.methods.coop import coop_layout
from mocoop.methods.keys import PRECISIONS
from mocoop.training.checkpoint import load_checkpoint
from mocoop.training.learner import Learner, Precision
from tests.methods.test_against_naive import REFERENCES
from tests.methods.test_coop_and_cocoop import config
from tests.shipped import STEPPING
from tests.small_clip import small_clip

NAMES = ["cat", "oak tree", "dog"]


def learner_of(name: str, prec: str, gpu, graph: str = "off", **keys) -> Learner:
    """A learner of a small CLIP, from the same start for each precision."""
    torch.manual_seed(0)
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.TRAINER.NAME, cfg.DATASET.NAME, cfg.TRAIN.CUDA_GRAPH = name, "OxfordPets", graph
    cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH = "sgd", 0.01, 1000
    settings = get_method(name).settings(cfg)
    for key, value in {**REFERENCES.get(name, (None, {}))[1], **keys}.items():
        settings[key] = value
    precision = Precision(prec, gpu)
    exact = build_method(cfg, NAMES, small_clip())
    method = build_method(cfg, NAMES, precision.prepare(small_clip())).to(gpu).train()
    with torch.no_grad():
        for p, q in zip(method.learned_parameters().values(), exact.learned_parameters().values()):
            p.copy_(q)
    return Learner(cfg, method, precision, batches=100)


def batches(count: int, size: int = 4) -> list[dict]:
    torch.manual_seed(1)
    return [
        {"img": torch.randn(size, 3, 32, 32), "label": torch.arange(size) % 3, "impath": ["a.png"]}
        for _ in range(count)
    ]


def trained(learner: Learner, given: list[dict]) -> list[float]:
    torch.manual_seed(2)
    return [learner.step(batch, "a step").read()["loss"] for batch in given]


@pytest.mark.parametrize("prec", PRECISIONS)
@pytest.mark.parametrize("name", STEPPING)
def test_every_method_steps_and_is_tested_in_every_precision(gpu, name, prec):
    learner, given = learner_of(name, prec, gpu), batches(1)
    before, precision = learner.method.learned_state(), learner.precision
    first = trained(learner, given)[0]
    exact = trained(learner_of(name, "fp32", torch.device("cpu")), given)[0]
    assert first == pytest.approx(exact, rel=0.1)
    for _ in range(30):  # amp's scaler starts high: steps whose gradients overflow are skipped, each halves the scale
        if any(not torch.equal(value, before[key]) for key, value in learner.method.learned_state().items()):
            break
        trained(learner, given)
    else:
        pytest.fail("nothing has moved")
    assert precision.take_skipped() == 0 or prec == "amp"
    with torch.no_grad(), precision.autocast(testing=True):
        assert torch.isfinite(learner.method.eval()(given[0]["img"].to(gpu))).all()


VARIANTS = {"CLIPLoRA": {"DROPOUT": 0.0}, "MoCoOp, chosen experts": {"TEXT_LOSS_EXPERTS": "chosen"}}


@pytest.mark.parametrize("prec", PRECISIONS)
@pytest.mark.parametrize("variant", [*STEPPING, "MoCoOp, chosen experts"])
def test_a_graph_gives_what_eager_steps_do(gpu, variant, prec):
    name, keys = variant.partition(",")[0], VARIANTS.get(variant, {})
    given = [*batches(19), *batches(1, size=3)]
    eager, graphed = (learner_of(name, prec, gpu, graph, **keys) for graph in ("off", "auto"))
    losses = [trained(learner, given) for learner in (eager, graphed)]
    assert graphed.graph.reason is None and graphed.graph._graph is not None
    tolerance = dict(rtol=1e-4, atol=1e-5) if prec == "fp32" else dict(rtol=3e-2, atol=3e-3)
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), **tolerance)
    for own, other in zip(graphed.method.learned_state().values(), eager.method.learned_state().values()):
        torch.testing.assert_close(own.float(), other.float(), **tolerance)


def test_dropout_is_drawn_anew_in_each_replay(gpu):
    learner = learner_of("CLIPLoRA", "fp32", gpu, "auto", DROPOUT=0.5)
    learner.optimizer.param_groups[0]["lr"] = 0.0
    with torch.no_grad():
        for p in learner.method.learned_parameters().values():
            p.add_(0.1 * torch.randn_like(p))
    losses = trained(learner, batches(1) * 12)
    assert learner.graph._graph is not None and len(set(losses[-6:])) > 1


def test_a_method_that_reads_a_value_runs_eagerly(gpu, monkeypatch, caplog):
    method = get_method("CoOp").build
    whole = method.loss
    monkeypatch.setattr(method, "loss", lambda self, *given: (parts := whole(self, *given), parts["loss"].item())[0])
    learner = learner_of("CoOp", "fp32", gpu, "auto")
    losses = trained(learner, batches(8))
    assert all(map(torch.isfinite, torch.tensor(losses))) and learner.graph.reason
    assert any("steps run eagerly" in record.message for record in caplog.records)


def test_no_step_waits_for_the_device(gpu):
    for name in STEPPING:
        learner, given = learner_of(name, "amp", gpu), batches(3)
        given = [{**batch, "img": batch["img"].to(gpu), "label": batch["label"].to(gpu)} for batch in given]
        learner.step(given[0], "a step").read()
        torch.cuda.set_sync_debug_mode("error")
        try:
            values = [learner.step(batch, "a step") for batch in given[1:]]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert all("loss" in value.read() for value in values)


@pytest.mark.parametrize("name", ["CoOp", "MoCoOp"])
def test_a_run_that_was_stopped_in_a_graph_resumes(gpu, runs, name):
    settings = ["OPTIM.MAX_EPOCH", "8", "TRAIN.CHECKPOINT_STEPS", "1"]
    whole, stopped = runs.new(name, *settings), runs.new(name, *settings)
    assert train.main(whole.argv()) == 0
    learner_step, count = Learner.step, [0]

    def stopping(self, batch, place):
        count[0] += 1
        if count[0] == 15:
            raise KeyboardInterrupt
        return learner_step(self, batch, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", stopping)
        assert train.main(stopped.argv()) == 130
    assert train.main(stopped.argv()) == 0
    states = [load_checkpoint(run.out / "prompt_learner/model.pth.tar-8")["state_dict"] for run in (whole, stopped)]
    for own, other in zip(*(state.values() for state in states)):
        torch.testing.assert_close(own.float(), other.float(), rtol=1e-2, atol=1e-3)


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
    classes = [f"class {i} of many" for i in range(2000)]
    layout = coop_layout(classes, 4, "end").to(gpu)
    ctx = torch.randn(4, 512, device=gpu, requires_grad=True)
    encoder, halved = TextEncoder(clip, chunk=len(classes)), 0
    whole = torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_allocated() + 1.0e9) / whole))
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
