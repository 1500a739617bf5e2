"""Which experts answered which images, and what other routers would have reached with the same experts.

Shares are percentages of images. What takes predictions takes them as `read_predictions` gives them: a row per image,
`experts` and `gates` lists, best first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mocoop.errors import DataError
from mocoop.results.csv_files import PREDICTIONS, answers_of
from mocoop.results.record import FILE_NAME as RECORD_NAME
from mocoop.results.record import ROUTERS, read_record


def summarise_routing(
    groups: Sequence[str],
    chosen: ArrayLike,
    weights: ArrayLike,
    domains: ArrayLike | None = None,
    domain_names: Sequence[str] = (),
) -> dict:
    """The `routing` part of result.json.

    groups: E names. chosen: (N, K) the experts of each image. weights: (N, K) their gate weights, each row sums to 1.
    domains: (N,) index into `domain_names` of each image's true style, where the dataset knows it.

    Shares are percentages of images. `chosen[e]` is how often expert e is in the top-k; `chosen_by_domain` the same
    per style; `domain_in_top_k` how often the expert named like the image's style is in its top-k, over the images
    whose style names a group (None if there is none). `gate_entropy` is the mean entropy of the gate weights in nats,
    from 0 (one expert decides) to ln K.
    """
    groups, experts = list(groups), np.asarray(chosen)
    in_top_k = np.zeros((len(experts), len(groups)), dtype=bool)
    np.put_along_axis(in_top_k, experts, True, axis=1)
    styles = np.full(len(experts), -1) if domains is None else np.asarray(domains)
    of_domain = {name: in_top_k[styles == index] for index, name in enumerate(domain_names) if (styles == index).any()}
    own = [found[:, groups.index(name)] for name, found in of_domain.items() if name in groups]
    hits, styled = sum(int(found.sum()) for found in own), sum(map(len, own))
    return {
        "groups": groups,
        "top_k": int(experts.shape[1]),
        "chosen": _shares(in_top_k),
        "chosen_by_domain": {name: _shares(found) for name, found in of_domain.items()},
        "domain_in_top_k": 100.0 * hits / styled if styled else None,
        "gate_entropy": float(gate_entropies(weights).mean()),
    }


def chance_in_top_k(routing: dict) -> float:
    """How often, in percent, a given expert is among K of E experts drawn at random."""
    return 100.0 * routing["top_k"] / len(routing["groups"])


def _shares(in_top_k: np.ndarray) -> list[float]:
    return [float(share) for share in 100.0 * in_top_k.mean(axis=0)]


def gate_entropies(weights: ArrayLike) -> np.ndarray:
    """(N,) entropy in nats of gate weights (N, K): 0 where one expert decides, ln K where K weigh the same."""
    gates = np.asarray(weights, dtype=np.float64)
    logs = np.log(gates, out=np.zeros_like(gates), where=gates > 0)
    return np.maximum(0.0, -(gates * logs).sum(axis=1))


MOST_SUBSETS = 200  # sets of experts that a random router is averaged over; beyond, so many drawn ones


class RouterTally:
    """Counts over the batches of a test set.

    A random router takes K of the E experts, all sets equally likely, with equal weights.
    """

    def __init__(self) -> None:
        self.images, self.top_k, self.overlap = 0, 0, 0.0
        self.right = np.zeros(4)  # of the run's own router, a dense one, a random one, and of any expert
        self.load = self.alone = np.zeros(0)  # (E,)
        self.in_domain: dict[int, np.ndarray] = {}  # images, and (E,) those that each expert alone names rightly

    def add(
        self,
        logits: np.ndarray,
        expert_logits: np.ndarray,
        chosen: np.ndarray,
        gates: np.ndarray,
        similarity: np.ndarray,
        labels: np.ndarray,
        domains: np.ndarray,
    ) -> None:
        """One batch.

        logits: (B, C) of the run. expert_logits: (B, E, C) of each expert alone. chosen, gates: (B, K). similarity:
        (B, E) of the images to the groups. labels, domains: (B,).
        """
        experts, self.top_k = expert_logits.shape[1], chosen.shape[1]
        if not self.images:
            self.load, self.alone = np.zeros(experts), np.zeros(experts)
            self.members = _subsets(experts, self.top_k) / self.top_k  # (S, E), each row an average
        alone = expert_logits.argmax(-1) == labels[:, None]  # (B, E)
        random = np.einsum("se,bec->sbc", self.members, expert_logits).argmax(-1) == labels  # (S, B)
        self.right += (
            (logits.argmax(-1) == labels).sum(),
            (expert_logits.mean(1).argmax(-1) == labels).sum(),
            random.mean(0).sum(),
            alone.any(1).sum(),
        )
        self.alone += alone.sum(0)
        np.add.at(self.load, chosen.ravel(), gates.ravel())
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : self.top_k]
        self.overlap += (chosen[:, :, None] == nearest[:, None]).any(2).mean(1).sum()
        self.images += len(labels)
        for domain in np.unique(domains).tolist():
            of_domain = alone[domains == domain]
            counts = np.array([len(of_domain), *of_domain.sum(0)])
            self.in_domain[domain] = self.in_domain.get(domain, 0) + counts

    def summary(self, group_names: Sequence[str], domain_names: Sequence[str]) -> dict:
        """In percent: "load", each expert's part of the gate weights; "agreement", of the chosen experts with the K
        groups that are most similar to the image; and "accuracy", what each router reaches.

        "best expert" is the one that is best on this test set; "style" is over the images whose style has an expert,
        None if none has; "any expert" counts an image where at least one expert alone is right.
        """
        experts = {i: group_names.index(name) for i, name in enumerate(domain_names) if name in group_names}
        styled = [self.in_domain[domain][[0, 1 + e]] for domain, e in experts.items() if domain in self.in_domain]
        counts, rights = np.array(styled).T if styled else (np.zeros(0), np.zeros(0))
        own, dense, random, any_expert = (100.0 * float(right) / self.images for right in self.right)
        best = 100.0 * float(self.alone.max()) / self.images
        style = 100.0 * float(rights.sum() / counts.sum()) if styled else None
        return {
            "load": (100.0 * self.load / self.images).tolist(),
            "agreement": 100.0 * float(self.overlap) / self.images,
            "accuracy": dict(zip(ROUTERS, (own, dense, random, best, style, any_expert))),
        }


def _subsets(experts: int, size: int) -> np.ndarray:
    """(S, E): 1 for the members of each set of so many experts, or of MOST_SUBSETS drawn ones."""
    rng, everyone = np.random.default_rng(0), np.eye(experts)
    sets = list(zip(range(MOST_SUBSETS + 1), combinations(range(experts), size)))
    if len(sets) > MOST_SUBSETS:
        return np.array([everyone[rng.choice(experts, size, replace=False)].sum(0) for _ in range(MOST_SUBSETS)])
    return np.array([everyone[list(members)].sum(0) for _, members in sets])


@dataclass(frozen=True)
class Spread:
    """A table's mean over seeds and its sample standard deviation, NaN where there is one seed only."""

    mean: pd.DataFrame
    std: pd.DataFrame

    @property
    def largest(self) -> float:
        """The largest standard deviation of all cells; NaN where none is known."""
        return float(np.nanmax(self.std.to_numpy())) if self.std.notna().to_numpy().any() else float("nan")


