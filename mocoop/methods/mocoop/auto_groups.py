"""Groups of templates that nobody made by hand: templates that CLIP's own text tower reads alike stand together.

The vector of a template is the mean of its text features over the training classes, less the mean over all templates,
so that what they all share does not count. Clusters grow by average linkage of cosine distances, which needs no seed
and no start. Distances are rounded, and templates are taken in alphabetical order: neither threads nor the order in
which they are given change a group.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.features import hard_features
from mocoop.clip.templates import ensemble_templates, split_template, template_bank, template_groups, template_problem
from mocoop.clip.text_encoder import TextEncoder
from mocoop.config import AUTO
from mocoop.errors import ConfigError, DataError
from mocoop.files import read_text
from mocoop.late_imports import drawing_nothing

DECIMALS = 5  # of distances; what is beyond differs between machines
MOST_CLASSES, MOST_GROUPS = 50, 12
SMALL_WORDS = frozenset("a an the of in on out my one it its with many lot to and for at is".split())


def wants_auto(node: CfgNode) -> bool:
    """Whether GROUPS of a method's node is `auto`."""
    return list(node.GROUPS) == [AUTO]


def auto_groups(cfg: CfgNode, node_name: str, encoder: TextEncoder, classnames: Sequence[str]) -> dict[str, list[str]]:
    """{name: templates} for a config whose TRAINER.<node_name>.GROUPS is auto, in the order of their first templates.

    Raises ConfigError for fewer templates than groups, and DataError for a file with none or a wrong one.
    """
    node = cfg.TRAINER[node_name]
    distinct = set(_templates(node.AUTO_TEMPLATES, cfg.DATASET.NAME))
    templates = sorted(distinct, key=lambda template: (not any(split_template(template)), template))  # words first
    least = max(2, node.AUTO_GROUPS)
    if len(templates) <= least:
        raise ConfigError(f"TRAINER.{node_name}.AUTO_TEMPLATES has {len(templates)} templates, expected over {least}")
    step = -(-len(classnames) // MOST_CLASSES)
    vectors = template_vectors(encoder, templates, classnames[::step])
    labels = cluster(vectors, node.AUTO_GROUPS)
    groups = [[t for t, label in zip(templates, labels) if label == group] for group in dict.fromkeys(labels)]
    centres = np.stack([vectors[[templates.index(t) for t in group]].mean(0) for group in groups])
    return dict(zip(_names(encoder, groups, centres), groups))


def template_vectors(encoder: TextEncoder, templates: Sequence[str], classnames: Sequence[str]) -> np.ndarray:
    """(T, D) in fp64, of length 1."""
    means = hard_features(encoder, templates, classnames).double().mean(1)  # (T, D)
    return F.normalize(means - means.mean(0), dim=-1).cpu().numpy()


def cluster(vectors: np.ndarray, groups: int = 0) -> list[int]:
    """A label for each of T vectors; 0 `groups` take the number, up to MOST_GROUPS, with the best mean silhouette."""
    with drawing_nothing():
        from sklearn.cluster import AgglomerativeClustering  # slow to import, and needed here alone
        from sklearn.metrics import silhouette_score

    distances = np.round(np.clip(1 - vectors @ vectors.T, 0, 2), DECIMALS)
    np.fill_diagonal(distances, 0)
    found = {}
    for number in [groups] if groups else range(2, min(MOST_GROUPS, len(vectors) - 1) + 1):
        labels = AgglomerativeClustering(number, metric="precomputed", linkage="average").fit_predict(distances)
        score = silhouette_score(distances, labels, metric="precomputed") if number > 1 else 0.0
        found[number] = (round(float(score), DECIMALS), labels.tolist())
    return max(found.items(), key=lambda item: (item[1][0], -item[0]))[1][1]


def _templates(source: str, dataset: str) -> list[str]:
    """Those of the dataset's groups and CLIP's selected ones, or CLIP's 80, or a file's lines."""
    if source == "dataset":
        return [t for group in template_groups(dataset).values() for t in group] + ensemble_templates(dataset)
    if source == "clip":
        return template_bank("CLIP")
    templates = [line.strip() for line in read_text(Path(source), "list of templates").splitlines() if line.strip()]
    for number, template in enumerate(templates, start=1):
        if problem := template_problem(template):
            raise DataError(f"{source}, template {number}: {problem}")
    return templates


@torch.no_grad()
def _names(encoder: TextEncoder, groups: Sequence[Sequence[str]], centres: np.ndarray) -> list[str]:
    """For each group the two words of its templates that lie nearest to it, by CLIP's text features; no name twice."""
    of_group = [sorted({word for t in group for word in _words(t)}) for group in groups]
    words = sorted({word for own in of_group for word in own})
    names: list[str] = []
    vectors = _word_vectors(encoder, words) if words else np.empty((0, 0))
    for i, own in enumerate(of_group):
        nearness = {word: round(float(vectors[words.index(word)] @ centres[i]), DECIMALS) for word in own}
        nearest = sorted(own, key=lambda word: (-nearness[word], word))
        name = " ".join(nearest[:2]) or f"group {i + 1}"
        names.append(name if name not in names else f"{name} {i + 1}")
    return names


def _word_vectors(encoder: TextEncoder, words: Sequence[str]) -> np.ndarray:
    """(W, D), as `template_vectors`, of words alone."""
    features = hard_features(encoder, ["{}."], words)[0].double()
    return F.normalize(features - features.mean(0), dim=-1).cpu().numpy()


def _words(template: str) -> list[str]:
    bare = "".join(c if c.isalnum() or c == "-" else " " for c in template.replace("{}", " ").lower())
    return [word for word in bare.split() if word not in SMALL_WORDS and len(word) > 1]
