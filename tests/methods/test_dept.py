"""DePT's head: which classes it speaks for, at which rate it learns, and over what it can stand."""

import pytest
import torch

from mocoop.errors import ConfigError
from mocoop.methods import build_method
from mocoop.training.run_state import with_structure
from tests.methods.test_against_naive import NAMES, build
from tests.methods.test_coop_and_cocoop import config
from tests.small_clip import small_clip

IMAGE = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def over(trained, names):
    """What the trained method says of images of other classes."""
    method = build_method(config("DePT", HEAD_CLASSES=tuple(NAMES)), names, trained.clip_model).double().eval()
    method.load_learned_state(trained.learned_state())
    with torch.no_grad():
        return method(IMAGE), method.logit_scale * method.frozen_image_features(IMAGE) @ method.encode_classes().t()


def test_scores_are_mixed_where_the_head_knows_all_classes():
    trained = build("DePT on KgCoOp").eval()
    found, cosines = over(trained, [NAMES[2], NAMES[0]])
    with torch.no_grad():
        features = trained.clip_model.encode_image(IMAGE)
        film, head = trained.film_lp_img, trained.linear_probe_proj
        linear = (film.scale * features + film.bias) @ head.weight.t() + head.bias
    assert torch.allclose(found, 0.3 * cosines + 0.7 * linear[:, [2, 0]])


def test_one_class_that_it_does_not_know_and_the_base_speaks_alone():
    trained = build("DePT on KgCoOp").eval()
    found, cosines = over(trained, [NAMES[0], "violin"])
    assert torch.allclose(found, cosines)


def test_the_head_learns_at_a_rate_of_its_own():
    base, head = build("DePT on KgCoOp").parameter_groups(0.002)
    assert (base["lr"], head["lr"]) == (0.002, pytest.approx(0.013))
    assert [p.shape for p in base["params"]] == [(4, 64)] and len(head["params"]) == 6


def test_the_base_structure_travels_with_its_own_node():
    method = build("DePT on MaPLe")
    structure = method.structure()
    cfg = with_structure(config("DePT"), structure)
    assert (cfg.TRAINER.DEPT.BASE, cfg.TRAINER.MAPLE.PROMPT_DEPTH) == ("MaPLe", 2)
    assert cfg.TRAINER.DEPT.HEAD_CLASSES == tuple(NAMES)
    again = build_method(cfg, ["violin"], small_clip(double=True, width=128)).double()
    again.load_learned_state(method.learned_state())
    assert torch.equal(again.base.ctx, method.base.ctx)


@pytest.mark.parametrize("base", ["MoCoOp", "PromptSRC", "ZeroshotCLIP", "DePT", "TwoSFS", "kgcoop"])
def test_what_it_cannot_stand_beside_is_refused(base):
    with pytest.raises(ConfigError, match=f"TRAINER.DEPT.BASE is '{base}', expected a method with one prompt"):
        build_method(config("DePT", BASE=base), NAMES, small_clip())
