import os

import pytest

from mocoop.errors import CheckpointError
from mocoop.training.checkpoint import load_checkpoint
from mocoop.training.resume_files import DAMAGED, NEWEST, PREVIOUS, newest_state, progress, save_for_resuming


def states(folder, **batches):
    """Files that hold nothing but their progress, in epoch 3."""
    for name, batch in batches.items():
        save_for_resuming({"epoch": 2, "batch": batch}, folder)
        os.replace(folder / NEWEST, folder / {"newest": NEWEST, "previous": PREVIOUS}[name])


def test_a_damaged_state_is_passed_over_and_put_aside(tmp_path, caplog):
    states(tmp_path, previous=4, newest=6)
    (tmp_path / NEWEST).write_bytes((tmp_path / NEWEST).read_bytes()[:500])
    path, state = newest_state(tmp_path)
    assert (path.name, progress(state)) == (PREVIOUS, (2, 4))
    assert f'cannot load "{tmp_path / NEWEST}": it is damaged' in caplog.text
    save_for_resuming({"epoch": 2, "batch": 5}, tmp_path)  # writes over no state that is whole
    assert progress(load_checkpoint(tmp_path / PREVIOUS)) == (2, 4)
    assert (tmp_path / (NEWEST + DAMAGED)).stat().st_size == 500


def test_without_a_readable_state_nothing_is_started_anew(tmp_path):
    assert newest_state(tmp_path) is None
    states(tmp_path, newest=6)
    (tmp_path / NEWEST).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=f"is readable \\({NEWEST}\\); remove them to start anew"):
            newest_state(tmp_path)
