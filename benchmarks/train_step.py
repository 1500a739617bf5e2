"""One training step with the fast or the plain text encoder, each in a process of its own: seconds and peak memory.

python -m benchmarks.train_step --method mocoop -C 50 -E 6 [--batch 4] [--plain]
python -m benchmarks.train_step --method all --plain                   every method
python -m benchmarks.train_step -C 1000 -E 20 --batch 1 --taught all   ImageNet's shape, all experts taught
"""

import torch

from benchmarks import common
from mocoop.clip.image_encoder import ImageEncoder
from mocoop.clip.text_encoder import TextEncoder
from mocoop.methods import methods
from mocoop.methods.base import PromptMethod
from mocoop.training.learner import Precision

NAMES = {name.lower(): name for name, entry in methods().items() if entry.node and entry.build.takes_steps}


def step(method, precision: Precision, optimizer, image, label) -> None:
    optimizer.zero_grad()
    with precision.autocast():
        parts = method.loss(image, label)
    precision.backward(method, parts)
    precision.update(method, optimizer, 0.0)


def use_encoders(method, kind: str) -> None:
    """Let a method, and those it is made of, go on with the fast or the plain encoders."""
    clip_model = method.clip_model
    for module in method.modules():
        if isinstance(module, PromptMethod):
            module.text_encoder, module.image_encoder = TextEncoder(clip_model, kind), ImageEncoder(clip_model, kind)


def child(args) -> dict:
    """The step of one encoder alone: {"s/step", "image tower s", "peak memory GB"}."""
    device = torch.device(args.device)
    keys = {"TEXT_CHUNK": args.chunk}
    if args.frozen_image:
        keys["FINETUNE_VIT_LN"] = False
    if args.taught:
        keys["TEXT_LOSS_EXPERTS"] = args.taught
    clip_model = common.random_clip(args.device, args.size)
    method = common.method(NAMES[args.method], clip_model, args.classes, args.experts, "fast", args.batch, **keys)
    precision = Precision(args.prec, device)
    optimizer = torch.optim.SGD(method.train().parameter_groups(0.002), lr=0.002, momentum=0.9)
    image = torch.randn(args.batch, 3, *method.clip_model.preprocessing.size, device=device)
    label = torch.randint(0, args.classes, (args.batch,), device=device)

    def image_side():
        with precision.autocast():
            features = method.image_features(image)
        if features.requires_grad:
            features.float().sum().backward()

    one = lambda: step(method, precision, optimizer, image, label)  # noqa: E731
    one()  # computes what is frozen, which belongs to no step
    use_encoders(method, args.kind)
    seconds = common.seconds(one, args.repeats if args.kind == "fast" else args.plain_repeats, warmup=0)
    tower = common.seconds(image_side, 3, 1)
    return {"s/step": seconds, "image tower s": tower, "peak memory GB": common.peak_memory_gb(args.device)}


def main(args) -> None:
    rows = [row for name in (NAMES if args.method == "all" else [args.method]) for row in rows_of(name, args)]
    common.report(rows, args)


def rows_of(name: str, args) -> list[dict]:
    """A method's fast step, and its plain one where asked."""
    rows = []
    words = common.words(args, "classes", "experts", "batch", "chunk", "prec", "device", "threads", "taught", "size")
    words += common.words(args, "repeats")
    words += ["--method", name] + ["--frozen-image"] * args.frozen_image
    for kind in ("fast", "plain") if args.plain else ("fast",):
        found = common.in_own_process("benchmarks.train_step", *words, "--kind", kind)
        shown = {"method": name, "C": args.classes, "E": args.experts if name in ("mocoop", "mixture") else None}
        rows.append({**shown, "batch": args.batch, "prec": args.prec, "encoder": kind, **found})
    if len(rows) == 2 and all("s/step" in row for row in rows):
        rows[0]["times faster"] = rows[1]["s/step"] / rows[0]["s/step"]
    return rows


def shape_parser(description: str, method: str):
    """Options of what is computed in a step; `method` is the default."""
    made = common.parser(description)
    made.add_argument("--method", choices=[*sorted(NAMES), "all"], default=method)
    made.add_argument("--size", choices=list(common.SIZES), default="ViT-B/16")
    made.add_argument("-C", "--classes", type=int, default=50, help="base classes, of twice as many")
    made.add_argument("-E", "--experts", type=int, default=6)
    made.add_argument("--batch", type=int, default=4)
    made.add_argument("--chunk", type=int, default=0, help="TEXT_CHUNK; 0: automatic")
    made.add_argument("--taught", choices=("all", "chosen"), help="TEXT_LOSS_EXPERTS of MoCoOp")
    return made


def cli():
    made = shape_parser(__doc__.splitlines()[0], "mocoop")
    made.add_argument("--prec", default="fp32", choices=("fp32", "amp", "bf16", "fp16"))
    made.add_argument("--frozen-image", action="store_true", help="FINETUNE_VIT_LN False")
    made.add_argument("--plain", action="store_true", help="time the plain encoder too, if it fits into memory")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--plain-repeats", type=int, default=1)
    return made


if __name__ == "__main__":
    common.start(cli(), main, child)
