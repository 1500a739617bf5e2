"""What a rank has to do of a step's text side, beside one process: prompts, seconds, memory.

python -m benchmarks.ranks [--ranks 1 2 4] [-E 20] [-C 1000] [--width 64] [--layers 12]

ImageNet's number of prompts in a small tower, without recomputation, so that memory is that of all prompts of a rank.
CPU seconds are a rank's own, whatever else its core has to do; seconds include waiting for the others.
"""

import json
import subprocess
import sys
import time

import torch

from benchmarks import common
from benchmarks.text_encoder import forward_backward, prompts
from mocoop.clip.openai import CLIP
from mocoop.clip.shares import together
from mocoop.clip.text_encoder import TextEncoder
from mocoop.distributed import is_main, of_all, ranks


def small_clip(width: int, layers: int) -> CLIP:
    torch.manual_seed(0)
    text = dict(transformer_width=width, transformer_heads=width // 32, transformer_layers=layers, embed_dim=width)
    return CLIP(**common.VIT_B16 | text | dict(vision_layers=1, vision_width=64)).eval().requires_grad_(False)


def child(args) -> dict:
    """The most that a rank needs; measured in each, said by the main one."""
    with ranks():
        clip_model = small_clip(args.width, args.layers)
        with together():  # what is loaded on first use counts for none
            forward_backward(TextEncoder(clip_model), *prompts(clip_model, args.experts, 20))
        contexts, layouts = prompts(clip_model, args.experts, args.classes)
        encoder, encoded = TextEncoder(clip_model, chunk=args.experts * args.classes), []
        encode = encoder._features
        encoder._features = lambda ctx, own, parts: encoded.append(sum(map(len, own))) or encode(ctx, own, parts)
        of_all("ready")
        before, cpu = common.peak_memory_gb(), time.process_time()
        with together():
            both = forward_backward(encoder, contexts, layouts)["both"]
        figures = {
            "prompts": sum(encoded),
            "CPU seconds": time.process_time() - cpu,
            "seconds": both,
            "memory GB": common.peak_memory_gb() - before,
        }
        found = of_all(figures)
        if not is_main():
            sys.exit()
    return {name: max(each[name] for each in found) for name in figures}


def main(args) -> None:
    rows = []
    for count in args.ranks:
        options = common.words(args, "experts", "classes", "width", "layers", "threads")
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(count)]
        command = [sys.executable, *launcher, "-m", "benchmarks.ranks", *options, "--child"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        first = rows[0] if rows else found
        shares = {f"{name}, of one": found[name] / first[name] for name in ("prompts", "CPU seconds", "memory GB")}
        rows.append({"ranks": count} | found | shares)
    common.report(rows, args)


if __name__ == "__main__":
    cli = common.parser(__doc__.splitlines()[0])
    cli.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    cli.add_argument("-E", "--experts", type=int, default=20)
    cli.add_argument("-C", "--classes", type=int, default=1000)
    cli.add_argument("--width", type=int, default=64)
    cli.add_argument("--layers", type=int, default=12)
    common.start(cli, main, child)
