"""Nearest tokens of context vectors, against distances computed the plain way."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from mocoop.clip.openai import TOKENIZER, tokenizer
from mocoop.clip.prompts import embed_words
from mocoop.errors import ConfigError, DataError
from mocoop.methods import build_method
from mocoop.runs.interpretation import Vocabulary, expert_similarity, interpret, similarities_by_dataset, spans_of
from mocoop.runs.trained_run import load_run


@pytest.fixture(scope="module")
def table():
    table = torch.randn(500, 8, generator=torch.Generator().manual_seed(3))
    table[:100] = 0  # never trained
    return table


def test_nearest_trained_tokens(table):
    vocabulary = Vocabulary(table)
    vectors = torch.randn(3, 8, generator=torch.Generator().manual_seed(4))
    found = vocabulary.nearest(vectors, top=4)
    assert vocabulary.size == 400
    for vector, nearest in zip(vectors, found):
        distances = (table[100:] - vector).norm(dim=-1)
        order = distances.argsort()[:4]
        assert [token for token, _ in nearest] == [TOKENIZER.text_of(100 + int(i)) for i in order]
        assert [distance for _, distance in nearest] == pytest.approx(distances[order].tolist(), rel=1e-5)


def test_random_vectors_have_the_norm_asked_for(table):
    """As the norm grows the distance to any token approaches it; at norm 0 it is the shortest token's length."""
    vocabulary = Vocabulary(table)
    assert vocabulary.random_distances(0.0).max() == pytest.approx(float(table[100:].norm(dim=-1).min()), rel=1e-5)
    far = vocabulary.random_distances(1000.0)
    assert ((far < 1000.0) & (far > 1000.0 - table.norm(dim=-1).max())).all()


def test_how_near_tokens_lie_to_each_other(table):
    distance = float((table[100] - table[150]).norm())
    assert Vocabulary(table[[100, 150]]).neighbour == pytest.approx(distance, rel=1e-5)


def test_words_and_parts_of_words():
    pixelated = tokenizer.encode("pixelated")
    assert [TOKENIZER.text_of(token) for token in pixelated] == ["pixel-", "ated"]
    assert TOKENIZER.text_of(tokenizer.encoder["<|endoftext|>"]) == "<|endoftext|>"


def test_experts_that_did_not_move_lie_at_the_words_they_started_from(trained_runs):
    run = load_run(trained_runs.of("mocoop"))
    fresh = dataclasses.replace(run, method=build_method(run.cfg, run.classnames, run.method.clip_model))
    vocabulary = Vocabulary(run.method.clip_model.token_embedding.weight)
    positions = list(interpret(fresh, vocabulary, top=1))
    assert [p.start for p in positions if p.expert == "pixelated"] == ["a", "pixel-", "ated", "photo", "of", "a"]
    assert all(p.moved == 0 and p.nearest == [(p.start, 0.0)] and p.random_nearer == 0 for p in positions)

    with torch.no_grad():
        fresh.method.ctx_before[0][1] = embed_words("circle", run.method.clip_model)[0]
    moved = list(interpret(fresh, vocabulary, top=1))[1]
    assert (moved.expert, moved.position, moved.start) == ("photo", 2, "photo")
    assert moved.nearest == [("circle", 0.0)] and moved.moved > 0.1


def test_contexts_of_each_class_start_from_noise(trained_runs):
    spans = spans_of(load_run(trained_runs.of("coop-csc")))
    assert len(spans) == 40 and spans[0].expert == "red plain circle" and spans[0].start is None
    assert {len(span.vectors) for span in spans} == {16}


def test_a_class_name_in_the_middle_splits_the_context(trained_runs):
    run = load_run(trained_runs.of("coop"))
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.TRAINER.COOP.CLASS_TOKEN_POSITION = "middle"
    spans = spans_of(dataclasses.replace(run, cfg=cfg))
    assert [(span.side, span.words) for span in spans] == [("before", ["a", "photo"]), ("after", ["of", "a"])]


def test_nothing_learned_is_nothing_to_interpret(trained_runs):
    with pytest.raises(ConfigError, match="ZeroshotCLIP learns no context"):
        spans_of(load_run(trained_runs.of("zeroshot")))


def test_similarity_is_the_mean_cosine_over_classes(trained_runs):
    table = expert_similarity(trained_runs.of("mocoop"))
    method = load_run(trained_runs.of("mocoop")).method
    with torch.no_grad():
        first, second = method.class_features()[:2].float()
    expected = torch.nn.functional.cosine_similarity(first, second).mean().item()
    assert table.iloc[0, 1] == pytest.approx(expected, abs=1e-5)
    assert list(table.index) == list(table.columns) == method.group_names
    assert np.allclose(np.diag(table), 1.0, atol=1e-5) and np.allclose(table, table.T, atol=1e-6)


def test_a_method_without_experts_is_refused(trained_runs):
    with pytest.raises(DataError, match="CoOp has no experts, expected a run of MoCoOp"):
        expert_similarity(trained_runs.of("coop"))


def test_what_cannot_be_loaded_is_named_and_the_rest_goes_on(trained_runs, tmp_path):
    runs = pd.DataFrame({"dataset": ["a", "b"], "folder": [trained_runs.of("mocoop"), tmp_path / "none"]})
    tables, problems = similarities_by_dataset(runs)
    assert list(tables) == ["a"] and len(problems) == 1 and "none" in problems[0]
