"""Image pipelines from the INPUT node: PIL image in, float tensor (3, H, W) out."""

from collections.abc import Callable, Sequence

from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToTensor,
)
from yacs.config import CfgNode

from mocoop.errors import ConfigError

INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}
MAX_MAGNITUDE = 30  # of torchvision's RandAugment, as of Dassl's
Step = tuple[str, Callable]  # a line of the log, and the transform


# What a training pipeline may hold, in the order in which it is applied: the part for PIL images, then for tensors.
ON_IMAGE: dict[str, Callable[[CfgNode], Step]] = {
    "random_crop": lambda node: (
        f"random crop (padding = {node.CROP_PADDING})",
        RandomCrop(node.SIZE, padding=node.CROP_PADDING),
    ),
    "random_resized_crop": lambda node: (
        f"random resized crop (size={node.SIZE}, scale={node.RRCROP_SCALE})",
        RandomResizedCrop(node.SIZE, scale=node.RRCROP_SCALE, interpolation=interpolation_mode(node)),
    ),
    "random_flip": lambda node: ("random flip", RandomHorizontalFlip()),
    "randaugment": lambda node: (
        f"randaugment (n={node.RANDAUGMENT_N}, m={node.RANDAUGMENT_M})",
        RandAugment(node.RANDAUGMENT_N, node.RANDAUGMENT_M),
    ),
}
ON_TENSOR: dict[str, Callable[[CfgNode], Step]] = {
    "normalize": lambda node: (
        f"normalization (mean={node.PIXEL_MEAN}, std={node.PIXEL_STD})",
        Normalize(mean=node.PIXEL_MEAN, std=node.PIXEL_STD),
    ),
}
CROPS = ("random_crop", "random_resized_crop")
ALWAYS_WHEN_TESTING = "center_crop"


def build_transform(cfg: CfgNode, is_train: bool = True, choices: Sequence[str] | None = None) -> Compose:
    """The training or the test pipeline of `cfg.INPUT`.

    `choices` replaces INPUT.TRANSFORMS. Training: resize to SIZE unless a random crop does, then what was chosen.
    Testing: resize the smaller edge, centre crop, and of what was chosen only the normalisation. Raises ConfigError
    for unknown names and values.
    """
    node = cfg.INPUT
    choices = node.TRANSFORMS if choices is None else choices
    check_input(node, choices)
    print(f"Building transform_{'train' if is_train else 'test'}")
    steps = _training_steps(node, choices) if is_train else _test_steps(node, choices)
    for line, _ in steps:
        print(f"+ {line}")
    return Compose([transform for _, transform in steps])


def interpolation_mode(node: CfgNode) -> InterpolationMode:
    """The mode that INPUT.INTERPOLATION names. Raises ConfigError for an unknown one."""
    if node.INTERPOLATION not in INTERPOLATION_MODES:
        expected = ", ".join(INTERPOLATION_MODES)
        raise ConfigError(f'INPUT.INTERPOLATION: got "{node.INTERPOLATION}", expected one of {expected}')
    return INTERPOLATION_MODES[node.INTERPOLATION]


def check_input(node: CfgNode, choices: Sequence[str]) -> None:
    """Raise ConfigError for a transform, size or strength in the INPUT node that there is not."""
    if node.NO_TRANSFORM:
        raise ConfigError("INPUT.NO_TRANSFORM: got True, expected False: images are resized and made tensors")
    known = [*ON_IMAGE, *ON_TENSOR, ALWAYS_WHEN_TESTING]
    unknown = [name for name in choices if name not in known]
    if unknown:
        raise ConfigError(f"INPUT.TRANSFORMS: got {unknown}, expected names among {', '.join(known)}")
    if len(node.SIZE) != 2 or not all(isinstance(edge, int) and edge > 0 for edge in node.SIZE):
        raise ConfigError(f"INPUT.SIZE: got {node.SIZE}, expected (height, width) in pixels")
    if "randaugment" in choices and not 0 <= node.RANDAUGMENT_M <= MAX_MAGNITUDE:
        raise ConfigError(f"INPUT.RANDAUGMENT_M: got {node.RANDAUGMENT_M}, expected 0 to {MAX_MAGNITUDE}")
    interpolation_mode(node)


def _training_steps(node: CfgNode, choices: Sequence[str]) -> list[Step]:
    steps: list[Step] = []
    if not any(name in choices for name in CROPS):
        steps.append((f"resize to {_size(node)}", Resize(node.SIZE, interpolation=interpolation_mode(node))))
    steps += [make(node) for name, make in ON_IMAGE.items() if name in choices]
    steps.append(_to_tensor())
    steps += [make(node) for name, make in ON_TENSOR.items() if name in choices]
    return steps


def _test_steps(node: CfgNode, choices: Sequence[str]) -> list[Step]:
    edge = max(node.SIZE)
    steps: list[Step] = [
        (f"resize the smaller edge to {edge}", Resize(edge, interpolation=interpolation_mode(node))),
        (f"{_size(node)} center crop", CenterCrop(node.SIZE)),
        _to_tensor(),
    ]
    return steps + [make(node) for name, make in ON_TENSOR.items() if name in choices]


def _to_tensor() -> Step:
    return "to torch tensor of range [0, 1]", ToTensor()


def _size(node: CfgNode) -> str:
    return f"{node.SIZE[0]}x{node.SIZE[1]}"
