"""Splits, few-shot subsets, and csv files of own images."""

import json
import os
import pickle

from tests.hostile.payload import PAYLOADS, RAW

GOOD = ["ant/000.jpg", 0, "ant"]
PATHS = {
    "absolute": "/etc/passwd",
    "up": "../../../outside/secret.jpg",
    "up in the middle": "ant/../../../../outside/secret.jpg",
    "backslashes": "..\\..\\..\\outside\\secret.jpg",
    "drive": "C:\\secret.jpg",
    "drive with a slash": "C:/secret.jpg",
    "NUL": "ant/000.jpg\0.png",
    "newline": "ant/0\n.jpg",
    "escape code": "ant/\x1b[2J.jpg",
    "half a surrogate pair": "ant/\ud800.jpg",
    "empty": "",
    "a million characters": "x" * 10**6,
    "no such file": "ant/nowhere.jpg",
    "a folder": "ant",
    "a pipe": "pipe.jpg",
    "a link out": "link.jpg",
    "a folder that is a link out": "linked/secret.jpg",
}
LABELS = {
    "text": "0",
    "fraction": 0.5,
    "whole fraction": 1.0,
    "negative": -1,
    "huge": 10**30,
    "large": 2**40,
    "null": None,
    "truth": True,
    "list": [0],
    "a gap": 7,
}
BROKEN_TEXT = {
    "empty": b"",
    "NUL bytes": b"\0" * 100,
    "UTF-16": '{"train": []}'.encode("utf-16"),
    "not UTF-8": b"\xff\xfe\xfa",
    "a line of a million": b"x" * 10**6,
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
}
BROKEN_JSON = {
    **BROKEN_TEXT,
    "byte order mark": b"\xef\xbb\xbf{}",
    "cut short": b'{"train": [["ant/000.jpg", 0,',
    "nested too deep": b"[" * 100_000 + b"]" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "list": b"[]",
    "number": b"7",
    "null": b"null",
    "a number too long": b"9" * 10_000,
}


def add_entries(add) -> None:
    _splits(add)
    _manifests(add)
    _pickles(add)
    _csv(add)
    _class_name_csv(add)


def _split(*entries, part="train") -> str:
    content = {"train": [GOOD, ["bee/000.jpg", 1, "bee"]], "val": [GOOD], "test": [GOOD]}
    return json.dumps({**content, part: [*content[part], *entries]})


def _splits(add) -> None:
    for name, path in PATHS.items():
        for part in ("train", "test"):
            add("split", f"path {name} ({part})", _split([path, 0, "ant"], part=part))
    for name, label in LABELS.items():
        add("split", f"label {name}", _split(["ant/001.jpg", label, "cat"]))
        add("split", f"test label {name}", _split(["ant/001.jpg", label, "cat"], part="test"))
    for name, content in BROKEN_JSON.items():
        add("split", name, content)
    bad = {"too short": ["a.jpg", 0], "too long": [*GOOD, 1], "text": "abc", "number": 3, "object": {"a": 1}}
    for name, entry in bad.items():
        add("split", f"entry {name}", _split(entry))
    add("split", "two names of a label", _split(["ant/001.jpg", 0, "bee"]))
    add("split", "no number as label", _split().replace("0", "NaN", 1))
    add("split", "infinite label", _split().replace(" 0,", " 1e999,", 1))
    add("split", "a key twice", _split()[:-1] + ', "train": []}')
    add("split", "objects for lists", json.dumps({"train": {"a": 1}, "val": [], "test": []}))
    add("split", "no training image", json.dumps({"train": [], "val": [GOOD], "test": [GOOD]}))
    add("split", "a pipe for a file", lambda path: os.mkfifo(path))
    add("split", "a folder for a file", lambda path: path.mkdir())


def _line(**changes) -> str:
    return json.dumps({"split": "train", "path": GOOD[0], "label": 0, "classname": "ant", **changes}) + "\n"


