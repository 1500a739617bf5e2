"""Subsets in other projects' files, pickles among them."""

import json
import os
import pickle
import sys
import types
from pathlib import Path

import pytest

from mocoop.data.exchange import (
    DATUM,
    FORMATS,
    pickled_subset,
    read_pickled_subset,
    read_subset,
    shots_and_seed,
    write_subset,
)
from mocoop.data.item import Item
from mocoop.data.lists import Record
from mocoop.errors import ConfigError, DataError

TRAIN = [Item("/data/toy/images/é/1.jpg", 0, "é"), Item("/data/toy/images/b/1.jpg", 1, "b", domain=1)]
VAL = [Item("/data/toy/images/b/2.jpg", 1, "b")]


def write(form, folder, val=VAL):
    return write_subset(form, folder / "shot_1-seed_2", TRAIN, val, "/data/toy/images", "/data")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read_back_and_nothing_overwritten(tmp_path, form):
    for path in write(form, tmp_path):
        records = read_subset(path)
        for split, items in (("train", TRAIN), ("val", VAL)):
            assert [record.label for record in records[split]] == [item.label for item in items]
            assert all(item.impath.endswith(record.path) for record, item in zip(records[split], items, strict=True))
        assert shots_and_seed(path) == (1, 2)
    with pytest.raises(ConfigError, match="shot_1-seed_2.* exists"):
        write(form, tmp_path)
    assert shots_and_seed(Path("subset.pkl")) is None


def test_2sfs_has_two_files_with_paths_from_the_data_root(tmp_path):
    train, val = write("2sfs", tmp_path)
    assert (train.name, val.name) == ("shot_1-seed_2_train.jsonl", "shot_1-seed_2_val.jsonl")
    second = {"_impath": "toy/images/b/1.jpg", "_label": 1, "_domain": 1, "_classname": "b"}
    assert [json.loads(line) for line in train.read_text().splitlines()][1] == second
    whole = train.read_text()
    for line in ("{", "[]", "{}", '{"_impath": "a", "_label": "x"}'):
        train.write_text(whole + line + "\n")
        with pytest.raises(DataError, match="_train.jsonl, line 3"):
            read_subset(train)
    train.write_text(whole)
    val.unlink()
    with pytest.raises(DataError, match="_val.jsonl"):
        read_subset(train)


PICKLED_TRAIN = [Item("/d/i/a/1.jpg", 0, "a"), Item("/d/i/b/1.jpg", 1, "b", domain=2)]
PICKLED_VAL = [Item("/d/i/a/2.jpg", 0, "a")]


@pytest.fixture
def dassl_datum(monkeypatch):
    """A class that pickle finds under the name of Dassl's Datum."""
    module_name, class_name = DATUM
    module = types.ModuleType(module_name)
    datum = type(class_name, (), {"__module__": module_name})
    setattr(module, class_name, datum)
    parts = module_name.split(".")
    for end in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    monkeypatch.setitem(sys.modules, module_name, module)
    return datum


def make_datum(datum, item):
    made = datum()
    made._impath, made._label, made._domain, made._classname = item.impath, item.label, item.domain, item.classname
    return made


@pytest.mark.parametrize("protocol", [2, 4, pickle.HIGHEST_PROTOCOL])
def test_reads_what_coop_pickles(tmp_path, dassl_datum, protocol):
    parts = {"train": PICKLED_TRAIN, "val": PICKLED_VAL}
    content = {name: [make_datum(dassl_datum, item) for item in items] for name, items in parts.items()}
    (tmp_path / "s.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    assert read_pickled_subset(tmp_path / "s.pkl") == {
        "train": [Record("/d/i/a/1.jpg", 0, None), Record("/d/i/b/1.jpg", 1, None)],
        "val": [Record("/d/i/a/2.jpg", 0, None)],
    }
    del content["val"]
    (tmp_path / "s.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    assert read_pickled_subset(tmp_path / "s.pkl")["val"] == []


@pytest.mark.parametrize("module", ["datasets.utils", "Dassl.dassl.data.datasets.base_dataset", "data.oxford_pets"])
@pytest.mark.parametrize("prefix", ["_", ""])
def test_reads_what_forks_pickle(tmp_path, monkeypatch, module, prefix):
    datum = type("Datum", (), {"__module__": "fork"})
    made = datum()
    vars(made).update({f"{prefix}impath": "/d/a/1.jpg", f"{prefix}label": 3, f"{prefix}classname": "a"})
    monkeypatch.setitem(sys.modules, "fork", types.SimpleNamespace(Datum=datum))
    content = pickle.dumps({"train": [made]}, protocol=2)
    (tmp_path / "s.pkl").write_bytes(content.replace(b"cfork\n", f"c{module}\n".encode()))
    assert read_pickled_subset(tmp_path / "s.pkl")["train"] == [Record("/d/a/1.jpg", 3, None)]


def test_what_is_written_loads_as_coop_loads_it(dassl_datum):
    content = pickle.loads(pickled_subset(PICKLED_TRAIN, PICKLED_VAL))
    expected = [vars(make_datum(dassl_datum, item)) for item in PICKLED_TRAIN]
    assert [vars(datum) for datum in content["train"]] == expected
    assert [type(datum) for datum in content["val"]] == [dassl_datum]
    assert list(content) == ["train", "val"]


class Hostile:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_a_hostile_pickle_is_refused_by_what_it_asks_for(tmp_path):
    """Those of tests/hostile run nothing either."""
    (tmp_path / "s.pkl").write_bytes(pickle.dumps({"train": [Hostile()], "val": []}, protocol=2))
    with pytest.raises(DataError, match="s.pkl: refused, the pickle asks for .* nothing but Datum") as caught:
        read_pickled_subset(tmp_path / "s.pkl")
    assert "\n" not in str(caught.value)


DATUM_CLASS = b"cdassl.data.datasets.base_dataset\nDatum\n"


@pytest.mark.parametrize(
    "opcodes",
    [
        b"N",
        DATUM_CLASS,
        b"}" + DATUM_CLASS + b")\x81}b",
        b"}X\x05\x00\x00\x00train](" + DATUM_CLASS + b")\x81es",  # a Datum without attributes
        DATUM_CLASS.replace(b"Datum", b"Datum.__init__"),
        DATUM_CLASS.replace(b"Datum", b"os"),
    ],
)
def test_a_pickle_that_misuses_datum_is_one_clear_line(tmp_path, opcodes):
    (tmp_path / "s.pkl").write_bytes(b"\x80\x02" + opcodes + b".")
    with pytest.raises(DataError, match="s.pkl") as caught:
        read_pickled_subset(tmp_path / "s.pkl")
    assert "\n" not in str(caught.value)
