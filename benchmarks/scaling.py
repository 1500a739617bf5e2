"""Time and memory of the text side of a step against classes, experts and chunk, with a fitted line and a figure.

python -m benchmarks.scaling [--figure benchmarks/scaling.png] [--classes 10 50 100 500 1000] [--experts 1 6 20]
"""

import json
from pathlib import Path

import numpy as np
import torch

from benchmarks import common
from benchmarks.text_encoder import forward_backward, prompts
from mocoop.text_encoder import TextEncoder


def child(args) -> dict:
    """Forward and backward pass of E x C prompts alone in this process."""
    clip_model = common.vit_b16(args.device)
    contexts, layouts = prompts(clip_model, args.experts[0], args.classes[0])
    before = common.peak_memory_gb(args.device)
    run = forward_backward(TextEncoder(clip_model, "fast", args.chunk), contexts, layouts)
    return {"seconds": run["both"], "peak memory GB": common.peak_memory_gb(args.device), "of it CLIP GB": before}


def fit(rows: list[dict]) -> tuple[float, float]:
    """Seconds = a + b * prompts, least squares on relative errors."""
    count = np.array([row["E"] * row["C"] for row in rows], dtype=float)
    seconds = np.array([row["seconds"] for row in rows])
    design = np.stack([np.ones_like(count), count], axis=1) / seconds[:, None]
    (a, b), *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    return float(a), float(b)


def draw(rows: list[dict], line: tuple[float, float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for marker, experts in zip("osD^v", sorted({row["E"] for row in rows})):
        chosen = [row for row in rows if row["E"] == experts]
        count = [experts * row["C"] for row in chosen]
        left.plot(count, [row["seconds"] for row in chosen], marker, label=f"{experts} expert(s)")
        right.plot(count, [row["peak memory GB"] for row in chosen], marker, label=f"{experts} expert(s)")
    span = np.geomspace(min(r["E"] * r["C"] for r in rows), max(r["E"] * r["C"] for r in rows), 50)
    left.plot(span, line[0] + line[1] * span, "k--", lw=1, label=f"{line[0]:.2f} s + {1000 * line[1]:.2f} ms x prompts")
    for axes, label in ((left, "seconds, forward and backward"), (right, "peak memory of the process, GB")):
        axes.set(xscale="log", yscale="log", xlabel="prompts (experts x classes)", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=150)


def main(args) -> None:
    rows = []
    for experts in args.experts:
        for classes in args.classes:
            words = [
                "-E",
                experts,
                "-C",
                classes,
                "--threads",
                args.threads,
                "--device",
                args.device,
                "--chunk",
                args.chunk,
            ]
            found = common.in_own_process("benchmarks.scaling", *words)
            rows.append({"E": experts, "C": classes} | found)
            print(rows[-1], flush=True)
    done = [row for row in rows if "seconds" in row]
    line = fit(done)
    common.report(rows, args, fitted_seconds={"constant": line[0], "per_prompt": line[1]})
    print(f"seconds = {line[0]:.3f} + {1000 * line[1]:.3f} ms x prompts")
    if args.figure:
        draw(done, line, args.figure)


if __name__ == "__main__":
    cli = common.parser(__doc__.splitlines()[0])
    cli.add_argument("-C", "--classes", type=int, nargs="+", default=[10, 50, 100, 500, 1000])
    cli.add_argument("-E", "--experts", type=int, nargs="+", default=[1, 6, 20])
    cli.add_argument("--chunk", type=int, default=0)
    cli.add_argument("--figure", type=Path)
    options = cli.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        print(json.dumps(child(options)))
    else:
        main(options)
