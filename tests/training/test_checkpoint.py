"""The files of checkpoints: what is written, what is read, and what a damaged or foreign one does."""

import os
import pickle
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import nn

from mocoop.errors import CheckpointError
from mocoop.training.checkpoint import (
    DAMAGED,
    NEWEST,
    PREVIOUS,
    last_checkpoint,
    load_checkpoint,
    load_pretrained_weights,
    newest_state,
    progress,
    save_checkpoint,
    save_for_resuming,
)


def trained(steps=2):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def state_of(model, optimizer, **more):
    return {"state_dict": model.state_dict(), "epoch": 2, "optimizer": optimizer.state_dict(), **more}


def test_files_and_pointer(tmp_path, capsys):
    model, optimizer = trained()
    for name in ("", "model-best.pth.tar"):
        save_checkpoint(state_of(model, optimizer), tmp_path / "m", name)
    assert sorted(os.listdir(tmp_path / "m")) == ["checkpoint", "model-best.pth.tar", "model.pth.tar-2"]
    assert (tmp_path / "m" / "checkpoint").read_text() == "model.pth.tar-2\n"
    assert last_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint").write_text("../elsewhere\n")
    with pytest.raises(CheckpointError, match="expected the name of a file beside it"):
        last_checkpoint(tmp_path)
    assert f"Checkpoint saved to {tmp_path}/m/model.pth.tar-2" in capsys.readouterr().out
    assert torch.equal(load_checkpoint(tmp_path / "m" / "model-best.pth.tar")["state_dict"]["bias"], model.bias)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = save_checkpoint({"state_dict": {"w": torch.ones(1)}, "epoch": 1}, tmp_path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint({"state_dict": {"w": torch.zeros(1)}, "epoch": 1, "bad": lambda: 0}, tmp_path)
    assert load_checkpoint(path)["state_dict"]["w"] == 1
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", path.name]


class Exploit:
    def __reduce__(self):
        return os.system, ("touch exploited",)


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, payload in {"new": Exploit(), "nested": {"state_dict": {}, "scheduler": [Exploit()]}}.items():
        torch.save(payload, tmp_path / name)
        with pytest.raises(CheckpointError, match='holds an object "(posix|nt).system".*could run code'):
            load_checkpoint(tmp_path / name)
    torch.save(Exploit(), tmp_path / "legacy", _use_new_zipfile_serialization=False)
    torch.save({"x": np.array([Exploit()], dtype=object)}, tmp_path / "objects")  # numbers of numpy are read, not these
    for name in ("legacy", "objects"):
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "exploited").exists()


def test_damaged_files_missing_ones_and_other_contents(tmp_path):
    whole = save_checkpoint(state_of(*trained()), tmp_path / "m").read_bytes()
    path = tmp_path / "damaged"
    for content in (b"", b"not a checkpoint", b"PK\x03\x04 broken archive", whole[:-200]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged") as caught:
            load_checkpoint(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no checkpoint file"):
        load_checkpoint(tmp_path / "none")
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(CheckpointError, match="holds a list, expected a dictionary"):
        load_checkpoint(tmp_path / "list")


def test_pretrained_weights_load_where_they_fit(tmp_path, capsys):
    save_checkpoint({"state_dict": {"module.weight": torch.ones(2, 3), "bias": torch.ones(9)}, "epoch": 1}, tmp_path)
    model = nn.Linear(3, 2)
    load_pretrained_weights(model, tmp_path / "model.pth.tar-1")
    assert torch.equal(model.weight, torch.ones(2, 3))
    assert "discarded due to unmatched keys or size: ['bias']" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="no weight in .* fits"):
        load_pretrained_weights(nn.Linear(5, 5), tmp_path / "model.pth.tar-1")
    save_checkpoint({"state_dict": torch.ones(2), "epoch": 2}, tmp_path)
    with pytest.raises(CheckpointError, match="holds a Tensor as state_dict, expected a dictionary"):
        load_pretrained_weights(model, tmp_path / "model.pth.tar-2")


def saved_by_dassl(tmp_path, model, optimizer):
    """A checkpoint as Dassl writes it after 3 epochs with a warm-up of 1: its scheduler's state holds a scheduler."""
    successor = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5.0)
    for name in ("step", "_opt_called"):  # what newer torch adds to the objects, and cannot be pickled
        optimizer.__dict__.pop(name, None)
    successor.last_epoch = 2
    scheduler = {"successor": successor, "warmup_epoch": 1, "cons_lr": 1e-5, "base_lrs": [0.1], "last_epoch": 1}
    scheduler |= {"_step_count": 2, "verbose": False, "_last_lr": [0.09]}
    state = state_of(model, optimizer, scheduler=scheduler, val_result=np.float64(81.5))
    state.update(epoch=3, counts=defaultdict(dict, a={"b": np.int64(-3)}), half=np.float32(0.5))
    (tmp_path / "prompt_learner").mkdir()
    torch.save(state, tmp_path / "prompt_learner" / "model.pth.tar-3")
    (tmp_path / "prompt_learner" / "checkpoint").write_text("model.pth.tar-3\n")
    return tmp_path / "prompt_learner"


def test_checkpoints_of_dassl_are_read_without_building_what_they_hold(tmp_path):
    model, optimizer = trained()
    folder = saved_by_dassl(tmp_path, model, optimizer)
    assert b"CosineAnnealingLR" in (folder / "model.pth.tar-3").read_bytes()
    checkpoint = load_checkpoint(folder / "model.pth.tar-3")
    assert torch.equal(checkpoint["state_dict"]["weight"], model.weight)
    assert checkpoint["val_result"] == 81.5 and type(checkpoint["val_result"]) is float
    assert checkpoint["counts"] == {"a": {"b": -3}} and checkpoint["half"] == 0.5
    assert vars(checkpoint["scheduler"]["successor"]) == {}


def test_the_allow_list_ends_with_the_call(tmp_path):
    if not hasattr(torch.serialization, "safe_globals"):
        pytest.skip("this torch keeps its allow-list")
    before = set(torch.serialization.get_safe_globals())
    load_checkpoint(save_checkpoint(state_of(*trained()), tmp_path))
    assert set(torch.serialization.get_safe_globals()) == before
    torch.save(np.float64(1.0), tmp_path / "number")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "number", weights_only=True)


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
        with pytest.raises(CheckpointError, match=f"is readable \\({NEWEST}\\); remove them to start over"):
            newest_state(tmp_path)
