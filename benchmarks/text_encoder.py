"""The fast text encoder beside CLIP's plain 77-position pass: time, difference, memory.

python -m benchmarks.text_encoder [-E 5] [-C 100] [--threads 1]
"""

import torch

from benchmarks import common
from mocoop.clip.backbone import Backbone
from mocoop.clip.prompts import Context, PromptLayout
from mocoop.clip.text_encoder import TextEncoder
from mocoop.methods.mocoop.method import initial_contexts


def prompts(clip_model: Backbone, experts: int, classes: int) -> tuple[list[torch.Tensor], list[PromptLayout]]:
    """Contexts and layouts of MoCoOp's experts at their start."""
    contexts, layouts = [], []
    for templates in common.groups(experts).values():
        before, after = initial_contexts(templates, "first", clip_model)
        tail = [Context(len(before), len(after))] if len(after) else []
        pieces = [[Context(0, len(before)), name, *tail, "."] for name in common.classnames(classes)]
        contexts.append(torch.cat([before, after]))
        layouts.append(PromptLayout(pieces).to(before.device))
    return contexts, layouts


def forward_backward(encoder: TextEncoder, contexts, layouts) -> dict:
    """Features, the gradients of a fixed random projection of them, and the seconds of both passes."""
    contexts = [ctx.clone().requires_grad_() for ctx in contexts]
    started = common.now()
    features = encoder(contexts, layouts)
    forward = common.now() - started
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1)).to(features)
    grads = torch.autograd.grad((features * weights).sum(), contexts)
    return {"features": features.detach(), "grads": grads, "forward": forward, "both": common.now() - started}


def difference(fast: dict, plain: dict) -> dict[str, float]:
    """Relative differences of the features, and the worst of the gradients."""
    gradients = max(common.relative_difference(a, b) for a, b in zip(fast["grads"], plain["grads"]))
    return {"features": common.relative_difference(fast["features"], plain["features"]), "gradients": gradients}


def child(args) -> dict:
    """One encoder alone in this process."""
    clip_model = common.random_clip(args.device)
    contexts, layouts = prompts(clip_model, args.experts, args.classes)
    encoder = TextEncoder(clip_model, args.kind, args.chunk)
    forward_backward(encoder, contexts, layouts)
    return {"memory": common.peak_memory_gb(args.device)}


def main(args) -> None:
    kinds = ("fast", "plain")[: 1 + bool(args.plain_repeats)]
    shape = common.words(args, "experts", "classes", "threads", "device", "chunk")
    memory = {}  # first, while this process itself takes little
    for kind in kinds:
        memory[kind] = common.in_own_process("benchmarks.text_encoder", *shape, "--kind", kind)
    clip_model = common.random_clip(args.device)
    contexts, layouts = prompts(clip_model, args.experts, args.classes)
    rows, results = [], {}
    for kind, repeats in zip(kinds, (5, args.plain_repeats)):
        encoder = TextEncoder(clip_model, kind, args.chunk)
        runs = [forward_backward(encoder, contexts, layouts) for _ in range(repeats)]
        results[kind] = best = min(runs, key=lambda run: run["both"])
        rows.append(
            {
                "encoder": kind,
                "forward s": best["forward"],
                "forward+backward s": best["both"],
                "peak memory GB": memory[kind].get("memory", memory[kind].get("error")),
            }
        )
    if len(kinds) == 1:
        return common.report(rows, args)
    fp32 = difference(results["fast"], results["plain"])
    ratio = rows[1]["forward+backward s"] / rows[0]["forward+backward s"]
    common.report(rows, args, ratio=ratio, difference=fp32)
    print(f"fast is {ratio:.1f} times faster (forward+backward, E={args.experts}, C={args.classes})")
    print(f"fp32 relative difference: features {fp32['features']:.1e}, gradients {fp32['gradients']:.1e}")


if __name__ == "__main__":
    cli = common.parser(__doc__.splitlines()[0])
    cli.add_argument("-E", "--experts", type=int, default=5)
    cli.add_argument("-C", "--classes", type=int, default=100)
    cli.add_argument("--chunk", type=int, default=0, help="prompts per chunk; 0: automatic")
    cli.add_argument("--plain-repeats", type=int, default=1, help="runs of the plain encoder, the best counts; 0: none")
    common.start(cli, main, child)
