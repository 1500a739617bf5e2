"""The words that a report needs, each explained in a line."""

from mocoop.protocol import PROTOCOLS

ALWAYS = {
    "accuracy": "The share of test images whose class is predicted right, in percent.",
    "seed": "The number that draws the training images and starts the learning. Several seeds show how much chance "
    "there is in a result.",
    "mean ± std": "The mean over the seeds and their sample standard deviation.",
    "better, worse, not told apart": "Whether two methods differ by more than chance in seeds and test images, tested "
    "on the same images with the same seeds (mocoop compare).",
    "shots": "Training images per class. A zero-shot method learns nothing and has 0.",
}
ROUTING = {
    "expert": "One of a mixture's soft prompts. Each starts from a group of hand-written templates and has its name.",
    "routing": "For each image the router picks the few experts that fit it best, the top-k, and weighs their answers.",
    "gate weights": "How much the answer of each picked expert counts. They add up to 1.",
}


def explained(protocols: list[str], routes: bool) -> dict[str, str]:
    """Term and explanation, of those that a report of these protocols uses."""
    terms = dict(ALWAYS)
    for protocol in protocols:
        terms |= PROTOCOLS[protocol].terms
    return terms | (ROUTING if routes else {})
