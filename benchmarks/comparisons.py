"""How often the intervals of `mocoop compare` hold the true difference, and how often it sees one that is not there.

python -m benchmarks.comparisons --draws 2000

Answers are drawn from a model with known accuracies: an image is right if a normal score is above 0, the sum of the
method's level, the seed's, the image's (shared by both methods), the method's on the image, and noise.
"""

import argparse
import math
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import ndtri

from mocoop.results.compare import VERDICTS, Row, compared
from mocoop.results.stats import Answers

IMAGE, METHOD_ON_IMAGE, NOISE = 1.5, 0.5, 0.7  # deviations of the parts of a score
REST = IMAGE**2 + METHOD_ON_IMAGE**2 + NOISE**2


def draw_tests(
    rng: np.random.Generator, seeds: int, images: int, deviation: float, accuracies: dict[str, tuple[float, float]]
) -> dict[str, Answers]:
    """One dataset: {side: true accuracies, 0 to 1}. deviation: over seeds, in points; one seed moves all sides."""
    moves = rng.standard_normal((2, seeds))
    tests = {}
    for side, both in accuracies.items():
        shared = rng.standard_normal(images) * IMAGE
        right = []
        for accuracy, move in zip(both, moves):
            level = ndtri(accuracy)
            of_seed = deviation / 100 / (np.exp(-(level**2) / 2) / np.sqrt(2 * np.pi)) * np.sqrt(REST)
            score = level * np.sqrt(REST + of_seed**2) + (of_seed * move)[:, None] + shared
            score = score + METHOD_ON_IMAGE * rng.standard_normal(images) + NOISE * rng.standard_normal((seeds, images))
            right.append(score > 0)
        tests[side] = Answers(*right)
    return tests


def percentiles(rng: np.random.Generator, answers: Answers, times: int = 200) -> tuple[float, float]:
    """The usual hierarchical bootstrap: 95 % of means over resampled seeds and resampled images."""
    points = 100.0 * (answers.a.astype(np.float32) - answers.b)
    seeds, images = points.shape
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), times) / seeds  # (times, S)
    of_images = rng.multinomial(images, np.full(images, 1 / images), times) / images
    return tuple(np.percentile(((of_seeds @ points) * of_images).sum(1), [2.5, 97.5]))


def coverage(draws: int, seeds: int, images: int, deviation: float, sets: int, measure: str, true: float = 2.0) -> dict:
    """Shares in percent, of `draws` comparisons over `sets` datasets of two methods that are `true` points apart.

    interval: how many 95 % intervals of `measure` (of the average, if there are several datasets) hold the true
    difference; error: its standard error. false alarms: in how many draws without a difference any dataset is told
    better or worse; on average: in how many the average is.
    """
    rng = np.random.default_rng(0)
    held, alarms, widths = [], [], []
    truth = _truth(measure, true / 100)
    for _ in range(draws):
        found = _rows(rng, seeds, images, deviation, sets, true / 100, measure)[-1].difference
        held.append(found.low <= truth <= found.high)
        widths.append((found.high - found.low) / 2)
        none = [row.verdict in VERDICTS[:2] for row in _rows(rng, seeds, images, deviation, sets, 0.0, measure)]
        alarms.append((any(none[:sets]), none[-1]))
    where = {"seeds": seeds, "images": images, "deviation": deviation, "datasets": sets, "measure": measure}
    share, (of_sets, of_average) = 100 * float(np.mean(held)), 100 * np.mean(alarms, axis=0)
    error = math.sqrt(share * (100 - share) / draws)
    found = {"interval": share, "error": error, "false alarms": float(of_sets), "on average": float(of_average)}
    return where | found | {"half width": float(np.mean(widths))}


def coverage_of_percentiles(draws: int, seeds: int, images: int, deviation: float, true: float = 2.0) -> float:
    """How many intervals of `percentiles`, in percent, hold the true difference of two methods on one dataset."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(draws):
        answers = draw_tests(rng, seeds, images, deviation, {"base": (0.75 + true / 100, 0.75)})["base"]
        low, high = percentiles(rng, answers)
        held.append(low <= true <= high)
    return 100 * float(np.mean(held))


def _rows(rng, seeds: int, images: int, deviation: float, sets: int, gap: float, measure: str) -> list[Row]:
    accuracies = {"base": (0.75 + gap, 0.75), "new": (0.65 + gap, 0.65)}
    sides = accuracies if measure == "H" else {measure: accuracies[measure]}
    models = {f"set{n}": draw_tests(rng, seeds, images, deviation, sides) for n in range(sets)}
    return [row for row in compared(models) if row.measure == measure]


def _truth(measure: str, gap: float) -> float:
    if measure == "base":
        return 100 * gap
    (a, b) = (2 * base * new / (base + new) for base, new in ((0.75 + gap, 0.65 + gap), (0.75, 0.65)))
    return 100 * (a - b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="comparisons in each row (default: %(default)s)")
    parser.add_argument("--json", help="write the table there, too")
    args = parser.parse_args()
    alone = [(*where, 1, measure) for *where, measure in product((3, 5), (300,), (0, 1, 2, 4, 8), ("base", "H"))]
    many = [(*where, 11, measure) for *where, measure in product((2, 3), (300,), (0, 2, 8), ("base", "H"))]
    rows = []
    for where in [*alone, *many]:
        rows.append(coverage(args.draws, *where))
        texts = (f"{value:.2f}" if isinstance(value, float) else str(value) for value in rows[-1].values())
        print(" | ".join(texts), flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="%.1f"))
    resampled = {seeds: coverage_of_percentiles(args.draws, seeds, 300, 8.0) for seeds in (3, 5)}
    print(
        "percentile bootstrap, deviation 8:",
        ", ".join(f"{share:.1f} % with {seeds} seeds" for seeds, share in resampled.items()),
    )
    if args.json:
        table.to_json(args.json, orient="records", indent=1)


if __name__ == "__main__":
    main()
