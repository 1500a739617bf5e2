"""The fast image encoder gives CLIP's own features, and the gradients of its LayerNorms."""

import pytest
import torch
from torch import nn

from mocoop.clip.image_encoder import ImageEncoder
from tests.small_clip import small_clip


def encoders(**kwargs):
    model = small_clip(**kwargs)
    return model, ImageEncoder(model, "fast"), ImageEncoder(model, "plain")


@pytest.mark.parametrize("double, tolerance", [(True, 1e-10), (False, 2e-5)])
def test_features_and_gradients_are_those_of_clip(double, tolerance):
    model, fast, plain = encoders(double=double)
    image = torch.randn(3, 3, 32, 32, dtype=model.visual.conv1.weight.dtype)
    norms = [p for name, p in model.visual.named_parameters() if ".ln_1." in name or ".ln_2." in name]
    for p in norms:
        p.requires_grad_(True)
    features = [encoder(image) for encoder in (fast, plain)]
    torch.testing.assert_close(*features, rtol=tolerance, atol=tolerance)
    weights = torch.randn_like(features[0])
    gradients = [torch.autograd.grad((found * weights).sum(), norms) for found in features]
    for found, expected in zip(*gradients):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients[1])


def test_another_activation_and_no_projection():
    model, fast, plain = encoders(double=True)
    model.visual.proj = None
    for block in model.visual.transformer.resblocks:
        block.mlp.gelu = nn.GELU()
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(fast(image), plain(image), rtol=1e-10, atol=1e-10)


def test_the_last_layer_sees_the_class_token_alone(monkeypatch):
    model, fast, _ = encoders()
    rows = []
    for block in model.visual.transformer.resblocks:
        whole = block.ln_2.forward
        monkeypatch.setattr(block.ln_2, "forward", lambda x, whole=whole: rows.append(x.shape[1]) or whole(x))
    fast(torch.randn(2, 3, 32, 32))
    assert rows == [5, 1]  # 2 x 2 patches and the class token


def test_a_resnet_is_encoded_plainly():
    model, fast, plain = encoders(vision="rn")
    image = torch.randn(2, 3, 32, 32)
    assert not fast.is_fast and torch.equal(fast(image), plain(image))
