"""PromptKD beside a naive computation, and its teacher: any finished run, on any CLIP, named by its folder."""

import math
import signal

import pytest
import torch

import train
from mocoop.errors import ConfigError, TrainingError
from mocoop.methods import build_method
from mocoop.results.record import read_record
from mocoop.runs.trained_run import load_run
from mocoop.training.checkpoint import MODEL, load_checkpoint
from tests.faults.moments import Moments, kill, training_steps
from tests.methods.naive import hard_feature, image_feature, image_features, unit
from tests.methods.test_against_naive import MORE, NAMES, gradients
from tests.methods.test_coop_and_cocoop import config
from tests.small_clip import small_clip

KEYS = {"PROMPT_DEPTH_VISION": 2, "N_CTX_VISION": 3, "KD_WEIGHT": 7.0, "TEMPERATURE": 2.0}
EVERYONE = NAMES + MORE


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=generator), torch.tensor([0, 2, 1, -1])


def softened(clip):
    with torch.no_grad():
        clip.logit_scale.fill_(2.0)  # so that no softmax is saturated
    return clip


def with_data(cfg):
    cfg.DATASET.update({"SUBSAMPLE_CLASSES": "base", "NUM_SHOTS": 16})
    cfg.MODEL = cfg.__class__({"BACKBONE": {"NAME": "small"}})
    return cfg


def teacher_of(name, **keys):
    """A run's method on another CLIP, whose features are of size 24."""
    clip = softened(small_clip(seed=3, double=True))
    with torch.no_grad():
        clip.visual.proj = torch.nn.Parameter(clip.visual.proj[:, :24], requires_grad=False)
        clip.text_projection = torch.nn.Parameter(clip.text_projection[:, :24], requires_grad=False)
    torch.manual_seed(4)
    return build_method(with_data(config(name, **keys)), EVERYONE, clip, EVERYONE).double().eval()


def build(teacher=None, **keys):
    torch.manual_seed(0)
    clip = softened(small_clip(double=True, width=128))
    method = build_method(with_data(config("PromptKD", **(KEYS | keys))), NAMES, clip, EVERYONE, teacher).double()
    with torch.no_grad():
        for p in method.learned_parameters().values():
            p.add_(0.05 * torch.randn_like(p))
    return method.train()


def naive_loss(method, image, taught, wanted):
    """KL of each class of each image, as the release sums it, through a network computed by hand."""
    first, norm, _, last = method.project
    features = image_features_of(method, image)
    hidden = torch.stack([first.weight @ f + first.bias for f in features])
    mean, spread = hidden.mean(0), ((hidden - hidden.mean(0)) ** 2).mean(0)
    hidden = torch.relu(norm.weight * (hidden - mean) / (spread + norm.eps).sqrt() + norm.bias)
    mapped = torch.stack([unit(last.weight @ h + last.bias) for h in hidden])
    total = 0
    for f, row in zip(mapped, wanted):
        p, q = torch.softmax(row / 2, 0), torch.softmax(math.exp(2.0) * (taught @ f) / 2, 0)
        total = total + sum(a * (a.log() - b.log()) for a, b in zip(p, q))
    return 7 * total * 2**2 / (len(image) * len(taught))


def image_features_of(method, image):
    return [image_feature(method.clip_model, one, list(method.visual_prompts)) for one in image]


def taught_by_clip(clip, image, names):
    text = torch.stack([unit(hard_feature(clip, f"a photo of a {name}, a type of pet.")) for name in names])
    return text, clip.logit_scale.exp() * image_features(clip, image) @ text.t()


@pytest.mark.parametrize("unlabelled, names", [("all", EVERYONE), ("trained", NAMES)])
@pytest.mark.parametrize("taught", [False, True])
def test_loss_and_gradients(batch, taught, unlabelled, names):
    teacher = None
    if taught:
        teacher = teacher_of("ZeroshotCLIP")
        teacher = build_method(teacher.cfg, names, teacher.clip_model).double().eval()
    method = build(teacher, UNLABELLED=unlabelled)
    assert method.taught_names == names
    text, wanted = taught_by_clip(teacher.clip_model if taught else method.clip_model, batch[0], names)
    expected, found = naive_loss(method, batch[0], text, wanted), method.loss(*batch)["loss"]
    assert abs(found.item() - expected.item()) < 1e-9 < found.item()
    ours, theirs = gradients(found, method), gradients(expected, method)
    for name in theirs:
        assert (ours[name] - theirs[name]).abs().max() < 1e-7, name
    assert all(value.abs().max() > 1e-7 for name, value in ours.items() if name != "project.0.bias")  # normalised away


def test_no_label_is_read(batch):
    torch.manual_seed(0)
    first = build().loss(*batch)
    assert build().loss(batch[0], torch.full((4,), -1)) == first


