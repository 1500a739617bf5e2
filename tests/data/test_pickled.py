import io
import os
import pickle
import sys
import types

import pytest

from mocoop.data.exchange import DATUM, pickled_subset, read_pickled_subset
from mocoop.data.item import Item
from mocoop.data.lists import Record
from mocoop.errors import DataError

TRAIN = [Item("/d/i/a/1.jpg", 0, "a"), Item("/d/i/b/1.jpg", 1, "b", domain=2)]
VAL = [Item("/d/i/a/2.jpg", 0, "a")]


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
    content = {"train": [make_datum(dassl_datum, i) for i in TRAIN], "val": [make_datum(dassl_datum, i) for i in VAL]}
    (tmp_path / "s.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    assert read_pickled_subset(tmp_path / "s.pkl") == {
        "train": [Record("/d/i/a/1.jpg", 0, None), Record("/d/i/b/1.jpg", 1, None)],
        "val": [Record("/d/i/a/2.jpg", 0, None)],
    }


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


def test_a_subset_without_validation_is_read(tmp_path, dassl_datum):
    (tmp_path / "s.pkl").write_bytes(pickle.dumps({"train": [make_datum(dassl_datum, TRAIN[0])]}))
    assert read_pickled_subset(tmp_path / "s.pkl")["val"] == []


def test_what_is_written_loads_as_coop_loads_it(dassl_datum):
    content = pickle.loads(pickled_subset(TRAIN, VAL))
    assert [vars(datum) for datum in content["train"]] == [vars(make_datum(dassl_datum, item)) for item in TRAIN]
    assert [type(datum) for datum in content["val"]] == [dassl_datum]
    assert list(content) == ["train", "val"]


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function, arguments",
    [
        (os.system, ("touch {marker}",)),
        (exec, ("open({marker!r}, 'w')",)),
        (eval, ("open({marker!r}, 'w')",)),
        (os.mkdir, ("{marker}",)),
        (getattr, (io, "open")),
        (__import__, ("os",)),
    ],
)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"train": [x], "val": []}, lambda x: {x: 1}])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, function, arguments, wrap):
    marker = str(tmp_path / "ran")
    arguments = tuple(
        a.format(marker=marker) if isinstance(a, str) else a for a in arguments if not isinstance(a, types.ModuleType)
    )
    (tmp_path / "s.pkl").write_bytes(pickle.dumps(wrap(Hostile(function, *arguments)), protocol=2))
    with pytest.raises(DataError, match="s.pkl: refused, the pickle asks for .* nothing but Datum") as caught:
        read_pickled_subset(tmp_path / "s.pkl")
    assert not os.path.exists(marker)
    assert "\n" not in str(caught.value)


def opcodes(*parts) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


DATUM_CLASS = b"cdassl.data.datasets.base_dataset\nDatum\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        opcodes(b"N"),
        opcodes(b"]"),
        opcodes(DATUM_CLASS),
        pickle.dumps({"train": ["x"]}),
        pickle.dumps({"train": 7}),
        pickle.dumps([1, 2]),
        opcodes(b"}", DATUM_CLASS, b")\x81}b"),
        opcodes(b"}X\x05\x00\x00\x00train](", DATUM_CLASS, b")\x81es"),  # a Datum without attributes
        opcodes(b"cdassl.data.datasets.base_dataset\nDatum.__init__\n"),
        opcodes(b"cdassl.data.datasets.base_dataset\nos\n"),
        opcodes(b"Pos.system\n"),  # a persistent id
        pickle.dumps({"train": [1] * 100})[:-20],
    ],
)
def test_a_file_that_is_no_subset_is_one_clear_line(tmp_path, content):
    (tmp_path / "s.pkl").write_bytes(content)
    with pytest.raises(DataError, match="s.pkl") as caught:
        read_pickled_subset(tmp_path / "s.pkl")
    assert "\n" not in str(caught.value)
