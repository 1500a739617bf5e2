"""An export is compared with the method itself, and not with what was made of it for the export."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mocoop.errors import ConfigError
from mocoop.export.onnx_file import check_alike
from mocoop.export.scorers import image_map
from mocoop.methods import PromptMethod
from tests.small_clip import small_clip

RUN = SimpleNamespace(method=SimpleNamespace(entry=SimpleNamespace(name="Mine")))
LOGITS = torch.tensor([[20.0, 10.0]])


@pytest.mark.parametrize("wrong", [0.117, float("nan")])
def test_other_logits_are_refused_and_rounding_is_not(caplog, wrong):
    caplog.set_level("INFO")
    check_alike(RUN, "its files", LOGITS + 1e-3, LOGITS)
    assert "the logits of its files are those of the method within 1.0e-03" in caplog.text
    with pytest.raises(ConfigError, match=f"^Mine cannot be exported: the logits of model.onnx .* by {wrong:.2g}"):
        check_alike(RUN, "model.onnx", LOGITS + torch.tensor([0.0, wrong]), LOGITS)


def test_what_was_not_run_is_said(caplog):
    caplog.set_level("INFO")
    check_alike(RUN, "model.onnx", None, LOGITS)
    assert "model.onnx was not run; with the package onnxruntime it would be compared with the method" in caplog.text


def mapped(transform) -> PromptMethod:
    """A method with this transform_image, of D = 32, which gets a matrix (D, D) and the features."""

    class Mapped(PromptMethod):
        entry = SimpleNamespace(name="Mapped", trained_classes=False, structural_keys=[], settings=lambda cfg: {})
        transform_image = transform

        def setup(self):
            torch.manual_seed(1)
            self.matrix = nn.Parameter(torch.randn(32, 32))

    return Mapped({}, ["cat"], small_clip())


@pytest.mark.parametrize(
    "transform",
    [
        lambda self, f: f @ self.matrix,
        lambda self, f: f - self.matrix[0],
        lambda self, f: F.normalize(f, dim=-1) + 0.1 * self.matrix[0],
        lambda self, f: 2 * F.normalize(f, dim=-1) @ self.matrix + self.matrix[1],
    ],
)
def test_an_affine_map_is_written(transform):
    method, features = mapped(transform), 5 * torch.randn(6, 32)
    with torch.no_grad():
        found, expected = image_map(method), method.transform_image(features)
    features = F.normalize(features, dim=-1) if found["image_map.unit"] else features
    assert torch.allclose(features @ found["image_map.weight"] + found["image_map.bias"], expected, atol=1e-3)


@pytest.mark.parametrize(
    "transform", [lambda self, f: (f @ self.matrix).relu(), lambda self, f: f * f.norm(dim=-1)[:, None]]
)
def test_another_map_is_refused(transform):
    with pytest.raises(ConfigError, match="Mapped cannot be exported: its transform_image is no affine map"):
        image_map(mapped(transform))


def test_none_is_nothing():
    assert image_map(mapped(PromptMethod.transform_image)) == {}
