"""MoCoOp with several ways to choose experts, on Shapes sets in which style and class interact more and more.

Everything here was fixed before any method was run on these sets: settings are those of MoCoOp's tiny.yaml, chosen on
other sets, with one group of templates for each style and as many steps as there. The runs lie in
OUTPUT/<variant>/few_shot/...; finished ones are kept. In the checkout: python -m scripts.when_routing_pays
"""

import os
import sys
from pathlib import Path

from mocoop.protocols.plan import Run, plan_runs
from mocoop.protocols.request import Request
from mocoop.protocols.runner import run_all
from mocoop.shapes.conflict import COUNTS, STRENGTHS
from mocoop.shapes.vocabulary import TEMPLATES

CHECKOUT = Path(__file__).resolve().parents[1]
OUTPUT = Path(os.environ.get("OUTPUT", CHECKOUT / "output/routing"))
WORKERS = int(os.environ.get("WORKERS", 1))
SEEDS = (1, 2, 3, 4, 5)
EPOCHS = 24  # of 5 batches: 120 steps, as on the other sets

GROUPS = [list(TEMPLATES[style]) for style in COUNTS]
BY_STYLE = {"GROUPS": GROUPS, "GROUP_NAMES": list(COUNTS)}
TOGETHER = {"GROUPS": [sum(GROUPS, [])], "GROUP_NAMES": ["all"], "TOP_K": 1}
VARIANTS = {  # folder: keys of TRAINER.MOCOOP
    "one_expert": TOGETHER,
    "random": BY_STYLE | {"ROUTER": "random", "TOP_K": 2},
    "dense": BY_STYLE | {"TOP_K": len(GROUPS)},
    "top2": BY_STYLE | {"TOP_K": 2},
}


def plan(strengths=STRENGTHS) -> list[Run]:
    """All runs, seed by seed."""
    runs = []
    for name, keys in VARIANTS.items():
        overrides = [word for key, value in keys.items() for word in (f"TRAINER.MOCOOP.{key}", str(value))]
        request = Request(
            "few_shot",
            ("MoCoOp",),
            tuple(f"shapes_conflict{strength}" for strength in strengths),
            SEEDS,
            (16,),
            "tiny",
            output=str(OUTPUT / name),
            overrides=("OPTIM.MAX_EPOCH", str(EPOCHS), *overrides),
        )
        runs += plan_runs(request, CHECKOUT)
    return sorted(runs, key=lambda run: run.seed)


def main() -> int:
    os.environ["OMP_NUM_THREADS"] = "1"
    problems = run_all(plan(), CHECKOUT, WORKERS).lines(CHECKOUT)
    for line in problems:
        print(line, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
