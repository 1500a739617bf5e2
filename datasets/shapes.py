"""The procedural Shapes sets (mocoop/shapes): PNG files in CoOp's layout, made under the data root on first use."""

from pathlib import Path

from mocoop.data.base import BenchmarkDataset
from mocoop.engine import DATASET_REGISTRY
from mocoop.errors import DataError
from mocoop.shapes.sets import SETS
from mocoop.shapes.writer import IMAGES, ensure_set, read_styles


class _Shapes(BenchmarkDataset):
    """A set of `mocoop.shapes.sets.SETS`; `Datum.domain` is the picture's style."""

    image_dir = IMAGES
    not_distributed = "the set is drawn when a run first uses it"

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

    def _missing(self, path: str, expected: str) -> DataError:
        return DataError(f"{self.name}: {path} does not exist; {self.not_distributed}")

    def read_domains(self) -> dict[str, str]:
        return read_styles(self.dataset_dir)


ABOUT = {
    "ShapesColor": "Base classes have warm colours, new ones cool colours; both have all shapes.",
    "ShapesShape": "Base classes have the first six shapes, new ones the others; both have all colours.",
    "ShapesBoth": "New classes have neither a colour nor a shape of the base classes.",
    "ShapesBothCool": "ShapesBoth by a camera with a cool tint.",
    "ShapesBothSketch": "ShapesBoth in sketches only.",
    "ShapesBothDark": "ShapesBoth in the dark only.",
    "ShapesBothPixelated": "ShapesBoth in coarse pixels only.",
    "ShapesBothFaded": "ShapesBoth faded, a style that pre-training knows and ShapesBoth lacks.",
    "ShapesBothPainting": "ShapesBoth in paintings, a style that pre-training never showed.",
    "ShapesConflict0": "Colour and shape point to one class in every picture: there is nothing to route for.",
    "ShapesConflict25": "In a quarter of the pictures they point to two classes, and the style says which counts.",
    "ShapesConflict50": "In half of the pictures they point to two classes.",
    "ShapesConflict75": "In three quarters of the pictures they point to two classes.",
    "ShapesConflict100": "In all pictures they point to two classes.",
}
for _name, _about in ABOUT.items():
    DATASET_REGISTRY.register()(type(_name, (_Shapes,), {"__doc__": _about, "__module__": __name__}))
