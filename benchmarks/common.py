"""What the benchmarks share: models of true size, clocks, memory of a process of its own, tables."""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch

from mocoop.clip.backbone import Backbone
from mocoop.clip.openai import CLIP
from mocoop.clip.residual_block import frozen_linear
from mocoop.clip.templates import template_groups
from mocoop.engine import get_cfg_default
from mocoop.methods import build_method, extend_cfg, get_method
from mocoop.training.evaluate import peak_memory_mb

VIT_B16 = dict(
    embed_dim=512, image_resolution=224, vision_layers=12, vision_width=768, vision_patch_size=16, context_length=77,
    vocab_size=49408, transformer_width=512, transformer_heads=8, transformer_layers=12,
)  # fmt: skip
VIT_L14 = VIT_B16 | dict(
    embed_dim=768, vision_layers=24, vision_width=1024, vision_patch_size=14,
    transformer_width=768, transformer_heads=12,
)  # fmt: skip
SMALL = VIT_B16 | dict(  # as many blocks, and so operations, as ViT-B/16
    embed_dim=64, image_resolution=32, vision_width=64, transformer_width=64, transformer_heads=1,
)  # fmt: skip
SIZES = {"ViT-B/16": VIT_B16, "ViT-L/14": VIT_L14, "ViT-L/14@336px": VIT_L14 | dict(image_resolution=336)}
SIZES["small"] = SMALL
# Nouns of one to three byte-pair tokens; combined with adjectives where more classes are wanted.
NOUNS = (
    "apple,aquarium fish,baby,bear,beaver,bed,bee,beetle,bicycle,bottle,bowl,bridge,bus,butterfly,camel,castle,"
    "caterpillar,chair,clock,cloud,cockroach,crab,crocodile,cup,dolphin,elephant,flatfish,forest,fox,hamster,house,"
    "kangaroo,keyboard,lamp,lawn mower,leopard,lion,lizard,lobster,maple tree,motorcycle,mountain,mouse,mushroom,"
    "orchid,otter,palm tree,pickup truck,plate,poppy,porcupine,rabbit,raccoon,rocket,rose,sea,seal,shark,skyscraper,"
    "snail,snake,spider,squirrel,streetcar,sunflower,sweet pepper,table,tank,telephone,television,tiger,tractor,train,"
    "trout,tulip,turtle,wardrobe,whale,willow tree,wolf,worm,anchor,balloon,banjo,barrel,candle,cannon,carousel,cello,"
    "compass,dagger,drum,fountain,harp,hourglass,kite,lantern,magnet,needle,oboe"
).split(",")
ADJECTIVES = ("", "red ", "small ", "old ", "wooden ", "striped ", "golden ", "wild ", "plastic ", "giant ")


def random_clip(device: str = "cpu", size: str = "ViT-B/16") -> CLIP:
    """A CLIP of true size with random weights."""
    torch.manual_seed(0)
    return CLIP(**SIZES[size]).float().eval().requires_grad_(False).to(device)


def classnames(count: int) -> list[str]:
    """Up to 1,000 class names of natural token lengths."""
    names = [adjective + noun for adjective in ADJECTIVES for noun in NOUNS]
    return names[:count]


def groups(count: int) -> dict[str, list[str]]:
    """MoCoOp's groups of templates: those of a dataset that has as many, else the first of ImageNet's 20."""
    own = {4: "Food101", 5: "Caltech101", 6: "OxfordPets"}
    return dict(list(template_groups(own.get(count, "ImageNet")).items())[:count])


def method(name: str, clip_model: Backbone, classes: int, experts: int, text_encoder: str, batch: int = 32, **keys):
    """A method as released, over `classes` base classes of twice as many, trained in batches of `batch`."""
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.TRAINER.NAME, cfg.DATASET.NAME = name, "ImageNet"
    cfg.TRAINER.COOP.CTX_INIT = cfg.TRAINER.COCOOP.CTX_INIT = "a photo of a"
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = batch
    chosen = groups(experts)
    for node in (cfg.TRAINER.MOCOOP, cfg.TRAINER.MIXTURE):
        node.GROUPS, node.GROUP_NAMES, node.TOP_K = list(chosen.values()), list(chosen), min(2, experts)
    node = get_method(name).settings(cfg)
    for key, value in {"TEXT_ENCODER": text_encoder, **keys}.items():
        node[key] = value
    names = classnames(min(2 * classes, 1000))
    return build_method(cfg, names[:classes], clip_model, names).to(clip_model.text_projection.device)


def now() -> float:
    """Seconds of a clock, read when the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(function: Callable[[], object], repeats: int = 3, warmup: int = 1) -> float:
    """The shortest of some calls: on a machine with other work, the one least disturbed."""
    for _ in range(warmup):
        function()
    times = []
    for _ in range(repeats):
        started = now()
        function()
        times.append(now() - started)
    return min(times)


def relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Norm of the difference over the norm of b."""
    return float((a.double() - b.double()).norm() / b.double().norm())


def matmul_rates(size: int = 1536, device: str = "cpu") -> dict[str, float]:
    """Rates of a square matrix product in GFLOP/s, by library."""
    a, b = torch.randn(2, size, size, device=device).unbind(0)
    products = {"torch's own product": lambda: a @ b}
    if device == "cpu":
        products |= {"oneDNN": lambda: frozen_linear(a, b)}
    return {name: 2 * size**3 / seconds(product, repeats=5) / 1e9 for name, product in products.items()}


def peak_memory_gb(device: str = "cpu") -> float:
    return peak_memory_mb(torch.device(device)) / 1024


def in_own_process(module: str, *arguments: str) -> dict:
    """The figures that a benchmark measures alone in a process of its own; an error becomes {"error": reason}."""
    command = [sys.executable, "-m", module, *map(str, arguments), "--child"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"error": reason if done.returncode > 0 else f"killed by signal {-done.returncode} (out of memory)"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def machine(device: str = "cpu") -> str:
    """The machine in words."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if device == "cpu" and info.is_file():
        lines = info.read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if "model name" in line), name)
    return f"{name}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"


def parser(description: str) -> argparse.ArgumentParser:
    """Options of every benchmark."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--json", type=Path, help="write the rows to this file too")
    made.add_argument("--kind", choices=("fast", "plain"), default="fast", help=argparse.SUPPRESS)
    made.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return made


def words(args: argparse.Namespace, *options: str) -> list[str]:
    """Options that were given, or have a default, as the command line of a process of its own."""
    return [
        word for name in options if (value := getattr(args, name)) is not None for word in (f"--{name}", str(value))
    ]


def start(cli: argparse.ArgumentParser, main: Callable, child: Callable) -> None:
    """Runs `main`, or in a process of its own `child`, whose figures it prints as json."""
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    if args.child:
        print(json.dumps(child(args)))
    else:
        main(args)


def report(rows: Sequence[dict], args: argparse.Namespace, **more) -> None:
    """Print the rows as a table, and write them, and what else is known, as json where asked."""
    rates = matmul_rates(device=args.device)
    print(machine(args.device))
    print("matrix products, GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))
    print(pd.DataFrame(rows).to_string(index=False, na_rep="-", float_format=lambda x: f"{x:.4g}"))
    if args.json:
        record = {"machine": machine(args.device), "gflops": rates, "rows": list(rows), **more}
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
