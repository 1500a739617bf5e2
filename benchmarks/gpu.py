"""Training steps and tests at ViT-B/16's size on a GPU, and whole runs with and without a graph: one table.

python -m benchmarks.gpu [--minutes 6] [--json FILE]         on a GPU
python -m benchmarks.gpu --device cpu --size small           the same code on a CPU, for a look

It needs no network and no data. Rows come in the order of their importance, until the minutes are over.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import common
from benchmarks.train_step import NAMES
from mocoop.errors import one_line
from mocoop.methods.base import PromptMethod
from mocoop.training.graph import EAGER_STEPS
from mocoop.training.learner import Learner, Precision

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """A step to measure: `goal` in ms on an H100, if there is one."""

    method: str
    classes: int
    batch: int
    prec: str
    experts: int = 6
    goal: float | None = None
    size: str = "ViT-B/16"
    keys: dict = field(default_factory=dict)


FIRST = (
    Row("CoOp", 50, 32, "fp16", goal=6),
    Row("MoCoOp", 50, 32, "amp", goal=12),
    Row("CoCoOp", 50, 1, "fp16", goal=4),
    Row("MaPLe", 50, 4, "fp16", goal=6),
    Row("PromptSRC", 50, 4, "amp", goal=8),
    Row("CoOp", 1000, 32, "fp16", goal=10),
    Row("MoCoOp", 1000, 1, "amp", 20, goal=12, keys={"TEXT_LOSS_EXPERTS": "chosen"}),
    Row("MoCoOp", 1000, 32, "amp", 20, goal=100, keys={"TEXT_LOSS_EXPERTS": "all"}),
)
LAST = (Row("MoCoOp", 50, 32, "amp", size="ViT-L/14"),)


def rows() -> list[Row]:
    measured = {row.method for row in FIRST}
    return [*FIRST, *(Row(name, 50, 4, "amp") for name in NAMES.values() if name not in measured), *LAST]


def measure(row: Row, device: torch.device, peak: float) -> dict:
    """The figures of a row; an error becomes {"error": reason}."""
    try:
        return _measure(row, device, peak)
    except Exception as error:  # one row that fails leaves the others
        return {"error": one_line(f"{type(error).__name__}: {error}", 160)}


def _measure(row: Row, device: torch.device, peak: float) -> dict:
    precision = Precision(row.prec, device)
    clip_model = precision.prepare(common.random_clip(device.type, row.size))
    method = common.method(row.method, clip_model, row.classes, row.experts, "fast", row.batch, **row.keys)
    cfg = method.cfg
    cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH = "sgd", 1e-4, 1000
    learner = Learner(cfg, method.train(), precision, batches=100)
    batch = {
        "img": torch.randn(row.batch, 3, *clip_model.preprocessing.size, device=device),
        "label": torch.randint(0, row.classes, (row.batch,), device=device),
        "impath": [],
    }
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(EAGER_STEPS + 3):
        values = learner.step(batch, "the warm-up")
    values.read()
    times = []
    for _ in range(20 if device.type == "cuda" else 2):
        started = common.now()
        learner.step(batch, "a step")
        times.append(common.now() - started)
    seconds = sorted(times)[len(times) // 2]
    found = {"ms": 1e3 * seconds, "steps": learner.why_eager or learner.graph.reason or "one graph"}
    found |= kernels(lambda: learner.step(batch, "a step")) if device.type == "cuda" else {}
    with FlopCounterMode(display=False) as counter:
        learner._loss_and_gradients(batch["img"], batch["label"])
    found |= {"TFLOP": counter.get_total_flops() / 1e12, "share of peak": counter.get_total_flops() / seconds / peak}
    found["GB"] = common.peak_memory_gb(device.type)
    return found | {"test images/s": tested(method, precision, clip_model.preprocessing.size)}


def kernels(step) -> dict:
    """How many kernels a step runs, and how long they take by themselves."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return {"kernels": len(events), "kernels' ms": sum(event.device_time for event in events) / 1e3}


@torch.no_grad()
def tested(method: PromptMethod, precision: Precision, size: tuple[int, int], images: int = 256) -> float:
    """Images that a test scores in a second, in batches of `images`; fewer for a method that encodes text for each."""
    images = 8 if method.entry.name == "CoCoOp" or precision.device.type == "cpu" else images
    image = torch.randn(images, 3, *size, device=precision.device)
    method.eval()

    def score():
        with precision.autocast(testing=True):
            method.predict(image)

    return images / common.seconds(score, repeats=3, warmup=2)


def whole_runs(device: torch.device) -> list[dict]:
    """Seconds of a training run by train.py, 20 epochs of a small set, with and without a graph."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("CoOp", "MoCoOp"):
            for graph in ("auto", "off"):
                out = Path(folder) / f"{name}-{graph}"
                command = [sys.executable, "train.py", "--root", folder, "--output-dir", out, "--seed", "1"]
                command += ["--trainer", name, "--dataset-config-file", "configs/datasets/shapes_both.yaml"]
                command += ["--config-file", f"configs/trainers/{name}/tiny.yaml", "DATASET.NUM_SHOTS", "16"]
                command += ["OPTIM.MAX_EPOCH", "20", "TRAIN.CUDA_GRAPH", graph, "USE_CUDA", device.type == "cuda"]
                started = time.perf_counter()
                done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
                seconds = time.perf_counter() - started
                row = {"run": name, "TRAIN.CUDA_GRAPH": graph, "s": seconds}
                if done.returncode:
                    row["error"] = (done.stderr.strip().splitlines() or ["no message"])[-1][:160]
                else:
                    record = json.loads((out / "result.json").read_text(encoding="utf-8"))
                    row |= {"training s": record["seconds"]["train"], "accuracy": record["metrics"]["accuracy"]}
                found.append(row)
    return found


def main(args) -> None:
    if args.size == "small":
        common.SIZES |= {"ViT-B/16": common.SMALL, "ViT-L/14": common.SMALL}
    device, ends = torch.device(args.device), time.time() + 60 * args.minutes
    peak = common.matmul_rates(8192 if args.device == "cuda" else 512, args.device)["torch's own product"] * 1e9
    print(f"matrix peak of this process: {peak / 1e12:.1f} TFLOP/s", flush=True)
    found = []
    for row in rows():
        if time.time() > ends:
            print(f"out of time before {row.method}, C {row.classes}")
            break
        shown = {key: value for key, value in asdict(row).items() if key not in ("keys", "experts")}
        shown["E"] = row.experts if row.method in ("MoCoOp", "Mixture") else None
        found.append({**shown, **measure(row, device, peak)})
        print(found[-1], flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    runs = whole_runs(device) if time.time() < ends else []
    print(*runs, sep="\n")
    common.report(found, args, runs=runs)


def cli():
    made = common.parser(__doc__.splitlines()[0])
    made.set_defaults(device="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--size", choices=("true", "small"), default="true", help="small: of towers that a CPU can hold")
    made.add_argument("--minutes", type=float, default=6.0, help="begin no further row after so many")
    return made


if __name__ == "__main__":
    common.start(cli(), main, main)
