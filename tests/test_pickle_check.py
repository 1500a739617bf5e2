import io
import pickle
from collections import OrderedDict, namedtuple

import pytest
import torch

from mocoop.pickle_check import DEEPEST, check_pickle

Point = namedtuple("Point", "x y")
HONEST = [
    None,
    {"a": [1, 2.5, "x", b"y", (1, 2), {3}, frozenset([4]), True], "big": 2**200, "again": [[1]] * 3},
    OrderedDict(a=Point(1, 2)),
    bytearray(9),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", HONEST, ids=lambda value: type(value).__name__)
def test_honest_pickles_pass(value, protocol):
    stream = io.BytesIO(pickle.dumps(value, protocol) + b"what follows")
    check_pickle(stream)
    assert stream.read() == b"what follows"


def test_a_long_container_is_not_a_deep_one():
    check_pickle(pickle.dumps(list(range(110_000))))  # pickle writes it in 110 parts


def test_torchs_pickles_pass():
    file = io.BytesIO()
    optimizer = torch.optim.AdamW(torch.nn.Linear(3, 2).parameters())
    torch.save({"optimizer": optimizer.state_dict(), "w": torch.ones(2)}, file, _use_new_zipfile_serialization=False)
    file.seek(0)
    for _ in range(3):  # magic number, protocol, system
        check_pickle(file)
    check_pickle(file)


def nested(depth, container=b"\x85"):
    return b"\x80\x02N" + container * depth + b"."


def test_depth_is_bounded():
    check_pickle(nested(DEEPEST))
    for hostile in (nested(DEEPEST + 1), nested(10**6), b"\x80\x02}N" + b"\x85" * 10**5 + b"Ns."):
        with pytest.raises(pickle.UnpicklingError, match="nested more than 100 deep"):
            check_pickle(hostile)


def test_depth_through_the_memo():
    step = b"q\x00h\x000h\x00\x85"  # remember, fetch, drop, fetch, wrap
    with pytest.raises(pickle.UnpicklingError, match="nested"):
        check_pickle(b"\x80\x02N" + step * 200 + b".")


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2000000000\n", b"p-1\n"])
def test_memo_bombs(put):
    with pytest.raises(pickle.UnpicklingError, match="memo index"):
        check_pickle(b"\x80\x02N" + put + b".")


@pytest.mark.parametrize(
    "damaged",
    [b"", b"\x80\x02", b"not a pickle", b"\x80\x02a.", b"\x80\x02h\x07.", b"\x80\x02e.", b"(.", b"\x80\x0222."],
)
def test_damage_is_an_error(damaged):
    with pytest.raises(pickle.UnpicklingError):
        check_pickle(damaged)
        pickle.loads(damaged)
