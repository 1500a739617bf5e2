"""The procedural Shapes sets (mocoop/shapes): PNG files in CoOp's layout, made under the data root on first use."""

from pathlib import Path

from mocoop.data.base import BenchmarkDataset
from mocoop.engine import DATASET_REGISTRY
from mocoop.shapes.sets import SETS
from mocoop.shapes.writer import IMAGES, ensure_set, read_styles


class _Shapes(BenchmarkDataset):
    """A set of `mocoop.shapes.sets.SETS`; `Datum.domain` is the picture's style."""

    image_dir = IMAGES

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.shapes_set = SETS[cls.__name__]
        cls.dataset_dir = cls.shapes_set.folder
        cls.split_file = f"split_zhou_{cls.__name__}.json"
        cls.domains = [style for style, _ in cls.shapes_set.styles]
        cls.test_only = "train" not in cls.shapes_set.sizes

    def __init__(self, cfg):
        if cfg.DATASET.ROOT:
            ensure_set(self.shapes_set, Path(cfg.DATASET.ROOT).expanduser().absolute() / self.dataset_dir)
        super().__init__(cfg)

    def read_domains(self) -> dict[str, str]:
        return read_styles(self.dataset_dir)


@DATASET_REGISTRY.register()
class ShapesColor(_Shapes):
    """Base classes have warm colours, new ones cool colours; both have all shapes."""


@DATASET_REGISTRY.register()
class ShapesShape(_Shapes):
    """Base classes have the first six shapes, new ones the others; both have all colours."""


@DATASET_REGISTRY.register()
class ShapesBoth(_Shapes):
    """New classes have neither a colour nor a shape of the base classes."""


@DATASET_REGISTRY.register()
class ShapesBothCool(_Shapes):
    """ShapesBoth by a camera with a cool tint."""


@DATASET_REGISTRY.register()
class ShapesBothSketch(_Shapes):
    """ShapesBoth in sketches only."""


@DATASET_REGISTRY.register()
class ShapesBothDark(_Shapes):
    """ShapesBoth in the dark only."""


@DATASET_REGISTRY.register()
class ShapesBothPixelated(_Shapes):
    """ShapesBoth in coarse pixels only."""


@DATASET_REGISTRY.register()
class ShapesBothFaded(_Shapes):
    """ShapesBoth faded, a style that pre-training knows and ShapesBoth lacks."""


@DATASET_REGISTRY.register()
class ShapesBothPainting(_Shapes):
    """ShapesBoth in paintings, a style that pre-training never showed."""