def _manifests(add) -> None:
    for name, path in PATHS.items():
        add("manifest", f"path {name}", _line() + _line(path=path))
        add("2sfs", f"path {name}", json.dumps({"_impath": path, "_label": 0}))
    for name, label in LABELS.items():
        add("manifest", f"label {name}", _line(label=label))
        add("2sfs", f"label {name}", json.dumps({"_impath": GOOD[0], "_label": label}))
    for name, content in BROKEN_JSON.items():
        add("manifest", name, content)
        add("2sfs", name, content)
    for name, changes in {
        "split unknown": {"split": "dev"},
        "split a list": {"split": ["train"]},
        "split null": {"split": None},
        "other class": {"classname": "bee"},
        "class a number": {"classname": 7},
        "path a number": {"path": 7},
    }.items():
        add("manifest", name, _line(**changes))
    add("manifest", "a key twice", _line().replace("}", ', "path": "bee/000.jpg"}'))
    add("manifest", "no label", '{"split": "train", "path": "ant/000.jpg", "classname": "ant"}\n')
    add("manifest", "blank line", _line() + "\n" + _line())
    add("manifest", "a pipe", lambda path: os.mkfifo(path))


def _pickles(add) -> None:
    wraps = {"alone": lambda x: x, "as an item": lambda x: {"train": [x], "val": []}}
    for name, payload in PAYLOADS.items():
        for place, wrap in wraps.items():
            for protocol in (0, 2, 5):
                add("pickle", f"{name}, {place}, protocol {protocol}", pickle.dumps(wrap(payload), protocol))
    for name, content in RAW.items():
        add("pickle", name, content)
    add("pickle", "plain values", pickle.dumps({"train": [("ant/000.jpg", 0)]}))
    add("pickle", "a pipe", lambda path: os.mkfifo(path))


def _csv(add) -> None:
    rows = "".join(f"{name}/{number:03d}.jpg,{name}\n" for name in ("ant", "bee") for number in range(4))
    for name, path in PATHS.items():
        if name not in ("empty", "a pipe", "no such file", "a folder", "a link out", "a folder that is a link out"):
            quoted = path.replace('"', '""')
            add("csv", f"path {name}", f'path,label\n{rows}"{quoted}",ant\n')
    for name in ("a pipe", "a folder", "a link out", "a folder that is a link out", "no such file"):
        add("csv", f"path {name}", f"path,label\n{rows}{PATHS[name]},only\n")
    for name, content in BROKEN_TEXT.items():
        add("csv", name, content)
    for name, content in {
        "other columns": "file,class\na.jpg,x\n",
        "a column twice": f"path,label,label\n{rows}",
        "no row": "path,label\n",
        "an open quote": f'path,label\n{rows}"ant/000.jpg,ant\n',
        "a field too large": f"path,label\n{rows}ant/000.jpg,{'x' * 200_000}\n",
        "label with a newline": f'path,label\n{rows}ant/000.jpg,"a\nb"\n',
        "label with an escape code": f"path,label\n{rows}ant/000.jpg,\x1b]0;x\x07\n",
        "label that turns": f"path,label\n{rows}ant/000.jpg,gpj\u202eexe\n",
        "label of 10,000": f"path,label\n{rows}ant/000.jpg,{'x' * 10_000}\n",
        "label of 10,000 digits": f"path,label\n{rows}ant/000.jpg,{'9' * 10_000}\n",
        "domain with a NUL": f"path,label,domain\nant/000.jpg,ant,\0\n{rows}",
        "split unknown": f"path,label,split\nant/000.jpg,ant,dev\n{rows}",
        "a pickle": RAW["old opcode OBJ"],
    }.items():
        add("csv", name, content)
    add("csv", "a pipe for a file", lambda path: os.mkfifo(path))
    formula = rows.replace(",ant", ",=cmd|'/C calc'!A1")
    add("csv", "label that a spreadsheet would compute", f"path,label\n{formula}", harmless=True)
    add("csv", "byte order mark", b"\xef\xbb\xbf" + f"path,label\n{rows}".encode(), harmless=True)


def _class_name_csv(add) -> None:
    for name, content in {
        **BROKEN_TEXT,
        "a label twice": "label,classname\nant,x\nant,y\nbee,z\n",
        "a name twice": "label,classname\nant,x\nbee,x\n",
        "no name": "label,classname\nant,\nbee,x\n",
        "a NUL": "label,classname\nant,a\0\nbee,x\n",
        "a newline": 'label,classname\nant,"a\nb"\nbee,x\n',
        "a label missing": "label,classname\nant,x\n",
        "10,000 characters": f"label,classname\nant,{'x' * 10_000}\nbee,y\n",
    }.items():
        add("classnames", name, content)
