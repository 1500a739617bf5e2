"""Loading CLIP: by OpenAI's name, by open_clip's, from a file, or the small ones that the project carries."""

import importlib
import logging
import urllib.error
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from yacs.config import CfgNode

from mocoop import tiny
from mocoop.clip.backbone import Backbone
from mocoop.clip.hugging_face import described, is_hugging_face, openai_names, siglip_names
from mocoop.clip.identity import copied, files_key, found_sha256, kept_sha256, module_sha256, tensors_sha256
from mocoop.clip.open_clip_names import FOLDER, PREFIX, load_open_clip, local_files, open_clip_of
from mocoop.clip.openai import CLIP, CONTEXT_LENGTH, MODEL_URLS, build_clip, clip_modules
from mocoop.clip.weights import is_published, read_weights, weights_in
from mocoop.errors import CheckpointError, ConfigError, one_line, reason_of
from mocoop.files import cache_folder

EMBEDDED = {"tiny": "rn", "tiny-vit": "vit"}
WIDEST_VIT = 1024  # of OpenAI's; their heads are all 64 wide
ACTIVATIONS = ("auto", "quick_gelu", "gelu")
WEIGHTS_FOLDER = Path("~/.cache/clip")  # where OpenAI's package keeps its downloads

logger = logging.getLogger(__name__)


def add_backbone_config(cfg: CfgNode) -> None:
    """Add the keys of MODEL.BACKBONE that `load_clip` reads beside its NAME."""
    # of the MLPs; auto: quick_gelu for OpenAI's own weights, by their hash, and for others with a line that says so
    cfg.MODEL.BACKBONE.setdefault("ACTIVATION", "auto")
    # whether INPUT has to prepare images as the backbone's were; False: a difference is a line of the log
    cfg.MODEL.BACKBONE.setdefault("CHECK_INPUT", True)


def load_clip(cfg: CfgNode) -> Backbone:
    """The CLIP that MODEL.BACKBONE.NAME names: frozen, in evaluation mode, fp32, on the CPU.

    The name is one of OpenAI's ("ViT-B/16"; downloaded on first use and checked against its SHA-256), the path of a
    file (OpenAI's JIT archive, a state dict saved with torch.save, or safetensors) or of a folder that transformers'
    `save_pretrained` wrote, "tiny" or "tiny-vit", or a name of open_clip's behind "open_clip:" (see `load_open_clip`).
    MODEL.BACKBONE.ACTIVATION says what its MLPs compute: weights do not tell, and the wrong one only costs accuracy.

    Raises:
        ConfigError: for a name that is none of these, or an unknown activation.
        CheckpointError: for a file that is damaged, unsafe or not a CLIP, or a download that fails.
    """
    model = _read(cfg) if _kept is None else _kept.load(cfg)
    for note in model.notes:
        logger.warning("%s", note)
    return model


def keep_loaded() -> None:
    """From now on in this process, the CLIP that was loaded last is kept, and whoever asks for it gets a copy."""
    global _kept
    _kept = _kept or KeptClip()


class KeptClip:
    """The CLIP that was loaded last. To a run, a copy of it is as good as a CLIP that was just read, to the bit.

    Attributes:
        drawn: the state of torch's random generator after it was read, by that before: weights may be drawn before
            they are set. Empty where none are; a state that was never met is met by reading the files again.
    """

    def __init__(self) -> None:
        self.key: tuple[str, ...] = ()
        self.model: Backbone | None = None
        self.drawn: dict[bytes, Tensor] = {}

    def load(self, cfg: CfgNode) -> Backbone:
        name, state = cfg.MODEL.BACKBONE.NAME, torch.get_rng_state()
        key = (name, cfg.MODEL.BACKBONE.get("ACTIVATION", "auto"), files_key(weight_files(name), _kind(name)))
        before = state.numpy().tobytes()
        if self.key != key:
            self.key, self.model, self.drawn = key, None, {}
        if self.model is not None and (not self.drawn or before in self.drawn):
            torch.set_rng_state(self.drawn.get(before, state))
            return copied(self.model)
        model = _read(cfg)
        if not torch.equal(after := torch.get_rng_state(), state):
            self.drawn[before] = after
        if self.model is None:
            self.model = model
            if cache_folder() is not None:  # what is kept there is known by these hashes, which each copy has, too
                for part, without in ((model, "visual."), (model.visual, "")):
                    module_sha256(part, without)
        return copied(self.model)


_kept: KeptClip | None = None


