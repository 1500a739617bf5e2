"""Time and memory of a step's text side against classes and experts, and of a whole step against the batch.

python -m benchmarks.scaling [--figure benchmarks/scaling.png] [-C 10 50 100 500 1000] [-E 1 6 20] [--batch 1 4 16]

With fitted lines. The whole step is MoCoOp's as released, with 50 base classes of 100 and 6 experts.
"""

import json
from pathlib import Path

import numpy as np
import torch

from benchmarks import common
from benchmarks.text_encoder import forward_backward, prompts
from mocoop.clip.text_encoder import TextEncoder


def child(args) -> dict:
    """Forward and backward pass of E x C prompts alone in this process."""
    clip_model = common.vit_b16(args.device)
    contexts, layouts = prompts(clip_model, args.experts[0], args.classes[0])
    before = common.peak_memory_gb(args.device)
    run = forward_backward(TextEncoder(clip_model, "fast", args.chunk), contexts, layouts)
    return {"seconds": run["both"], "peak memory GB": common.peak_memory_gb(args.device), "of it CLIP GB": before}


def fit(amounts: list[float], seconds: list[float]) -> tuple[float, float]:
    """Seconds = a + b * amount, least squares on relative errors."""
    measured = np.array(seconds)
    design = np.stack([np.ones_like(measured), np.array(amounts, dtype=float)], axis=1) / measured[:, None]
    (a, b), *_ = np.linalg.lstsq(design, np.ones_like(measured), rcond=None)
    return float(a), float(b)


def text_side(args) -> tuple[list[dict], tuple[float, float]]:
    """A row per number of experts and classes, each in a process of its own, and the fitted line."""
    rows = []
    shared = ["--threads", args.threads, "--device", args.device, "--chunk", args.chunk]
    for experts in args.experts:
        for classes in args.classes:
            found = common.in_own_process("benchmarks.scaling", "-E", experts, "-C", classes, *shared)
            rows.append({"E": experts, "C": classes} | found)
            print(rows[-1], flush=True)
    done = [row for row in rows if "seconds" in row]
    return rows, fit([row["E"] * row["C"] for row in done], [row["seconds"] for row in done])


def whole_step(args) -> tuple[list[dict], tuple[float, float]]:
    """A row per batch size, each in a process of its own, and the fitted line."""
    rows = []
    shared = ["-C", 50, "-E", 6, "--threads", args.threads, "--device", args.device]
    for batch in args.batch:
        found = common.in_own_process("benchmarks.train_step", *shared, "--batch", batch)
        rows.append({"batch": batch} | found)
        print(rows[-1], flush=True)
    done = [row for row in rows if "s/step" in row]
    return rows, fit([row["batch"] for row in done], [row["s/step"] for row in done])


def draw(text: tuple, step: tuple, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(13, 4), constrained_layout=True)
    rows = [row for row in text[0] if "seconds" in row]
    for marker, experts in zip("osD^v", sorted({row["E"] for row in rows})):
        chosen = [row for row in rows if row["E"] == experts]
        count = [experts * row["C"] for row in chosen]
        label = "1 expert" if experts == 1 else f"{experts} experts"
        panels[0].plot(count, [row["seconds"] for row in chosen], marker, label=label)
        panels[1].plot(count, [row["peak memory GB"] for row in chosen], marker, label=label)
    counts = [row["E"] * row["C"] for row in rows]
    _line(panels[0], text[1], np.geomspace(min(counts), max(counts), 50), "{a:.2f} s + {b:.2f} ms x prompts", 1000)
    steps = [row for row in step[0] if "s/step" in row]
    batches = [row["batch"] for row in steps]
    panels[2].plot(batches, [row["s/step"] for row in steps], "o", label="whole step")
    panels[2].plot(batches, [row["image tower s"] for row in steps], "s", label="image tower alone")
    _line(panels[2], step[1], np.linspace(min(batches), max(batches), 50), "{a:.2f} s + {b:.2f} s x batch", 1)
    heads = ("text side, forward and backward (s)", "peak memory of the process (GB)", "MoCoOp, C=50, E=6 (s)")
    for axes, head in zip(panels, heads):
        axes.set(ylabel=head, xlabel="batch" if axes is panels[2] else "prompts (experts x classes)")
        if axes is not panels[2]:
            axes.set(xscale="log", yscale="log" if axes is panels[0] else "linear")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=150)


def _line(axes, line: tuple[float, float], span: np.ndarray, label: str, unit: float) -> None:
    axes.plot(span, line[0] + line[1] * span, "k--", lw=1, label=label.format(a=line[0], b=unit * line[1]))


def main(args) -> None:
    text, step = text_side(args), whole_step(args)
    lines = {
        "text": dict(zip(("constant", "per_prompt"), text[1])),
        "step": dict(zip(("constant", "per_image"), step[1])),
    }
    common.report(text[0], args, fitted_seconds=lines, steps=step[0])
    print(f"text side: seconds = {text[1][0]:.3f} + {1000 * text[1][1]:.3f} ms x prompts")
    print(f"whole step: seconds = {step[1][0]:.3f} + {step[1][1]:.3f} s x batch")
    if args.figure:
        draw(text, step, args.figure)


if __name__ == "__main__":
    cli = common.parser(__doc__.splitlines()[0])
    cli.add_argument("-C", "--classes", type=int, nargs="+", default=[10, 50, 100, 500, 1000])
    cli.add_argument("-E", "--experts", type=int, nargs="+", default=[1, 6, 20])
    cli.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16])
    cli.add_argument("--chunk", type=int, default=0)
    cli.add_argument("--figure", type=Path)
    options = cli.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        print(json.dumps(child(options)))
    else:
        main(options)
