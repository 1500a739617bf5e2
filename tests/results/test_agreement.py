"""What has to agree before two numbers stand side by side: every key, every pair of keys, everybody who asks."""

import functools
import json
from pathlib import Path

import pandas as pd
import pytest

from mocoop.errors import DataError
from mocoop.export.card import results_tables
from mocoop.report.content import find_runs
from mocoop.report.sections import protocol_section
from mocoop.results.agreement import APART, CONDITIONS, KEYS, NOTED, UNPAIRED, apart, deviations
from mocoop.results.compare import compare
from mocoop.results.record import read_record
from mocoop.results.render import to_markdown
from mocoop.results.runs import COLUMNS, collect, row_of
from mocoop.results.tables import protocol_tables
from tests.results.runs import add_answers, add_run, make_config, make_record

INPUT = {"SIZE": [224, 224], "INTERPOLATION": "bicubic", "TRANSFORMS": ["normalize"]}
USUAL = {"test_sha256": "0" * 64, "train_per_class": [16, 16], "precision": {"train": "fp32", "test": "fp32"}}
ON_TOP = {"with": "tda", "label": "tda", "seen": "one after the other", "settings": {}, "batch": 1}
CHANGES = {  # a record that differs from the usual one in a key alone
    "clip": {"clip_sha256": "c" * 64},
    "split": {"split": "val"},
    "seen_together": {"transduction": ON_TOP},
    "input": {"config": {"INPUT": INPUT | {"TRANSFORMS": ["random_flip"]}}},
    "classnames": {"per_class": [{"label": 0, "classname": "dog", "total": 10000, "correct": 5000, "accuracy": 50.0}]},
    "num_test": {"num_test": 9999},
    "test_per_class": {"per_class": [{"label": 0, "classname": "cat", "total": 2, "correct": 1, "accuracy": 50.0}]},
    "test_sha256": {"test_sha256": "1" * 64},
    "subset": {"manifest_sha256": "1" * 64},
    "train_per_class": {"train_per_class": [3, 16]},
    "trained_in": {"precision": {"train": "amp", "test": "fp32"}},
    "tested_in": {"precision": {"train": "fp32", "test": "fp16"}},
    "began_from": {"config": {"MODEL": {"INIT_WEIGHTS": "/somewhere/other.pth"}}},
}
NAMES = {condition.key: condition.name for condition in CONDITIONS}
EFFECTS = {condition.key: condition.effect for condition in CONDITIONS}


def changed(record: dict, changes: dict) -> dict:
    for key, value in changes.items():
        record[key] = changed(dict(record[key]), value) if key in ("config", "MODEL") else value
    return record


def record_of(method: str, *keys: str) -> dict:
    config = make_config(method=method, classes="base")
    config["INPUT"], config["MODEL"]["INIT_WEIGHTS"] = INPUT, ""
    record = make_record(config=config, more=USUAL | {"clip_sha256": "b" * 64})
    for key in keys:
        changed(record, CHANGES[key])
    return record


@functools.cache
def row(method: str, key: str | None) -> dict:
    """Of a run that differs in a key."""
    folder = Path("/output/base2new/train_base/shapes_both/shots_16", method, "tiny/seed1")
    return row_of(record_of(method, *filter(None, [key])), folder)


def frame_of(**keys: str | None) -> pd.DataFrame:
    """A run of each method, that differs in a key."""
    return pd.DataFrame([row(*one) for one in keys.items()], columns=COLUMNS)


def said_of(runs: pd.DataFrame) -> dict[str, dict[str, str]]:
    """{method: {key: effect}} of what sets its run apart from CoOp's."""
    said: dict[str, dict[str, str]] = {method: {} for method in runs["method"]}
    coop = runs[runs["method"] == "CoOp"].iloc[0]
    for _, part in apart(runs):
        for one in deviations(part):
            for method in one.runs["method"]:
                said[method][one.condition.key] = one.condition.effect
        if (part["method"] != "CoOp").all():
            for _, own in part.iterrows():
                keys = [key for key in ("clip_sha256", "split", "seen_together") if own[key] != coop[key]]
                said[own["method"]] |= {key.replace("clip_sha256", "clip"): APART for key in keys}
    return said


def test_every_key_has_a_case():
    assert list(CHANGES) == KEYS and set(EFFECTS.values()) == {APART, UNPAIRED, NOTED}


@pytest.mark.parametrize("one", KEYS)
def test_all_pairs_of_keys(one):
    """Of two methods beside two usual ones, one differs in one key, the other in the other."""
    for other in KEYS[KEYS.index(one) :]:
        # the split and the CLIP hide what else differs only if both are in tables of their own
        said = said_of(frame_of(CoOp=None, CoCoOp=None, KgCoOp=other, MoCoOp=one))
        expected = {"MoCoOp": {one: EFFECTS[one]}, "KgCoOp": {other: EFFECTS[other]}}
        assert said == {"CoOp": {}, "CoCoOp": {}} | expected, other


