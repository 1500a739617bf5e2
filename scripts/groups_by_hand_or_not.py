"""MoCoOp with groups of templates made by hand, by CLIP's own text features, and at random, on the Shapes sets.

The same 27 sentences, those of tiny.yaml, are grouped in four ways: by hand, one group for each style of picture;
GROUPS auto with as many groups; GROUPS auto with the number of its choice; and shuffled into groups of the hand-made
sizes, anew for each seed. All else is tiny.yaml's. In the checkout: python -m scripts.groups_by_hand_or_not
"""

import argparse
import random
import sys
from pathlib import Path

import yaml

from mocoop.files import write_file
from mocoop.protocols.plan import Request, Run
from mocoop.results.render import Cell, Table
from mocoop.results.runs import collect
from mocoop.results.stats import AVERAGE, harmonic_mean, side_matrices
from mocoop.results.tables import SPREADS
from scripts.variants import CHECKOUT, differences, in_words, output_of, run_seed_by_seed, variant_runs, write

OUTPUT = output_of("groups")
DATASETS = ("shapes_color", "shapes_shape", "shapes_both")
SEEDS = (1, 2, 3)
VARIANTS = {
    "by_hand": "by hand",
    "auto_9": "auto, 9 groups",
    "auto": "auto, number by silhouette",
    "random": "at random",
}


def by_hand() -> list[list[str]]:
    config = yaml.safe_load((CHECKOUT / "configs/trainers/MoCoOp/tiny.yaml").read_text())
    return config["TRAINER"]["MOCOOP"]["GROUPS"]


def shuffled(groups: list[list[str]], seed: int) -> list[list[str]]:
    """Groups of the same sizes."""
    templates = iter(random.Random(seed).sample(sum(groups, []), sum(map(len, groups))))
    return [[next(templates) for _ in group] for group in groups]


def plan() -> list[Run]:
    """All runs."""
    groups, sentences = by_hand(), OUTPUT / "sentences.txt"
    write_file(sentences, "".join(f"{template}\n" for group in groups for template in group))
    auto = {"GROUPS": ["auto"], "GROUP_NAMES": [], "AUTO_TEMPLATES": str(sentences)}
    runs = _runs("by_hand", {}, SEEDS) + _runs("auto", auto, SEEDS)
    runs += _runs("auto_9", auto | {"AUTO_GROUPS": len(groups)}, SEEDS)
    for seed in SEEDS:
        runs += _runs("random", {"GROUPS": shuffled(groups, seed), "GROUP_NAMES": []}, (seed,))
    return runs


def _runs(name: str, keys: dict, seeds: tuple[int, ...]) -> list[Run]:
    return variant_runs(OUTPUT / name, keys, Request("base2new", ("MoCoOp",), DATASETS, seeds, (16,), "tiny"))


def table() -> Table:
    """The average over the sets of each variant, and its H against that of the groups made by hand."""
    rows = []
    for name, label in VARIANTS.items():
        base, new = (side.loc[AVERAGE].iloc[0] for side in side_matrices(collect(OUTPUT / name).frame, list(SEEDS)))
        cells = [Cell(values.mean(), values.std()) for values in (base, new, harmonic_mean(base, new))]
        rows.append([label, *cells, "" if name == "by_hand" else _against_hand(OUTPUT / name)])
    return Table("Groups by hand or not", ["Groups", "Base", "New", "H", "H against by hand"], rows, [SPREADS["std"]])


def _against_hand(folder: Path) -> str:
    found = differences(folder, OUTPUT / "by_hand", "base2new")
    return in_words(next(row for row in found if (row.dataset, row.measure) == (AVERAGE, "H")))


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    problems = run_seed_by_seed(plan())
    write(table(), OUTPUT / "table.md")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
