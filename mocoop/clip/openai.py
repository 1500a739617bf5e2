"""OpenAI's `clip` package: the one place it is imported.

The packages on PyPI that provide `clip` import `pkg_resources`, which setuptools no longer ships. They use nothing of
it but `packaging`, so where it is absent a stand-in with that one attribute is present for the length of the import.
"""

import importlib
import importlib.util
import sys
import types


def _import_clip():
    if "clip" in sys.modules or importlib.util.find_spec("pkg_resources") is not None:
        return importlib.import_module("clip")
    stand_in = types.ModuleType("pkg_resources")
    stand_in.packaging = importlib.import_module("packaging")
    importlib.import_module("packaging.version")
    sys.modules["pkg_resources"] = stand_in
    try:
        return importlib.import_module("clip")
    finally:
        del sys.modules["pkg_resources"]


clip = _import_clip()
clip_modules = importlib.import_module("clip.model")
CLIP = clip_modules.CLIP
tokenizer = importlib.import_module("clip.clip")._tokenizer
MODEL_URLS = dict(importlib.import_module("clip.clip")._MODELS)

CONTEXT_LENGTH = 77
SOT_TOKEN = tokenizer.encoder["<|startoftext|>"]
EOT_TOKEN = tokenizer.encoder["<|endoftext|>"]


def activation_of(clip_model: CLIP) -> str:
    """What the MLPs of a CLIP compute, quick_gelu or gelu; its weights do not tell."""
    gelu = clip_model.transformer.resblocks[0].mlp.gelu
    return "quick_gelu" if isinstance(gelu, clip_modules.QuickGELU) else "gelu"