def _read(cfg: CfgNode) -> Backbone:
    model = _load(cfg).float().eval().requires_grad_(False)
    name = cfg.MODEL.BACKBONE.NAME
    state = model.model.state_dict().items()
    model.sha256 = kept_sha256(weight_files(name), _kind(name), lambda: tensors_sha256(sorted(state)))
    return model


def _load(cfg: CfgNode) -> Backbone:
    name, activation = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.get("ACTIVATION", "auto")
    if activation not in ACTIVATIONS:
        raise ConfigError(f"MODEL.BACKBONE.ACTIVATION is {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
    if name.startswith(PREFIX):
        return load_open_clip(name, activation)
    if name in EMBEDDED:
        model = tiny.load(EMBEDDED[name])
    elif name in MODEL_URLS:
        model = _build(read_weights(_download(name)), name)
    elif path := _path(name):
        return _from_path(path, name, activation)
    else:
        known = ", ".join([*MODEL_URLS, *EMBEDDED])
        expected = f"one of {known}, the path of a CLIP's file or folder, or {PREFIX}MODEL/WEIGHTS"
        raise ConfigError(f"MODEL.BACKBONE.NAME is {name!r}, expected {expected}")
    return _with_activation(model, name, activation)


def clip_sha256(cfg: CfgNode) -> str:
    """What the CLIP that MODEL.BACKBONE.NAME names is known by; it is loaded only if that is not kept.

    Raises what `load_clip` does.
    """
    name = cfg.MODEL.BACKBONE.NAME
    files = weight_files(name)
    found = found_sha256(files, _kind(name)) if files else None
    return found or cast(str, load_clip(cfg).sha256)


def weight_files(name: str) -> list[Path]:
    """The files on this machine that a CLIP of that name is loaded from; none for what is in the cache of the hub."""
    if name.startswith(PREFIX):
        return local_files(name)
    if name in EMBEDDED:
        return [tiny.weights_file(EMBEDDED[name])]
    path = _path(str(WEIGHTS_FOLDER / Path(MODEL_URLS[name]).name) if name in MODEL_URLS else name)
    return weights_in(path) if path else []


def _path(name: str) -> Path | None:
    """The file or folder of that name; None without one, and for a pipe or a device, which may be waited for."""
    path = Path(name).expanduser()
    return path if name and (path.is_file() or path.is_dir()) else None


def _kind(name: str) -> str:
    """How the weights of a name are read: what else than its files their tensors depend on."""
    return name.partition("/")[0] if name.startswith(PREFIX) and FOLDER not in name else ""


def is_name(name: str) -> bool:
    """Whether a name stands for one CLIP everywhere: an embedded one, one of OpenAI's or open_clip's, and no file."""
    return name in EMBEDDED or name in MODEL_URLS or name.startswith(PREFIX) and not local_files(name)


def is_available(name: str) -> bool:
    """Whether `load_clip` knows the name: an embedded CLIP, one of OpenAI's or open_clip's, or a path that is there."""
    return is_name(name) or name.startswith(PREFIX) or _path(name) is not None


def check_input(cfg: CfgNode, clip_model: Backbone, as_trained: bool = False) -> None:
    """Compare INPUT with what the backbone was trained on.

    Args:
        as_trained: for a run that was trained with this INPUT: only another size is an error.

    Raises:
        ConfigError: for another size, and unless MODEL.BACKBONE.CHECK_INPUT is False for another interpolation, mean or
            standard deviation, or none of these where images are not normalised, with the overrides that set them.
    """
    images, node, name = clip_model.preprocessing, cfg.INPUT, cfg.MODEL.BACKBONE.NAME
    expected = {"SIZE": images.size, "INTERPOLATION": images.interpolation}
    transforms, is_centred = node.get("TRANSFORMS", ()), not any(images.mean) and set(images.std) == {1.0}
    if "normalize" in transforms or not is_centred:
        expected |= {"PIXEL_MEAN": list(images.mean), "PIXEL_STD": list(images.std)}
    if "normalize" not in transforms and not is_centred:
        expected["TRANSFORMS"] = [*transforms, "normalize"]
    wrong = {key: value for key, value in expected.items() if key in node and not _same(node[key], value)}
    if images.resize_mode != "shortest":
        logger.info("%s was trained on images resized by %s; here their centre is cropped", name, images.resize_mode)
    if not wrong:
        return
    found = "; ".join(f"INPUT.{key} is {node[key]}, expected {value}" for key, value in wrong.items())
    overrides = " ".join(f'INPUT.{key} "{value}"' for key, value in wrong.items())
    message = f"{found} for {name}: set {overrides}"
    if "SIZE" in wrong or cfg.MODEL.BACKBONE.get("CHECK_INPUT", False) and not as_trained:
        raise ConfigError(message)
    logger.warning("%s", message)


def _same(found: Any, expected: Any) -> bool:
    return found == expected if isinstance(expected, str) else tuple(found) == tuple(expected)


def check_classnames(cfg: CfgNode, classnames: list[str]) -> None:
    """Warn of words that an embedded CLIP was never trained on."""
    name = cfg.MODEL.BACKBONE.NAME
    words = tiny.untrained_words(EMBEDDED[name], classnames) if name in EMBEDDED else []
    if words:
        shown = ", ".join(words[:8]) + (", ..." if len(words) > 8 else "")
        logger.warning("%s has never seen these words, its features of them mean nothing: %s", name, shown)


def _download(name: str) -> Path:
    url, folder = MODEL_URLS[name], WEIGHTS_FOLDER.expanduser()
    download = importlib.import_module("clip.clip")._download
    try:
        return Path(download(url, str(folder)))
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"cannot download {name} ({error}): fetch {url} yourself and put it into {folder}"
        ) from error


