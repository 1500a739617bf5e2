"""Images per second in a test loop, beside the bare image tower.

python -m benchmarks.evaluate [--method mocoop] [-C 1000] [-E 20] [--images 32] [--plain]
"""

import torch

from benchmarks import common
from benchmarks.train_step import NAMES
from mocoop.engine import get_cfg_default
from mocoop.training.evaluate import ZeroShotCheck


def child(args) -> dict:
    """Images per second of the bare tower, and of the trained method in the test loop with its zero-shot check."""
    clip_model = common.random_clip(args.device)
    method = common.method(NAMES[args.method], clip_model, args.classes, args.experts, args.kind).eval()
    batches = torch.randn(args.images, 3, 224, 224, device=args.device).split(args.batch)
    with torch.no_grad():
        for p in method.learned_parameters().values():  # as training moves them: LayerNorms are not CLIP's any more
            p.add_(1e-3 * torch.randn_like(p))
    cfg = get_cfg_default()
    cfg.DATASET.NAME = "ImageNet"

    def loop(images) -> None:
        """What `mocoop.training.evaluate` does with each batch."""
        for x in images:
            raw = method.raw_image_features(x) if method.takes_clip_features else None
            prediction = method.predict(x) if raw is None else method.predict_features(method.of_encoded(raw))
            check.add(raw, prediction["logits"], {"img": x, "label": torch.zeros(len(x), dtype=torch.long)})

    with torch.no_grad():
        check = ZeroShotCheck(cfg, method, stride=50)  # 1,000 of ImageNet's 50,000 images
        classes = common.seconds(lambda: loop(batches[:1]), repeats=1, warmup=0)
        bare, full = [], []
        for _ in range(3):  # in turn, so that both meet the same machine
            bare.append(common.seconds(lambda: [clip_model.visual(x) for x in batches], 1, 0))
            full.append(common.seconds(lambda: loop(batches), 1, 0))
    return {
        "first batch s": classes,
        "tower images/s": args.images / min(bare),
        "images/s": args.images / min(full),
        "of the tower": min(bare) / min(full),
        "text tower calls": method.text_encoder.calls,
        "peak memory GB": common.peak_memory_gb(args.device),
    }


def one_by_one(args) -> dict:
    """CoCoOp with one text pass over all 77 positions per image, as it is published."""
    method = common.method("CoCoOp", common.random_clip(args.device), args.classes, args.experts, "plain").eval()
    image = torch.randn(1, 3, 224, 224, device=args.device)
    with torch.no_grad():
        return {"images/s": 1 / common.seconds(lambda: method(image), 1, 0)}


def main(args) -> None:
    words = common.words(args, "classes", "experts", "images", "batch", "method", "device", "threads")
    label = {"method": args.method, "C": args.classes, "E": args.experts}
    rows = [label | {"encoder": "fast"} | common.in_own_process("benchmarks.evaluate", *words)]
    if args.method == "cocoop":
        found = common.in_own_process("benchmarks.evaluate", *words, "--one-by-one")
        rows.append(label | {"encoder": "plain, image by image"} | found)
    common.report(rows, args)
    if len(rows) == 2:
        print(f"{rows[0]['images/s'] / rows[1]['images/s']:.1f} times the images/s of one plain pass per image")


if __name__ == "__main__":
    cli = common.parser(__doc__.splitlines()[0])
    cli.add_argument("--method", choices=sorted(NAMES), default="mocoop")
    cli.add_argument("-C", "--classes", type=int, default=1000)
    cli.add_argument("-E", "--experts", type=int, default=20)
    cli.add_argument("--images", type=int, default=32)
    cli.add_argument("--batch", type=int, default=8)
    cli.add_argument("--one-by-one", action="store_true")
    common.start(cli, main, lambda args: one_by_one(args) if args.one_by_one else child(args))
