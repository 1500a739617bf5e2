import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mocoop import tiny as store
from mocoop.clip.openai import clip
from mocoop.tiny import load
from scripts import pretrain_tiny as script
from scripts.pretrain_tiny import IMAGES, every_caption, normalised


@pytest.mark.parametrize("name", store.NAMES)
def test_a_short_run_trains_and_leaves_files_that_load(name, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "zeroshot_report", lambda model: {})
    script.pretrain(name, script.Recipe(steps=2, batch=8, warmup=1), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.json", f"{name}.safetensors"]
    model = load(name, tmp_path)
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


@pytest.mark.parametrize("name", store.NAMES)
def test_shipped_models_were_made_by_this_recipe(name):
    sidecar = json.loads((store.FOLDER / f"{name}.json").read_text())
    assert sidecar["architecture"] == script.ARCHITECTURES[name]
    assert sidecar["recipe"].items() >= asdict(script.RECIPES[name]).items()


def test_a_model_is_never_overwritten(tmp_path, monkeypatch, capsys):
    (tmp_path / "rn.safetensors").write_text("mine")
    monkeypatch.setattr("sys.argv", ["pretrain_tiny", "rn", "--output-dir", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert "remove it or pass another --output-dir" in capsys.readouterr().err
    assert (tmp_path / "rn.safetensors").read_text() == "mine"


def test_learning_rate_warms_up_then_falls_to_zero():
    recipe = script.Recipe(steps=1100, warmup=100)
    assert [recipe.lr_factor(step) for step in (0, 49, 99, 100)] == [0.01, 0.5, 1, 1]
    assert recipe.lr_factor(600) == pytest.approx(0.5)
    assert recipe.lr_factor(1100) == pytest.approx(0)


def test_text_features_of_cut_captions_are_clips():
    """A token's row is its place in the vocabulary."""
    torch.manual_seed(0)
    captions = ["a photo of a red plain circle.", "a pale gray checkered ring."]
    vocabulary = script.Vocabulary(every_caption())
    model = store.build(script.ARCHITECTURES["rn"]).eval()
    rows, eot = vocabulary.tokenize(captions)
    for row, tokens, end in zip(rows, clip.tokenize(captions), eot):
        assert [vocabulary.token_ids[i] for i in row[: end + 1]] == tokens[: end + 1].tolist()
    with torch.no_grad():
        expected = model.encode_text(clip.tokenize(captions))
        model.token_embedding = torch.nn.Embedding.from_pretrained(model.token_embedding.weight[vocabulary.token_ids])
        assert torch.allclose(script.encode_text(model, rows, eot), expected, atol=1e-5)


def test_contrastive_loss_is_clips_where_captions_differ_and_shares_where_they_agree():
    torch.manual_seed(0)
    image, text, scale = torch.randn(3, 5), torch.randn(3, 5), torch.tensor(4.0)
    logits = scale * F.normalize(image) @ F.normalize(text).t()
    labels = torch.arange(3)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2
    assert script.contrastive_loss(image, text, scale, ["a", "b", "c"]) == pytest.approx(expected.item(), rel=1e-6)

    text[2] = text[0]  # the first and the last caption are the same: either text is right for either picture
    logits = scale * F.normalize(image) @ F.normalize(text).t()
    rows, columns = -logits.log_softmax(1), -logits.log_softmax(0)
    naive = [((m[0, 0] + m[0, 2]) / 2 + m[1, 1] + (m[2, 0] + m[2, 2]) / 2).item() / 3 for m in (rows, columns)]
    assert script.contrastive_loss(image, text, scale, ["a", "b", "a"]) == pytest.approx(sum(naive) / 2, rel=1e-6)


def test_pictures_are_normalised_as_clips():
    pictures = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1).repeat(3, 3)
    got = normalised(pictures)
    assert got.shape == (2, 3, 1, 1) and got.dtype == torch.float32
    for value, picture in zip((0, 1), got):
        expected = [(value - mean) / std for mean, std in zip(IMAGES.mean, IMAGES.std)]
        assert picture.flatten().tolist() == pytest.approx(expected, rel=1e-5)