@pytest.mark.parametrize(
    "name, keys", [("CoOp", {}), ("CoCoOp", {"N_CTX": 2}), ("MoCoOp", {}), ("TipAdapter", {}), ("ProLIP", {})]
)
def test_whatever_method_taught_its_scores_are_followed(batch, name, keys):
    teacher = teacher_of(name, **keys)
    method = build(teacher)
    assert torch.equal(method.teacher_logits(batch[0]), teacher.predict(batch[0])["logits"])
    assert method.vectors.shape == (5, 24) and torch.allclose(method.vectors.norm(dim=1), torch.ones(5).double())
    assert method.project[3].out_features == 24
    assert method.knowledge[0] == f"teacher: {name} on small (OxfordPets, base classes, 16 shots)"
    before = method.loss(*batch)["loss"]
    optimizer = torch.optim.SGD(method.parameter_groups(0.05), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        method.backward(method.loss(*batch))
        optimizer.step()
    assert method.loss(*batch)["loss"] < before


def test_what_was_taught_travels_and_other_classes_are_refused(batch):
    method = build(teacher_of("ZeroshotCLIP"))
    cfg = with_data(config("PromptKD", **(KEYS | method.structure())))
    for names in (MORE, [NAMES[2], MORE[0]]):
        other = build_method(cfg, names, method.clip_model).double().eval()
        other.load_learned_state(method.learned_state())
        rows = [EVERYONE.index(name) for name in names]
        assert torch.equal(other.class_features(), method.vectors[rows])
        assert other.knowledge == method.knowledge and other(batch[0]).shape == (4, 2)
    with pytest.raises(ConfigError, match="PromptKD has its teacher's features of the .*, got the class name 'fox'"):
        build_method(cfg, ["cat", "fox"], method.clip_model).class_features()
    with pytest.raises(ConfigError, match="no run teaches"):
        build_method(cfg, NAMES, method.clip_model).double().train().loss(*batch)
    with pytest.raises(TrainingError, match="a batch, got one of 1 image, expected 2 or more"):
        method.loss(batch[0][:1], batch[1][:1])


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught_run(runs):
    """A student of a finished run of CoOp on another CLIP, on unlabelled images of all classes."""
    teacher = runs.reference("CoOp")
    run = runs.new("PromptKD", "TRAINER.PROMPTKD.TEACHER", teacher, "TRAINER.PROMPTKD.UNLABELLED", "all")
    assert run.start().status == 0
    return run


def test_a_finished_run_teaches_a_student_that_is_tested_without_it(runs, taught_run, tmp_path):
    record = read_record(taught_run.out / "result.json")
    assert record["knowledge"] == [
        "teacher: CoOp on tiny (ShapesBoth, base classes, 2 shots)",
        "unlabelled images of all classes",
    ]
    assert record["num_classes"] == 6
    state = load_checkpoint(max((taught_run.out / MODEL).glob("model.pth.tar-*")))
    assert state["state_dict"]["vectors"].shape[0] == 12  # of base and new classes
    history = (taught_run.out / "history.csv").read_text().splitlines()
    assert len(history) - 1 == 4 * 24 // 4  # epochs of two images of each of the twelve classes, four at a time
    opts = ["DATASET.SUBSAMPLE_CLASSES", "new", "TRAINER.PROMPTKD.TEACHER", "gone"]
    test = runs.new("PromptKD", *opts, flags=["--eval-only", "--model-dir", str(taught_run.out)])
    assert train.main(test.argv()) == 0
    tested = read_record(test.out / "result.json")
    assert (tested["num_classes"], tested["knowledge"]) == (6, record["knowledge"])
    student = load_run(taught_run.out)
    expected = load_run(runs.reference("CoOp")).with_classes(student.method.taught_names).method.class_features()
    assert torch.allclose(student.method.vectors, expected, atol=1e-6)


def test_a_student_that_was_stopped_goes_on_with_its_teacher(runs, taught_run):
    opts = [*taught_run.opts, "TRAIN.CHECKPOINT_STEPS", "2"]
    run = runs.new("PromptKD", *opts)
    assert run.start(training_steps(Moments(kill, at=32))).status == -signal.SIGKILL
    assert run.start().status == 0
    states = [load_checkpoint(each.out / MODEL / "model.pth.tar-4")["state_dict"] for each in (run, taught_run)]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


@pytest.mark.parametrize(
    "opts, message",
    [
        (["TRAINER.PROMPTKD.TEACHER", "nowhere"], "no finished run in nowhere"),
        (["TRAINER.PROMPTKD.TEACHER_SIZE", "8"], "no run teaches"),
    ],
)
def test_what_is_wrong_with_a_teacher_is_one_line(runs, capsys, opts, message):
    assert train.main(runs.new("PromptKD", *opts).argv()) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_teacher_of_other_classes_is_refused(runs, capsys):
    opts = ["TRAINER.PROMPTKD.TEACHER", runs.reference("TaskRes"), "TRAINER.PROMPTKD.UNLABELLED", "all"]
    assert train.main(runs.new("PromptKD", *opts).argv()) == 2
    assert "a classifier of the trained classes" in capsys.readouterr().err.splitlines()[-1]
