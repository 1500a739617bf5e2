"""Operations that one training step dispatches, and the places where it waits for the device: what a GPU's host does.

python -m benchmarks.launches                       every method, C 50, batch 4
python -m benchmarks.launches --method mocoop -C 1000 -E 20 --chunk 1000000

Views are not counted: they launch nothing. A CPU shows the same numbers as a GPU but for casts and fused updates.
"""

import collections

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import common
from benchmarks.train_step import NAMES, shape_parser, step
from mocoop.training.learner import Precision, left_alone

VIEWS = frozenset(
    "view _unsafe_view reshape expand permute transpose t slice select unsqueeze squeeze detach alias as_strided split "
    "split_with_sizes unbind chunk _reshape_alias unfold narrow flatten unflatten lift_fresh empty empty_like "
    "empty_strided new_empty set_ is_same_size sym_size view_as".split()
)
SYNCS = frozenset(
    "_local_scalar_dense nonzero unique_consecutive _unique2 unique_dim masked_select is_nonzero equal".split()
)


class Count(TorchDispatchMode):
    """Counts what is dispatched below autograd.

    Attributes:
        operations, syncs: by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: collections.Counter[str] = collections.Counter()
        self.syncs: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split("::")[1]
        if name in SYNCS:
            self.syncs[name] += 1
        elif name not in VIEWS:
            self.operations[name] += 1
        return func(*args, **(kwargs or {}))


def count(name: str, classes: int, experts: int, batch: int, size: str = "ViT-B/16", **keys) -> dict:
    """The figures of a method's second step: loss, backward pass and update."""
    clip_model = common.random_clip(size=size)
    method = common.method(NAMES[name], clip_model, classes, experts, "fast", batch, **keys).train()
    precision = Precision("fp32", torch.device("cpu"))
    optimizer = torch.optim.SGD(method.parameter_groups(0.002), lr=0.002, momentum=0.9)
    image = torch.randn(batch, 3, *clip_model.preprocessing.size)
    label = torch.randint(0, classes, (batch,))
    step(method, precision, optimizer, image, label)
    with Count() as counted:
        parts = method.loss(image, label)
        method.backward(parts)
    with Count() as updated, left_alone(optimizer, method.resting()):
        precision.update(method, optimizer)
    return {
        "operations": sum(counted.operations.values()),
        "of the update": sum(updated.operations.values()),
        "syncs": sum((counted.syncs + updated.syncs).values()),
        "most frequent": ", ".join(f"{op} {number}" for op, number in counted.operations.most_common(4)),
    }


def main(args) -> None:
    rows = []
    for name in NAMES if args.method == "all" else [args.method]:
        keys = {"TEXT_CHUNK": args.chunk} | ({"TEXT_LOSS_EXPERTS": args.taught} if args.taught else {})
        found = count(name, args.classes, args.experts, args.batch, args.size, **keys)
        experts = args.experts if name in ("mocoop", "mixture") else None
        rows.append({"method": name, "C": args.classes, "E": experts, "batch": args.batch, **found})
    common.report(rows, args)


if __name__ == "__main__":
    common.start(shape_parser(__doc__.splitlines()[0], "all"), main, main)
