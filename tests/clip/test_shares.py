"""Encoders shared out among ranks: features, and gradients on every rank, are those of one process."""

from functools import cache

import torch

from mocoop.clip.features import hard_features
from mocoop.clip.image_encoder import ImageEncoder
from mocoop.clip.lora import LoRA
from mocoop.clip.prompts import Context, PromptLayout
from mocoop.clip.shares import apart, together
from mocoop.clip.text_encoder import TextEncoder
from mocoop.clip.tower_parts import TowerParts
from mocoop.distributed import own_places, rank
from mocoop.methods.coop import coop_layout
from tests.clip.test_tower_parts import IMAGE_KINDS, NAMES, TEXT_KINDS, gradients_of, image_parts, learned, text_parts
from tests.ranks import computed_by_ranks
from tests.small_clip import small_clip

RANKS, IMAGES = 4, 5  # of 6 classes and 5 images: two ranks, and one, have none of their own


@cache
def clip():
    return small_clip(double=True)


def text(kind: str, encoder: str = "fast", names=NAMES) -> list[torch.Tensor]:
    """Features of three prompts, and their gradients."""
    parts = text_parts(kind, 64, clip(), 3)
    layouts = [coop_layout(names, 4, "end")] * 2
    layouts.append(PromptLayout([[Context(0, 3), name, Context(3, 2), "."] for name in names]))
    contexts = [learned(4, 64), learned(4, 64), learned(5, 64)]
    with together():
        features = TextEncoder(clip(), encoder, chunk=7)(contexts, layouts, parts)
    return [features.detach(), *gradients_of(features, contexts + list(parts.tensors()))]


def images(kind: str, encoder: str = "fast") -> list[torch.Tensor]:
    parts = image_parts(kind, 64, clip().visual)
    torch.manual_seed(7)
    image = torch.randn(IMAGES, 3, 32, 32, dtype=torch.float64)
    with together(IMAGES):
        features = ImageEncoder(clip(), encoder)(image[own_places(IMAGES)], parts)
    return [features.detach(), *gradients_of(features, list(parts.tensors()))]


def everything() -> dict[str, list[torch.Tensor]]:
    found = {f"text, {kind}": text(kind) for kind in TEXT_KINDS}
    found |= {f"images, {kind}": images(kind) for kind in IMAGE_KINDS}
    found |= {"plain text": text("all but inserted", "plain"), "plain images": images("all but inserted", "plain")}
    found["fewer classes than ranks"] = text("lora", names=NAMES[:2])
    return found


def test_ranks_together_give_features_and_gradients_of_one_process(tmp_path):
    expected = everything()
    for found in computed_by_ranks(everything, RANKS, tmp_path):
        assert found.keys() == expected.keys()
        for name in expected:
            for own, other in zip(found[name], expected[name], strict=True):
                torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-9, msg=name)


def test_dropout_differs_between_ranks_and_leaves_their_common_random_numbers_alike(tmp_path):
    def compute() -> dict:
        torch.manual_seed(3)
        update = LoRA(64, 2, 0.7, dropout=0.5).double()
        torch.nn.init.ones_(update.b[0])
        layout, ctx = coop_layout([NAMES[0]] * 2, 4, "end"), learned(4, 64)
        with together():
            features = TextEncoder(clip())([ctx], [layout], TowerParts(lora={0: update}))[0]
        return {"features": features.detach(), "next": torch.rand(3)}

    first, second = computed_by_ranks(compute, 2, tmp_path)
    assert torch.equal(first["features"], second["features"]) and torch.equal(first["next"], second["next"])
    assert not torch.allclose(*first["features"])  # one prompt, encoded by each rank with draws of its own


def test_apart_each_rank_encodes_what_is_its_own(tmp_path):
    def compute() -> dict:
        layout = coop_layout(NAMES[: rank() + 1], 4, "end")
        torch.manual_seed(rank())
        ctx = learned(4, 64)
        with together(), apart():
            features = TextEncoder(clip())([ctx], [layout])
        return {"found": features.detach(), "expected": TextEncoder(clip(), "plain")([ctx], [layout]).detach()}

    for number, result in enumerate(computed_by_ranks(compute, 2, tmp_path)):
        assert result["found"].shape[1] == number + 1
        torch.testing.assert_close(result["found"], result["expected"], rtol=1e-9, atol=1e-9)


def test_places_of_the_ranks(tmp_path):
    found = computed_by_ranks(lambda: {"of 8": own_places(8), "of 5": own_places(5)}, 4, tmp_path)
    assert [each["of 8"] for each in found] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [each["of 5"] for each in found] == [[0, 1], [2, 3], [4, 4], [4, 4]]


def test_one_process_does_not_read_the_text_features_that_ranks_made_together(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path / "cache"))

    def compute():
        with together():
            return {"features": hard_features(TextEncoder(small_clip()), ["a photo of a {}."], NAMES)}

    for _ in range(2):
        shared = computed_by_ranks(compute, 2, tmp_path)
        assert len(list((tmp_path / "cache/text").iterdir())) == 1
    own = compute()
    assert len(list((tmp_path / "cache/text").iterdir())) == 2
    torch.testing.assert_close(own["features"], shared[0]["features"])
