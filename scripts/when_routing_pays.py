"""MoCoOp with several ways to choose experts, on Shapes sets in which style and class interact more and more.

Everything here was fixed before any method was run on these sets: settings are those of MoCoOp's tiny.yaml, chosen on
other sets, with one group of templates for each style and as many steps as there. The runs lie in
OUTPUT/<variant>/few_shot/...; finished ones are kept. In the checkout: python -m scripts.when_routing_pays

Dense means that all experts answer, weighed by the learned router; a random router is fixed at its start.
"""

import argparse
import sys

import pandas as pd
from matplotlib.figure import Figure

from mocoop.protocols.plan import Request, Run
from mocoop.results.figures.style import COLOURS, MARKERS, save_figure, styled
from mocoop.results.render import Cell, Table
from mocoop.results.runs import collect
from mocoop.results.tables import SPREADS
from mocoop.shapes.sets import COUNTS, STRENGTHS
from mocoop.shapes.vocabulary import TEMPLATES
from scripts.variants import differences, in_words, output_of, run_seed_by_seed, variant_runs, write

OUTPUT = output_of("routing")
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


NAMES = {
    "one_expert": "one expert",
    "random": "random router",
    "dense": "dense",
    "top2": "learned top-2",
    "oracle": "oracle: the true style",
}
DATASET = "shapes_conflict"


def plan() -> list[Run]:
    """All runs."""
    datasets = tuple(f"{DATASET}{strength}" for strength in STRENGTHS)
    longer = ("OPTIM.MAX_EPOCH", str(EPOCHS))
    request = Request("few_shot", ("MoCoOp",), datasets, SEEDS, (16,), "tiny", overrides=longer)
    return [run for name, keys in VARIANTS.items() for run in variant_runs(OUTPUT / name, keys, request)]


def accuracies() -> pd.DataFrame:
    """Columns variant, strength, seed and accuracy, of the seeds that all variants have finished.

    The oracle needs no run of its own: the test of top2 has counted what the expert of the true style says alone.
    """
    rows = []
    for name in VARIANTS:
        for run in collect(OUTPUT / name).frame.itertuples():
            strength = int(run.dataset.removeprefix(DATASET))
            rows.append((name, strength, run.seed, run.accuracy))
            if name == "top2" and "routers" in run.routing:
                rows.append(("oracle", strength, run.seed, run.routing["routers"]["accuracy"]["style"]))
    found = pd.DataFrame(rows, columns=["variant", "strength", "seed", "accuracy"])
    complete = found.groupby(["strength", "seed"])["variant"].transform("nunique") == len(NAMES)
    return found[complete]


def table(found: pd.DataFrame) -> Table:
    """A row for each strength, a column for each way to choose experts."""
    rows = []
    for strength, part in found.groupby("strength"):
        cells = [part.loc[part["variant"] == name, "accuracy"] for name in NAMES]
        seeds = ", ".join(map(str, sorted(part["seed"].unique())))
        rows.append([f"{strength} %", seeds, *(Cell(values.mean(), values.std()) for values in cells)])
    notes = [SPREADS["std"]]
    return Table("When does routing pay?", ["Pictures with a conflict", "Seeds", *NAMES.values()], rows, notes)


@styled
def figure(found: pd.DataFrame) -> Figure:
    """Accuracy against the strength of the interaction, a curve for each way to choose experts."""
    drawn = Figure(figsize=(4.6, 3.0), layout="constrained")
    axis = drawn.subplots()
    for i, (name, label) in enumerate(NAMES.items()):
        part = found[found["variant"] == name].groupby("strength")["accuracy"].agg(["mean", "std"])
        place = part.index + 0.8 * (i - (len(NAMES) - 1) / 2)  # a little aside, so that error bars can be told apart
        axis.errorbar(place, part["mean"], part["std"], label=label, color=COLOURS[i], marker=MARKERS[i], markersize=4)
    axis.set_xticks(STRENGTHS)
    axis.set_xlabel("pictures in which colour and shape disagree (%)")
    axis.set_ylabel("accuracy (%), mean ± std over seeds")
    axis.legend()
    return drawn


def verdicts() -> Table:
    """The learned top-2 against the other variants, at each strength."""
    others = [name for name in VARIANTS if name != "top2"]
    found = {name: differences(OUTPUT / "top2", OUTPUT / name, "few_shot") for name in others}
    rows = []
    for strength in STRENGTHS:
        of_strength = [row for name in others for row in found[name] if row.dataset == f"{DATASET}{strength}"]
        rows.append([f"{strength} %", *map(in_words, of_strength)])
    notes = ["Points of accuracy, paired by image and seed, with the 95 % interval; p adjusted over the strengths."]
    return Table("Learned top-2 is", ["Conflict", *(f"against {NAMES[name]}" for name in others)], rows, notes)


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    problems = run_seed_by_seed(plan())
    found = accuracies()
    write(table(found), OUTPUT / "table.md")
    write(verdicts(), OUTPUT / "verdicts.md")
    for suffix in ("pdf", "png"):
        save_figure(figure(found), OUTPUT / f"when_routing_pays.{suffix}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
