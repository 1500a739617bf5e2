"""Loading CLIP from files in OpenAI's formats; damaged, unsafe and foreign files are refused in one line."""

import warnings

import pytest
import torch
from safetensors.torch import save_file
from yacs.config import CfgNode

from mocoop.backbone import check_input, load_clip
from mocoop.clip.jit_archive import is_jit_archive
from mocoop.clip.openai import CLIP
from mocoop.errors import CheckpointError, ConfigError
from mocoop.methods import build_method, extend_cfg
from tests.small_clip import small_clip


def config(name, size=32):
    return CfgNode({"MODEL": {"BACKBONE": {"NAME": str(name)}}, "INPUT": {"SIZE": (size, size)}})


def save_jit(model, path):
    """A traced archive with OpenAI's extra entries, as their files have."""
    size = model.visual.input_resolution
    for key, value in {"input_resolution": size, "context_length": 77, "vocab_size": 49408}.items():
        vars(model).pop(key, None)
        model.register_buffer(key, torch.tensor(value))
    example = torch.randn(1, 3, size, size), torch.ones(1, 77, dtype=torch.long)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, example, check_trace=False), str(path))


def assert_same(loaded, model):
    assert type(loaded) is CLIP and not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.parametrize("vision", ["vit", "rn"])
def test_jit_archive(tmp_path, vision):
    model = small_clip(vision=vision)
    save_jit(small_clip(vision=vision), tmp_path / "clip.pt")
    assert is_jit_archive(tmp_path / "clip.pt")
    assert_same(load_clip(config(tmp_path / "clip.pt")), model)


def test_plain_state_dict_and_safetensors(tmp_path):
    model = small_clip()
    torch.save(model.state_dict(), tmp_path / "clip.pth")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "clip.safetensors")
    for name in ("clip.pth", "clip.safetensors"):
        assert_same(load_clip(config(tmp_path / name)), model)
    torch.save({k: v.half() for k, v in model.state_dict().items()}, tmp_path / "clip.pth")
    loaded = load_clip(config(tmp_path / "clip.pth"))
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    torch.testing.assert_close(loaded.text_projection, model.text_projection, rtol=1e-3, atol=1e-3)


def test_truncated_files(tmp_path):
    save_jit(small_clip(), tmp_path / "clip.pt")
    whole = (tmp_path / "clip.pt").read_bytes()
    for part in (0, 100, len(whole) // 2):
        (tmp_path / "part.pt").write_bytes(whole[:part])
        with pytest.raises(CheckpointError, match="part.pt"):
            load_clip(config(tmp_path / "part.pt"))


def test_weights_of_something_else(tmp_path):
    whole = small_clip().state_dict()
    for state, message in (
        ({"fc.weight": torch.zeros(3)}, "holds no CLIP weights"),
        ({name: value for name, value in whole.items() if name != "text_projection"}, "is not a complete CLIP"),
        (whole | {"visual.conv1.weight": torch.zeros(1280, 3, 14, 14)},
         "of width 1280 need not .* open_clip:ViT-H-14/FILE"),  # whose heads are not known
    ):  # fmt: skip
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(CheckpointError, match=message):
            load_clip(config(tmp_path / "other.pth"))
    with pytest.raises(ConfigError, match="MODEL.BACKBONE.NAME is 'ViT-B/17', expected one of RN50"):
        load_clip(config("ViT-B/17"))


def test_images_must_be_as_large_and_normalised_as_the_model_s_were(caplog):
    model = small_clip()
    check_input(config("x", 32), model)
    with pytest.raises(ConfigError, match=r"INPUT.SIZE is \(64, 64\), expected \(32, 32\)"):
        check_input(config("x", 64), model)
    mean, std = list(model.preprocessing.mean), list(model.preprocessing.std)
    cfg = config("x", 32)
    cfg.INPUT |= {"TRANSFORMS": ["random_flip"], "PIXEL_MEAN": mean, "PIXEL_STD": std}
    cfg.MODEL.BACKBONE.CHECK_INPUT = True
    right = r"\['random_flip', 'normalize'\]"
    expected = rf"^INPUT.TRANSFORMS is \['random_flip'\], expected {right} for x: set INPUT.TRANSFORMS \"{right}\"$"
    with pytest.raises(ConfigError, match=expected):
        check_input(cfg, model)
    cfg.INPUT.PIXEL_MEAN = [0.5, 0.5, 0.5]
    with pytest.raises(ConfigError, match=r"PIXEL_MEAN is .*; INPUT.TRANSFORMS is"):
        check_input(cfg, model)
    cfg.INPUT |= {"TRANSFORMS": ["random_flip", "normalize"], "PIXEL_MEAN": mean}
    check_input(cfg, model)
    cfg.INPUT.TRANSFORMS = []
    check_input(cfg, model, as_trained=True)  # only warned of
    assert "INPUT.TRANSFORMS is [], expected ['normalize'] for x" in caplog.text


# Its depth takes the time, and tracing; small_clip goes through the same reader above.
@pytest.mark.parametrize("name, depth", [pytest.param("ViT-B-16.pt", 12, marks=pytest.mark.slow), ("ViT-B-16.pth", 2)])
def test_true_vit_b16_size_loads_by_path_and_trains_one_step(tmp_path, name, depth):
    torch.manual_seed(0)
    model = CLIP(512, 224, depth, 768, 16, 77, 49408, 512, 8, depth).eval()
    if name.endswith(".pt"):
        save_jit(model, tmp_path / name)
    else:
        torch.save(model.half().state_dict(), tmp_path / name)
    cfg = CfgNode({"TRAINER": {"NAME": "MoCoOp"}, "DATASET": {"NAME": "OxfordPets"}, "TRAIN": {}, "TEST": {}})
    extend_cfg(cfg)
    clip_model = load_clip(config(tmp_path / name))
    assert clip_model.visual.input_resolution == 224
    method = build_method(cfg, ["cat", "dog"], clip_model, ["cat", "dog", "red fox"])
    optimizer = torch.optim.SGD(method.parameter_groups(0.002), lr=0.002)
    before = method.learned_state()
    loss = method.loss(torch.randn(2, 3, 224, 224), torch.tensor([0, 1]))["loss"]
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    learned = method.learned_state().items()
    changed = {name for name, value in learned if value.numel() and not torch.equal(value, before[name])}
    norm = "layer_norms.transformer/resblocks/0/ln_1/weight"
    assert {"ctx_before.0", "router.weight", "correction", norm} <= changed
