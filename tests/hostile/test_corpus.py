"""Every hostile file meets every reader that could meet it: one clear line, nothing executed, nothing touched."""

import pytest

from mocoop.errors import MocoopError
from tests.counts import count
from tests.hostile.box import Box
from tests.hostile.corpus import entries
from tests.hostile.readers import READERS, WHERE

LONGEST = 500


@pytest.fixture
def box(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # and back afterwards
    return Box(tmp_path)


def refusal(reader, box, path) -> str | None:
    """The one line with which a reader refuses a file; None where it reads it."""
    try:
        reader(box, path)
    except MocoopError as error:
        message = str(error)
        assert message and len(message) <= LONGEST and message.isprintable(), message[:1000]
        return message
    return None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("entry", entries(), ids=str)
def test_is_refused_or_read_as_plain_data(entry, box, capsys):
    path = box.home / WHERE[entry.kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.kind == "csv":
        box.add_traps()
    entry.make(path)
    messages = [refusal(reader, box, path) for reader in READERS[entry.kind]]
    outcome = "read" if messages[-1] is None else "refused"
    count("hostile files", entry.kind, **{outcome: 1}, executed=box.was_executed())
    assert not box.was_executed()
    box.check_untouched()
    if entry.harmless:
        assert messages[-1] is None
    else:
        assert messages[-1] is not None, "was read"
    printed = capsys.readouterr()
    for line in (printed.out + printed.err).splitlines():
        assert not line.startswith("error:") or len(line) <= LONGEST, line[:1000]


def test_the_corpus_is_large_and_its_names_are_unique():
    names = [str(entry) for entry in entries()]
    assert len(set(names)) == len(names) >= 600
    assert {entry.kind for entry in entries()} == READERS.keys() == WHERE.keys()
