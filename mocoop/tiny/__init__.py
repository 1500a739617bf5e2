"""Two small CLIPs that come with the library, for 64-pixel images: "rn" (ModifiedResNet) and "vit" (transformer).

They are OpenAI's unmodified class, pre-trained by `scripts/pretrain_tiny.py` on rendered pictures (mocoop/shapes); they
know some hundred words of that world and no other.

Each is two files, `<name>.safetensors` (half precision) beside `<name>.json` (what it is). Of the 49,408 rows of CLIP's
token embedding only those that pre-training used are stored, with their token ids; the others are zero on loading.
Loading therefore gives the features of the pre-trained model rounded to half precision.
"""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from mocoop.clip.openai import CLIP, CONTEXT_LENGTH, VOCABULARY_SIZE, tokenizer
from mocoop.errors import CheckpointError, ConfigError
from mocoop.files import file_sha256, write_file

NAMES = ("rn", "vit")
FOLDER = Path(__file__).parent
TOKEN_ROWS, TOKEN_IDS = "token_embedding.weight", "token_ids"


def weights_file(name: str, folder: Path = FOLDER) -> Path:
    """Where the weights of an embedded CLIP are."""
    return folder / f"{name}.safetensors"


def build(architecture: dict) -> CLIP:
    """OpenAI's `CLIP` of this architecture (its keyword arguments but context length and vocabulary), untrained."""
    return CLIP(**architecture, context_length=CONTEXT_LENGTH, vocab_size=VOCABULARY_SIZE)


def pack(model: CLIP, token_ids: list[int]) -> dict[str, Tensor]:
    """What is stored of a model: tensors in half precision, and of the token embedding the rows `token_ids`."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    state[TOKEN_IDS] = torch.tensor(token_ids, dtype=torch.int32)
    state[TOKEN_ROWS] = state[TOKEN_ROWS][token_ids]
    return state


def unpack(packed: dict[str, Tensor], architecture: dict) -> CLIP:
    """The model that `pack` was given, rounded to half precision, in float32, frozen and in evaluation mode.

    The state of torch's random generator is left as it was: no weight is drawn.
    """
    with torch.device("meta"):
        model = build(architecture)
    state = {k: v.float() if v.is_floating_point() else v for k, v in packed.items() if k != TOKEN_IDS}
    table = torch.zeros(model.token_embedding.weight.shape)
    table[packed[TOKEN_IDS].long()] = state[TOKEN_ROWS]
    model.load_state_dict(state | {TOKEN_ROWS: table}, assign=True)
    blocks: Any = model.transformer.resblocks
    for block in blocks:
        block.attn_mask = model.build_attention_mask()  # no part of the state
    return model.requires_grad_(False).eval()


def save(name: str, packed: dict[str, Tensor], sidecar: dict, folder: Path = FOLDER) -> None:
    """Write both files; the sidecar gains the weights' SHA-256."""
    weights = weights_file(name, folder)
    write_file(weights, to_bytes(packed))
    write_file(folder / f"{name}.json", json.dumps(sidecar | {"sha256": file_sha256(weights)}, indent=2) + "\n")


def load(name: str, folder: Path = FOLDER) -> CLIP:
    """The embedded CLIP "rn" or "vit": float32, on the CPU, frozen, in evaluation mode; for (B, 3, 64, 64) images.

    Raises ConfigError for another name and CheckpointError for files that are missing or damaged.
    """
    packed, sidecar = _read(name, folder)
    return unpack(packed, sidecar["architecture"])


@cache
def trained_tokens(name: str) -> frozenset[int]:
    """Ids of the byte-pair tokens that were pre-trained."""
    packed, _ = _read(name, FOLDER)
    return frozenset(packed[TOKEN_IDS].tolist())


def untrained_words(name: str, classnames: Iterable[str]) -> list[str]:
    """Words of the class names with a byte-pair token that pre-training of the CLIP `name` never used.

    Each word once, in order of first appearance; "_" counts as a space, as it does in prompts. The embedding of such a
    token is zero, so what the model says about the word means nothing.
    """
    trained = trained_tokens(name)
    words = dict.fromkeys(word for classname in classnames for word in classname.replace("_", " ").split())
    return [word for word in words if not trained.issuperset(tokenizer.encode(word))]


def _read(name: str, folder: Path) -> tuple[dict[str, Tensor], dict]:
    if name not in NAMES:
        raise ConfigError(f"embedded CLIP: got {name!r}, expected one of {', '.join(NAMES)}")
    weights, described = weights_file(name, folder), folder / f"{name}.json"
    try:
        sidecar = json.loads(described.read_text(encoding="utf-8"))
        expected, found = sidecar["sha256"], file_sha256(weights)
        if found != expected:
            raise CheckpointError(
                f"{weights}: got SHA-256 {found[:16]}..., expected {expected[:16]}...; the file is "
                "damaged, install the library again"
            )
        return from_bytes(weights.read_bytes()), sidecar
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{weights}: no readable weights with their .json ({error}); reinstall mocoop") from error