def over_seeds(tables: list[pd.DataFrame]) -> Spread:
    """Of one table per seed, with equal rows and columns or some missing; in the order of first appearance."""
    together = pd.concat(tables)
    cells = together.groupby(level=0, sort=False)
    return Spread(cells.mean(), cells.std(ddof=1))


def that_route(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished runs (rows of `collect`) of methods that route."""
    return runs[[isinstance(routing, dict) for routing in runs["routing"]]]


def with_predictions(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that left their predictions."""
    return runs[[(Path(folder) / PREDICTIONS).is_file() for folder in runs["folder"]]]


def predictions_of(run: Any) -> pd.DataFrame:
    """The predictions of a run (a row of `collect`), with the column `classname` added.

    Raises DataError if they are missing or damaged, or do not fit the run's record.
    """
    path, record = Path(run.folder) / PREDICTIONS, read_record(Path(run.folder) / RECORD_NAME)
    frame = answers_of(run.folder, record)
    if "experts" not in frame:
        raise DataError(f"{path}: no column experts, expected the predictions of a method that routes")
    names = {row["label"]: row["classname"] for row in record["per_class"]}
    return frame.assign(classname=frame["label"].map(names))


def chosen_shares(predictions: pd.DataFrame, experts: list[str], by: str) -> pd.DataFrame:
    """How often each expert is among an image's chosen ones, per value of the column `by`: (values, experts)."""
    chosen = pd.DataFrame({expert: [expert in row for row in predictions["experts"]] for expert in experts})
    return 100.0 * chosen.groupby(predictions[by].to_numpy(), sort=False).mean()


def class_shares(runs: pd.DataFrame) -> Spread:
    """`chosen_shares` by class over the seeds of one method on one dataset, classes in label order."""
    tables = []
    for run in runs.itertuples():
        predictions = predictions_of(run).sort_values("label", kind="stable")
        tables.append(chosen_shares(predictions, run.routing["groups"], "classname"))
    return over_seeds(tables)


def strongest_images(predictions: pd.DataFrame, expert: str, count: int) -> pd.DataFrame:
    """The `count` images with the highest weight of `expert`, in a column `gate`, best first."""
    each = predictions.rename(columns={"gates": "gate"}).explode(["experts", "gate"])
    own = each[each["experts"] == expert].astype({"gate": float})
    return own.sort_values("gate", ascending=False, kind="stable").head(count)


def concentration(shares: pd.DataFrame) -> pd.Series:
    """Per row: 1 where all images have the same experts, 0 where every expert is chosen equally often."""
    parts = shares.div(shares.sum(axis=1), axis=0)
    even = np.log(shares.shape[1]) if shares.shape[1] > 1 else 1.0
    return pd.Series(1.0 - gate_entropies(parts) / even, index=shares.index)
