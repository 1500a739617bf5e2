"""Groups of templates by CLIP's own text features."""

import random

import numpy as np
import pytest
import torch

from mocoop.backbone import load_clip
from mocoop.config import merge_overrides
from mocoop.engine import get_cfg_default
from mocoop.errors import ConfigError, DataError
from mocoop.methods import build_method, extend_cfg
from mocoop.methods.mocoop.auto_groups import cluster
from mocoop.shapes.vocabulary import TEMPLATES, classnames
from mocoop.training.run_state import with_structure

STYLES = [style for style in TEMPLATES if style not in ("faded", "painting")]


def config(file, *overrides):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.TRAINER.NAME, cfg.MODEL.BACKBONE.NAME, cfg.DATASET.NAME = "MoCoOp", "tiny", "ShapesBoth"
    given = ["GROUPS", "auto", "AUTO_TEMPLATES", str(file), *overrides]
    merge_overrides(cfg, [word if i % 2 else f"TRAINER.MOCOOP.{word}" for i, word in enumerate(given)])
    return cfg


def grouped(cfg):
    return build_method(cfg, classnames("both")[:40], load_clip(cfg)).groups


def sentences(path, order=None):
    lines = [template for style in STYLES for template in TEMPLATES[style]]
    if order is not None:
        random.Random(order).shuffle(lines)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_sentences_about_styles_fall_into_the_styles_whatever_order_and_threads(tmp_path):
    """Nor do the groups depend on Python's hash seed (tests/hostile/test_hash_seed.py)."""
    found = grouped(config(sentences(tmp_path / "a.txt", 1)))
    assert sorted(map(sorted, found.values())) == sorted(sorted(TEMPLATES[style]) for style in STYLES)
    assert len(set(found)) == 9 and any("sketch" in name for name in found)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        again = grouped(config(sentences(tmp_path / "b.txt", 2)))
    finally:
        torch.set_num_threads(threads)
    assert again == found and list(again) == list(found)


def test_groups_travel_with_what_was_learned(tmp_path):
    cfg = config(sentences(tmp_path / "a.txt"))
    method = build_method(cfg, classnames("both")[:40], load_clip(cfg))
    (tmp_path / "a.txt").unlink()
    again = with_structure(cfg, method.structure())
    assert build_method(again, ["a star", "a ring"], load_clip(cfg)).groups == method.groups


def naive_average_linkage(vectors, groups):
    """Clusters of indices: the two whose members are on average nearest are joined, until so many are left."""
    clusters = [[i] for i in range(len(vectors))]
    while len(clusters) > groups:
        pairs = [(a, b) for a in range(len(clusters)) for b in range(a)]

        def apart(pair):
            return np.mean([1 - vectors[i] @ vectors[j] for i in clusters[pair[0]] for j in clusters[pair[1]]])

        a, b = min(pairs, key=apart)
        clusters[b] += clusters.pop(a)
    return sorted(map(sorted, clusters))


def naive_silhouette(vectors, clusters):
    values = []
    for own in clusters:
        for i in own:
            means = [np.mean([1 - vectors[i] @ vectors[j] for j in other]) for other in clusters if other is not own]
            inside = sum(1 - vectors[i] @ vectors[j] for j in own if j != i) / max(1, len(own) - 1)
            values.append((min(means) - inside) / max(min(means), inside) if len(own) > 1 else 0.0)
    return np.mean(values)


def test_clusters_and_their_number_are_those_of_the_definition():
    rng = np.random.default_rng(5)
    vectors = np.repeat(rng.normal(size=(4, 6)), [2, 3, 4, 5], axis=0) + 0.35 * rng.normal(size=(14, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def clusters_of(labels):
        return sorted([i for i, label in enumerate(labels) if label == group] for group in set(labels))

    by_number = {number: naive_average_linkage(vectors, number) for number in range(2, 13)}
    for number in (2, 5, 7):
        assert clusters_of(cluster(vectors, number)) == by_number[number]
    best = max(by_number.values(), key=lambda clusters: naive_silhouette(vectors, clusters))
    assert clusters_of(cluster(vectors)) == best
    assert cluster(vectors, 1) == [0] * 14


def test_what_cannot_be_grouped_is_said(tmp_path):
    few = tmp_path / "few.txt"
    few.write_text("a {}.\nthe {}.\na photo of a {}.\n")
    with pytest.raises(ConfigError, match="TOP_K is 3, got 2 groups"):
        grouped(config(few, "TOP_K", "3", "AUTO_GROUPS", "2"))
    with pytest.raises(ConfigError, match="AUTO_TEMPLATES has 3 templates, expected over 4"):
        grouped(config(few, "AUTO_GROUPS", "4"))
    with pytest.raises(ConfigError, match="GROUP_NAMES is .*expected none"):
        grouped(config(few, "GROUP_NAMES", "['a']"))
    few.write_text("a photo\n")
    with pytest.raises(DataError, match="few.txt, template 1: .*exactly once"):
        grouped(config(few))


def test_clips_eighty_templates_and_the_data_sets(tmp_path):
    found = grouped(config("clip"))
    assert sum(map(len, found.values())) == 80 and 2 <= len(found) <= 12
    given = grouped(config("dataset", "AUTO_GROUPS", "5"))
    assert len(given) == 5 and ["a photo of many {}."] in [[t for t in g if "many" in t] for g in given.values()]
