"""The settings that the project ships."""

from pathlib import Path

from mocoop.methods import methods

ROOT = Path(__file__).parents[1]
STEPPING = tuple(name for name, method in methods().items() if method.learns and method.build.takes_steps)


def small_config(trainer: str) -> Path:
    """A method's configuration for Shapes and an embedded CLIP: the ResNet, or the ViT where the method needs one."""
    folder = ROOT / "configs/trainers" / trainer
    return next(path for path in (folder / "tiny.yaml", folder / "tiny_vit.yaml") if path.is_file())


def counts_iterations(trainer: str) -> bool:
    """Whether it trains by iterations, not by epochs."""
    text = small_config(trainer).read_text(encoding="utf-8")
    return "ITERS_PER_SHOT" in text or "MAX_ITER" in text
