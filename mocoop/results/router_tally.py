"""What other routers would have reached with a run's experts, counted on its test set; nothing is trained again."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from mocoop.results.record import ROUTERS

MOST_SUBSETS = 200  # sets of experts that a random router is averaged over; beyond, so many drawn ones


class RouterTally:
    """Counts over the batches of a test set.

    A random router takes K of the E experts, all sets equally likely, with equal weights.
    """

    def __init__(self):
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