def _from_path(path: Path, name: str, activation: str) -> Backbone:
    """The CLIP that a file or folder holds; of OpenAI's names, or of Hugging Face's with what lies beside them."""
    state = read_weights(path)
    if not is_hugging_face(state):
        return _with_activation(
            _build(state, name), name, activation, is_known=activation != "auto" or is_published(path)
        )
    beside = described(path)
    _check_tensors(state, name)
    if beside is None:
        return _with_activation(_build(openai_names(state), name), name, activation, is_known=False)
    if activation not in ("auto", beside.activation):
        raise ConfigError(f"{name} was trained with {beside.activation}, got MODEL.BACKBONE.ACTIVATION {activation}")
    if not beside.is_openais:
        return open_clip_of((siglip_names if beside.is_siglip else openai_names)(state), beside)
    model = _with_activation(_build(openai_names(state), name), name, beside.activation)
    model.images = beside.images
    return model


def _with_activation(model: CLIP, name: str, activation: str, is_known: bool = True) -> CLIP:
    """The model with an activation; auto is OpenAI's, which is said unless it is known to be right."""
    if activation == "gelu":
        model.use_gelu()
    elif activation == "auto" and not is_known:
        assumed = "weights do not say their activation, QuickGELU is assumed, as in OpenAI's models"
        model.notes = (f"{name}: {assumed}; for most models of LAION set MODEL.BACKBONE.ACTIVATION gelu",)
    return model


def _build(state: dict[str, Tensor], name: str) -> CLIP:
    weights = {key: value for key, value in state.items() if key not in _NOT_WEIGHTS}
    _check_tensors(weights, name)
    try:
        _check_sizes(weights)
        _check_shapes(weights)
        model = build_clip(dict(weights)).float()
        model.load_state_dict({key: value.float() for key, value in weights.items()})  # build_model rounds to fp16
    except Exception as error:  # sizes are read off the weights, and wrong ones fail in many ways
        raise CheckpointError(f"{name} is not a complete CLIP in OpenAI's format: {reason_of(error)}") from error
    return model


def _check_tensors(weights: dict, name: str) -> None:
    """Raises CheckpointError for what is no tensor of numbers."""
    for key, value in weights.items():
        problem = ""
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            problem = "is no dense tensor"
        elif value.numel() > value.untyped_storage().nbytes() // value.element_size():
            problem = f"of size {tuple(value.shape)} repeats values that are stored once"
        elif value.is_floating_point() and not torch.isfinite(value).all():
            problem = "holds numbers that are not finite"
        if problem:
            raise CheckpointError(f"{name} is not a complete CLIP: {one_line(key, 80)} {problem}")


def _check_sizes(weights: dict[str, Tensor]) -> None:
    """Raise ValueError for texts of another length, and a tower that would be built with other heads than it had."""
    if (length := len(weights["positional_embedding"])) != CONTEXT_LENGTH:
        raise ValueError(f"its texts have {length} tokens, expected {CONTEXT_LENGTH}")
    width = len(weights["visual.conv1.weight"])
    if "visual.proj" in weights and width > WIDEST_VIT:
        raise ValueError(
            f"a vision transformer of width {width} need not have heads of width 64 as those up to {WIDEST_VIT}: name "
            f"the model, such as {PREFIX}ViT-H-14/FILE"
        )


def _check_shapes(weights: dict[str, Tensor]) -> None:
    """Raise RuntimeError for shapes that do not fit together, before memory is taken for what they ask for."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing can be copied into parameters without memory
        clip_modules.build_model(dict(weights))


_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
