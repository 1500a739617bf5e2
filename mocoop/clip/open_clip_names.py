"""Models of open_clip by name: `<model>/<tag or file>`, `hf-hub:<organisation>/<model>` or `local-dir:<folder>`.

A tag and a name on the hub are leave to download. open_clip keeps what it fetches, and compares hashes.
"""

import contextlib
import difflib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mocoop.clip.hugging_face import Described, open_clip_model
from mocoop.clip.open_clip import OpenCLIP, tokenizer_of
from mocoop.clip.tokenizer import Tokenizer
from mocoop.errors import CheckpointError, ConfigError, MocoopError, reason_of

PREFIX, HUB, FOLDER = "open_clip:", "hf-hub:", "local-dir:"


def load_open_clip(name: str, activation: str = "auto") -> OpenCLIP:
    """The model of a name that begins with "open_clip:".

    Args:
        activation: auto, what its config says; quick_gelu or gelu.

    Raises:
        ConfigError: for a package that is missing, an unknown name, and an activation that is not the weights'.
        CheckpointError: for weights that are damaged, of another model, or cannot be fetched.
    """
    _require_open_clip(name)
    model_name, weights = _parsed(name)
    is_local = model_name.startswith(FOLDER) or weights is not None and Path(weights).is_file()
    with _quiet_root(), _offline() if is_local else contextlib.nullcontext():
        try:
            config = _config(model_name, weights, activation)
            return OpenCLIP(*_created(model_name, weights, config))
        except MocoopError:
            raise
        except Exception as error:  # open_clip, transformers and the hub raise many kinds
            hint = "; what is not in the hub's cache is not fetched for local weights" if is_local else ""
            raise CheckpointError(f"cannot load {name}: {reason_of(error, 300)}{hint}") from error


def open_clip_of(state: dict[str, Tensor], described: Described) -> OpenCLIP:
    """The model of transformers that open_clip has, too, with its weights under open_clip's names.

    Raises ConfigError for a package that is missing, and CheckpointError for sizes that open_clip has not, or weights
    that do not fit.
    """
    _require_open_clip(str(described.path))
    import open_clip

    name = open_clip_model(described)
    with _quiet_root(), _offline(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that are not loaded by it
        config = open_clip.get_model_config(name) | {"quick_gelu": described.activation == "quick_gelu"}
        try:
            model = open_clip.create_model(name, load_weights=False, quick_gelu=config["quick_gelu"])
            model.load_state_dict(state)
            tokenizer = tokenizer_of(_tokenizer(name, config["text_cfg"], described.folder))
        except Exception as error:
            reason = f"{reason_of(error, 300)}; nothing is fetched for local weights"
            raise CheckpointError(f"cannot load {described.path} as open_clip's {name}: {reason}") from error
    if described.is_tanh:
        for module in model.modules():
            if isinstance(module, nn.GELU):
                module.approximate = "tanh"
        config["text_cfg"] = config["text_cfg"] | {"act_kwargs": {"approximate": "tanh"}}
    _take_preprocessing_of_tags(model, name, str(described.path))
    model.visual.preprocess_cfg |= described.images
    return OpenCLIP(model, config, tokenizer)


def _tokenizer(name: str, text: dict, folder: Path) -> Any:
    """The tokenizer that lies in a folder; open_clip's own where none does."""
    import open_clip

    if "hf_tokenizer_name" not in text or not (folder / "tokenizer_config.json").is_file():
        return open_clip.get_tokenizer(name)
    from open_clip.tokenizer import HFTokenizer

    return HFTokenizer(str(folder), context_length=text["context_length"], **text.get("tokenizer_kwargs", {}))


def _require_open_clip(name: str) -> None:
    if importlib.util.find_spec("open_clip") is None:
        raise ConfigError(f"MODEL.BACKBONE.NAME {name} needs a package: pip install open_clip_torch")


def local_files(name: str) -> list[Path]:
    """The files that a name that begins with "open_clip:" names itself: its weights, or all of its folder."""
    rest = name.removeprefix(PREFIX)
    if rest.startswith(FOLDER):
        folder = Path(rest.removeprefix(FOLDER)).expanduser()
        return sorted(path for path in folder.glob("*") if path.is_file())
    path = Path(rest.partition("/")[2]).expanduser()
    return [path] if path.is_file() and not rest.startswith(HUB) else []


def _parsed(name: str) -> tuple[str, str | None]:
    """open_clip's name of the model, and its tag or file of weights. Raises ConfigError for a name without these."""
    import open_clip

    rest = name.removeprefix(PREFIX)
    if rest.startswith((HUB, FOLDER)):
        return str(Path(rest).expanduser()) if rest.startswith(FOLDER + "~") else rest, None
    model_name, _, weights = rest.partition("/")
    known = open_clip.list_models()
    if model_name not in known:
        close = difflib.get_close_matches(model_name, known, n=3) or known[:3]
        raise ConfigError(f"MODEL.BACKBONE.NAME is {name!r}: open_clip has no such model, but {', '.join(close)}, ...")
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    path = Path(weights).expanduser()
    if weights and path.is_file():
        return model_name, str(path)
    if not open_clip.get_pretrained_cfg(model_name, weights):
        expected = f"{PREFIX}{model_name}/ and a file, or one of {', '.join(tags)}" if tags else "a file of weights"
        raise ConfigError(f"MODEL.BACKBONE.NAME is {name!r}, expected {expected}")
    return model_name, weights


def _config(model_name: str, weights: str | None, activation: str) -> dict:
    """The config that the model is built from. Raises ConfigError where a tag's weights have another activation."""
    import open_clip

    config = open_clip.get_model_config(model_name)
    quick = bool(config.get("quick_gelu", False)) if activation == "auto" else activation == "quick_gelu"
    if tag := open_clip.get_pretrained_cfg(model_name, weights or ""):
        trained = bool(tag.get("quick_gelu", False))
        if trained != quick:
            own = "quick_gelu" if trained else "gelu"
            raise ConfigError(f"{weights} of {model_name} was trained with {own}: set MODEL.BACKBONE.ACTIVATION {own}")
    return config | {"quick_gelu": quick}


def _created(model_name: str, weights: str | None, config: dict) -> tuple[nn.Module, dict, Tokenizer]:
    import open_clip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an activation that the name alone does not have; `_config` has decided
        model = open_clip.create_model(
            model_name, weights, pretrained_text=False, require_pretrained=True, quick_gelu=config["quick_gelu"]
        )
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    _take_preprocessing_of_tags(model, model_name, weights)
    return model, config, tokenizer_of(open_clip.get_tokenizer(model_name))


def _take_preprocessing_of_tags(model: Any, model_name: str, weights: str | None) -> None:
    """A file does not say how its images were prepared: as those of the tags of its model, if these agree."""
    import open_clip

    if weights is None or open_clip.get_pretrained_cfg(model_name, weights):
        return
    names = open_clip.list_pretrained_tags_by_model(model_name)
    tags = [open_clip.get_pretrained_cfg(model_name, name) for name in names]
    for key in ("mean", "std", "interpolation", "resize_mode"):
        values = {tuple(v) if isinstance(v, (list, tuple)) else v for tag in tags if (v := tag.get(key)) is not None}
        if len(values) == 1:
            model.visual.preprocess_cfg[key] = values.pop()


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Nothing is fetched from the hub, for a tokenizer or a text tower's config: what is in its cache is taken."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _quiet_root() -> Iterator[None]:
    """open_clip logs by functions of `logging` that give the root logger a handler where it has none."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        yield
    finally:
        root.removeHandler(silent)