@pytest.mark.parametrize("key", KEYS)
def test_nobody_puts_what_differs_side_by_side_without_a_word(tmp_path, key):
    for method, keys in (("CoOp", []), ("KgCoOp", []), ("MoCoOp", [key])):
        folder = add_answers(tmp_path, method, 0.5, images=20)
        answered = read_record(folder / "result.json")
        shown = () if key in ("classnames", "num_test", "test_per_class") else ("per_class", "num_test", "num_classes")
        measured = {name: answered[name] for name in ("metrics", *shown)}
        (folder / "result.json").write_text(json.dumps(record_of(method, *keys) | measured))
    frame = collect(tmp_path).frame
    tables = protocol_tables(frame, "base2new")
    text = "\n".join(map(to_markdown, tables))
    parts = find_runs(tmp_path).protocols[-1:] if key in ("split", "subset") else []
    sections = list(map(protocol_section, parts))
    if EFFECTS[key] == APART:
        assert len(tables) == 2 and "KgCoOp" in to_markdown(tables[0]) and "MoCoOp" not in to_markdown(tables[0])
        named = {"split": "validation images", "seen_together": "tda (test images one after the other)"}
        assert tables[1].title == f"Base to new classes, {named.get(key, 'tiny cccccccc')}"
        assert all("validation images" in section.title for section in sections)
    else:
        (table,) = tables
        line = next(note for note in table.notes if note.startswith("(a) not the same"))
        assert NAMES[key] in line and "MoCoOp" in line and "| MoCoOp (a) |" in " ".join(text.split())
        assert all(line in section.blocks[0].table.notes for section in sections)
    both = [frame[frame["method"] == method] for method in ("MoCoOp", "CoOp")]
    if EFFECTS[key] == NOTED:
        _, notes = compare(*both, "base2new", ("MoCoOp", "CoOp"))
        assert any(f"not the same {NAMES[key]}" in note for note in notes)
    else:
        named = NAMES[key].replace("test images of each class", "test images")
        with pytest.raises(DataError, match=f"cannot be paired: got {named}"):
            compare(*both, "base2new", ("MoCoOp", "CoOp"))


def test_what_makes_no_pair_is_not_ranked():
    runs = frame_of(CoOp=None, KgCoOp=None, MoCoOp="subset", PromptSRC="trained_in")
    runs["accuracy"] = [50.0, 60.0, 90.0, 70.0]
    (table,) = protocol_tables(runs, "base2new")
    assert {row[1]: row[2].rank for row in table.rows} == {"CoOp": 0, "KgCoOp": 2, "MoCoOp (a)": 0, "PromptSRC (b)": 1}


def test_a_moved_clip_is_the_same_and_another_of_its_name_is_not():
    """By the hash of its weights; a record that lacks it is known by the name."""
    runs = frame_of(CoOp=None, KgCoOp=None, MoCoOp="clip", TCP=None)
    runs["backbone"] = runs["clip"] = ["tiny", "moved.pt", "tiny", "RN50"]
    runs.loc[3, "clip_sha256"] = None
    assert [(what, part["method"].tolist()) for what, part in apart(runs)] == [
        ("tiny bbbbbbbb", ["CoOp", "KgCoOp"]), ("tiny cccccccc", ["MoCoOp"]), ("RN50", ["TCP"]),
    ]  # fmt: skip
    runs["clip_sha256"], runs["clip"] = None, "tiny"
    assert len(apart(runs)) == 1


def test_a_card_of_seeds_that_differ_says_so(tmp_path):
    for seed, keys in ((1, []), (2, []), (3, ["trained_in"])):
        folder = add_run(tmp_path, 50.0, seed=seed)
        record = record_of("CoOp", *keys) | {"seed": seed}
        (folder / "result.json").write_text(json.dumps(record))
    (table,) = results_tables(folder, record)
    assert table.rows[0][1] == "CoOp (a)"
    assert table.notes[1] == "(a) not the same precision of training: CoOp has amp, not fp32"


def test_a_gap_is_where_its_method_is(tmp_path):
    add_run(tmp_path, 50.0, method="CoOp"), add_run(tmp_path, 50.0, method="CoOp", seed=2)
    add_run(tmp_path, 60.0, method="MoCoOp", backbone="RN50")
    (add_run(tmp_path, 60.0, method="MoCoOp", seed=2) / "result.json").unlink()
    first, second = protocol_tables(collect(tmp_path).with_gaps(), "base2new")
    assert [row[1] for row in first.rows] == ["CoOp"] and [row[1] for row in second.rows] == ["MoCoOp"]
    assert any("seed 2" in note for note in second.notes)
