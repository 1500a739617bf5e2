"""Skip Tuning: which classes a step scores, the text tower in two halves, and what is kept for all steps."""

import pytest
import torch
from torch.nn import functional as F

from mocoop.errors import CheckpointError, ConfigError
from mocoop.methods import build_method
from mocoop.methods.skiptuning import chances
from tests.methods import naive_recent
from tests.methods.test_against_naive import gradients
from tests.methods.test_coop_and_cocoop import build as build_small
from tests.methods.test_coop_and_cocoop import config
from tests.small_clip import small_clip

NAMES = ["cat", "hot air balloon", "oak tree", "violin", "old shoe", "fox", "red barn", "sea", "tall lamp", "fir"]
OF_ONE_CLASS = torch.tensor([3, 3, 3])


def build(encoder="fast", names=NAMES, **keys):
    """One whose weights have moved, in fp64; three classes and some of the seven others are scored."""
    torch.manual_seed(4)
    keys = {"FIRST_BLOCK": 1, "TOP_RATIO": 0.4, "MAX_TOP": 3, "LAMBDA": 2.0, "TEXT_ENCODER": encoder} | keys
    method = build_method(config("SkipTuning", **keys), names, small_clip(double=True))
    with torch.no_grad():
        for p in method.learned_parameters().values():
            p.add_(0.05 * torch.randn_like(p))
    return method


def images(count=3):
    return torch.randn(count, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("label", [OF_ONE_CLASS, torch.tensor([8, 0, 5]), torch.tensor([8, 0, 5, 1, 7])])
@pytest.mark.parametrize("encoder", ["fast", "plain"])
def test_a_step_is_that_of_the_classes_near_to_its_batch(encoder, label):
    method, image = build(encoder), images(len(label))
    assert method.top == 3 and 0 < sum(method.kept) < 7
    found = method.loss(image, label)["loss"]
    expected = naive_recent.skip_tuning(method, image, label, NAMES, [], top=3)["loss"]
    assert abs(found.item() - expected.item()) < 1e-9
    ours, theirs = gradients(found, method), gradients(expected, method)
    assert all((ours[name] - theirs[name]).abs().max() < 1e-7 for name in theirs)


def test_all_steps_score_as_many_classes_and_those_of_all_their_images():
    method = build()
    for label in ([0, 0, 0], [9, 1, 4], [7, 2, 2]):
        chosen = method.chosen(F.normalize(torch.randn(3, 32, dtype=torch.float64), dim=-1), torch.tensor(label))
        assert len(chosen) == 3 + sum(method.kept) and {*label} <= {*chosen.tolist()}
    many = torch.arange(8)
    assert {*range(8)} <= {*method.chosen(torch.randn(8, 32, dtype=torch.float64), many).tolist()}


@pytest.mark.parametrize("encoder", ["fast", "plain"])
def test_the_text_tower_in_two_halves_is_the_whole_one(encoder):
    method = build(encoder)
    with torch.no_grad():
        below, ends = method.upper_text.below(method.layout), method.layout.lengths - 1
        found = F.normalize(method.upper_text.features(below, ends, method.text_parts()), dim=-1)
        assert (found - method.class_features()).abs().max() < 1e-9


def test_nothing_below_the_first_block_learns_and_all_above_does():
    learned = build().learned_parameters()
    clip = small_clip()
    upper = [name for name, _ in clip.named_parameters() if "resblocks.1" in name or "resblocks.2" in name]
    upper += ["ln_final.weight", "ln_final.bias", "text_projection"]
    upper += ["visual.ln_post.weight", "visual.ln_post.bias", "visual.proj"]
    kinds = {"text_weights.": "", "image_weights.": "visual."}
    found = [kinds[start] + name.removeprefix(start) for name in learned for start in kinds if name.startswith(start)]
    assert sorted(name.replace("/", ".") for name in found) == sorted(upper)


def test_few_classes_or_the_whole_share_are_all_scored():
    assert build(names=NAMES[:1]).kept == []
    whole = build(TOP_RATIO=1.0, MAX_TOP=50)
    assert whole.top == 10 and whole.kept == []
    label = OF_ONE_CLASS
    with torch.no_grad():
        logits, loss = whole(images()), whole.loss(images(), label)["loss"]
    assert torch.allclose(loss, F.cross_entropy(logits, label))


def test_the_chance_of_a_rank_falls_from_one_to_none():
    falling = chances(6, 0.3)
    assert falling[0] == 1 and falling[-1] == 0 and (falling.diff() < 0).all()
    assert falling[1] == pytest.approx(2.718281828 ** (-1 / 0.3), abs=1e-6)
    assert chances(1, 0.3).tolist() == [0] and chances(0, 0.3).tolist() == []


def test_what_was_drawn_is_kept_for_the_same_classes():
    first, again, other = build(), build(), build(names=NAMES[:4])
    drawn = [not kept for kept in first.kept]
    again.load_extra_state({"kept": drawn})
    assert again.extra_state() == {"kept": drawn} and len(again.ranks(3)) == 3 + sum(drawn)
    own = list(other.kept)
    other.load_extra_state({"kept": drawn})
    assert other.kept == own
    with pytest.raises(CheckpointError, match="the ranks that SkipTuning keeps are no list of True and False"):
        again.load_extra_state({"kept": [1]})


def test_a_tower_without_such_a_block_is_refused():
    with pytest.raises(ConfigError, match="TRAINER.SKIP.FIRST_BLOCK is 2, expected 0 to 1 for this CLIP"):
        build_small("SkipTuning", FIRST_BLOCK=2)
