"""Which experts a router chose on a test set."""

import numpy as np


def summarise_routing(groups, chosen, weights, domains=None, domain_names=()) -> dict:
    """The `routing` part of result.json.

    groups: E names. chosen: (N, K) the experts of each image. weights: (N, K) their gate weights, each row sums to 1.
    domains: (N,) index into `domain_names` of each image's true style, where the dataset knows it.

    Shares are percentages of images. `chosen[e]` is how often expert e is in the top-k; `chosen_by_domain` the same
    per style; `domain_in_top_k` how often the expert named like the image's style is in its top-k, over the images
    whose style names a group (None if there is none). `gate_entropy` is the mean entropy of the gate weights in nats,
    from 0 (one expert decides) to ln K.
    """
    groups, chosen = list(groups), np.asarray(chosen)
    in_top_k = np.zeros((len(chosen), len(groups)), dtype=bool)
    np.put_along_axis(in_top_k, chosen, True, axis=1)
    by_domain, hits, styled = {}, 0, 0
    if domains is not None:
        domains = np.asarray(domains)
        for index, name in enumerate(domain_names):
            of_domain = in_top_k[domains == index]
            if not len(of_domain):
                continue
            by_domain[name] = _shares(of_domain)
            if name in groups:
                hits += int(of_domain[:, groups.index(name)].sum())
                styled += len(of_domain)
    return {
        "groups": groups,
        "top_k": int(chosen.shape[1]),
        "chosen": _shares(in_top_k),
        "chosen_by_domain": by_domain,
        "domain_in_top_k": 100.0 * hits / styled if styled else None,
        "gate_entropy": float(gate_entropies(weights).mean()),
    }


def chance_in_top_k(routing: dict) -> float:
    """How often, in percent, a given expert is among K of E experts drawn at random."""
    return 100.0 * routing["top_k"] / len(routing["groups"])


def _shares(in_top_k: np.ndarray) -> list[float]:
    return [float(share) for share in 100.0 * in_top_k.mean(axis=0)]


def gate_entropies(weights) -> np.ndarray:
    """(N,) entropy in nats of gate weights (N, K): 0 where one expert decides, ln K where K weigh the same."""
    weights = np.asarray(weights, dtype=np.float64)
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    return np.maximum(0.0, -(weights * logs).sum(axis=1))
