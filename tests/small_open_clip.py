"""Small models of open_clip with random weights, in folders that it loads: config, weights, and a tokenizer's file."""

import functools
import json
import re
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from yacs.config import CfgNode

from mocoop.backbone import load_clip
from mocoop.clip.backbone import Backbone

open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3}
VIT = {"image_size": 32, "layers": 4, "width": 64, "patch_size": 16, "head_width": 32}
TIMM = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = sorted(set(re.findall("[a-z]+", resources.files("mocoop.clip").joinpath("templates.json").read_text("utf-8"))))
PIECES = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *".,-'", *(f"##{x}" for x in LETTERS), *WORDS])
MODELS = {
    "gelu": {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": TEXT},
    "quick_gelu": {"embed_dim": 32, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "scaled": {  # all that a tower like OpenAI's can have beside it: layer scale, other ratios and eps, a bias
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": VIT | {"ls_init_value": 0.3, "mlp_ratio": 3.0, "no_ln_pre": True, "norm_kwargs": {"eps": 1e-3}},
        "text_cfg": TEXT | {"ls_init_value": 0.3, "mlp_ratio": 3.0, "proj_bias": True, "norm_kwargs": {"eps": 1e-3}},
    },
    "resnet": {"embed_dim": 32, "vision_cfg": VIT | {"layers": [1, 1, 1, 1], "width": 16}, "text_cfg": TEXT},
    "timm": {"embed_dim": 32, "custom_text": True, "vision_cfg": TIMM, "text_cfg": TEXT},
    "siglip": {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": TIMM | {"timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {
            **TEXT,
            "context_length": 64,
            "vocab_size": len(PIECES),
            "hf_tokenizer_name": "words",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
        },
    },
    "bert": {
        "embed_dim": 32,
        "vision_cfg": VIT,
        "text_cfg": {"hf_model_name": "words", "hf_tokenizer_name": "words", "hf_pooler_type": "cls_pooler",
                     "hf_proj_type": "linear", "context_length": 64},
    },
    "biomed": {  # as BiomedCLIP
        "embed_dim": 32,
        "vision_cfg": TIMM,
        "text_cfg": {"hf_model_name": "words", "hf_tokenizer_name": "words", "hf_proj_type": "mlp",
                     "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 64},
    },
    "coca": {
        "embed_dim": 32,
        "custom_text": True,
        "vision_cfg": VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True, "context_length": 76},
        "multimodal_cfg": {"context_length": 76, "width": 32, "heads": 2, "layers": 1},
    },
}  # fmt: skip
PREPARED = {"siglip": {"mean": [0.5] * 3, "std": [0.5] * 3}}


class Small:
    """The models of MODELS by name, each made once, under a folder."""

    def __init__(self, root: Path):
        self.root = root
        self.folder, self.backbone, self.own = map(functools.cache, (self._folder, self._backbone, self._own))

    def _folder(self, name: str) -> Path:
        write_model(self.root / name, name)
        return self.root / name

    def _backbone(self, name: str) -> Backbone:
        return load_clip(CfgNode({"MODEL": {"BACKBONE": {"NAME": f"open_clip:local-dir:{self.folder(name)}"}}}))

    def _own(self, name: str) -> torch.nn.Module:
        """open_clip's model, which computes in fp64."""
        model = open_clip.create_model(f"local-dir:{self.folder(name)}", pretrained_text=False)
        return model.double().eval().requires_grad_(False)

    def tokenizer(self, name: str):
        return open_clip.get_tokenizer(f"local-dir:{self.folder(name)}")


def write_model(folder: Path, name: str, seed: int = 0) -> None:
    """Write a model of MODELS to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(json.dumps(MODELS[name]))
    text = config["text_cfg"]
    if "hf_tokenizer_name" in text:
        _write_tokenizer(folder, text["context_length"])
    if "hf_model_name" in text:
        text["hf_model_name"] = str(folder)
        _write_bert(folder)
    prepared = PREPARED.get(name, {})
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": prepared}))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False)
    with torch.no_grad():  # enough contrast that features of different prompts differ
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")


def _write_tokenizer(folder: Path, length: int) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=length, **special).save_pretrained(folder)


def _write_bert(folder: Path) -> None:
    from transformers import BertConfig

    sizes = {"vocab_size": len(PIECES), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertConfig(**sizes, intermediate_size=64, max_position_embeddings=64).save_pretrained(folder)
