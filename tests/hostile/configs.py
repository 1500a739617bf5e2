"""Yaml files and overrides."""

import json
import os

from tests.hostile.corpus import CANARY
from tests.hostile.tables import BROKEN_TEXT

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
YAML = {
    **{name: text for name, text in BROKEN_TEXT.items() if name != "empty"},
    "python object": f"DATASET: !!python/object/apply:os.system ['touch {CANARY}']",
    "python name": "SEED: !!python/name:os.system",
    "python module": "SEED: !!python/module:os",
    "python new": f"SEED: !!python/object/new:os.system ['touch {CANARY}']",
    "billion laughs": LAUGHS,
    "billion laughs in maps": "a: &a {x: 1}\nb: &b {x: *a, y: *a}\nc: {x: *b, y: *b}\n",
    "an alias of itself": "DATASET: &d {NAME: *d}",
    "merge key": "DATASET: &d {NAME: x}\nTRAIN:\n  <<: *d",
    "a key twice": "SEED: 1\nSEED: 2",
    "an unknown key": "DATASETS: {NAME: x}",
    "a million unknown keys": "".join(f"k{i}: 1\n" for i in range(1000)),
    "a text for a node": "DATASET: x",
    "a node for a text": "SEED: {x: 1}",
    "a list": "- SEED",
    "two documents": "--- {SEED: 1}\n--- {SEED: 2}",
    "nested too deep": "[" * 1000 + "]" * 1000,
    "maps too deep": "{a: " * 5000 + "1" + "}" * 5000,
    "no date": "SEED: 2024-99-99",
    "a date": "SEED: 2024-01-01",
    "no timestamp": "SEED: !!timestamp x",
    "no number": "OPTIM: {LR: .nan}",
    "infinite": "OPTIM: {LR: .inf}",
    "infinite as a text": "OPTIM: {LR: 1e999}",
    "a number too long": "SEED: " + "9" * 10_000,
    "null": "SEED: ~",
    "a set": "SEED: !!set {a}",
    "binary": "SEED: !!binary x",
    "a list as key": "? [a, b]\n: 1",
    "NUL in a text": 'DATASET: {NAME: "a\\0b"}',
    "surrogate in a text": 'DATASET: {NAME: "\\uD800"}',
    "escape code in a text": 'DATASET: {NAME: "\\e[2J"}',
    "unclosed": "DATASET: {NAME: [",
    "tab": "DATASET:\n\tNAME: x",
    "anchors without end": "&a " * 10_000,
}
OVERRIDES = {
    "odd number": ["SEED"],
    "unknown key": ["NO.SUCH.KEY", "1"],
    "a node": ["DATASET", "x"],
    "below a value": ["SEED.X", "1"],
    "attribute": ["__class__", "1"],
    "dunder below": ["DATASET.__dict__", "1"],
    "empty key": ["", "1"],
    "call": ["SEED", f"__import__('os').system('touch {CANARY}')"],
    "deep parentheses": ["SEED", "(" * 10_000],
    "deep signs": ["SEED", "-" * 100_000 + "1"],
    "long chain": ["SEED", "1 if 1 else " * 5000 + "2"],
    "power": ["SEED", "9**9**9**9"],
    "huge": ["SEED", "9" * 10_000],
    "infinite": ["OPTIM.LR", "1e999"],
    "minus infinite in a list": ["OPTIM.STEPSIZE", "(1, -1e999)"],
    "null": ["SEED", "None"],
    "a dictionary": ["SEED", "{1: 2}"],
    "NUL": ["DATASET.NAME", "a\0b"],
    "control characters": ["DATASET.NAME", "\x1b[31m"],
    "a million characters": ["SEED", "x" * 10**6],
}


def add_entries(add) -> None:
    for name, text in YAML.items():
        add("yaml", name, text)
    add("yaml", "a pipe", lambda path: os.mkfifo(path))
    add("yaml", "a folder", lambda path: path.mkdir())
    for name, words in OVERRIDES.items():
        add("override", name, json.dumps(words))
