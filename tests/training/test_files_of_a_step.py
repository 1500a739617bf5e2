"""How many files a reader meets on the way of a training step, and of a checkpoint.

The step is one of MoCoOp on the tiny CLIP and Shapes, with its loader (NUM_WORKERS 0), its log line and its row of the
history: from the end of the step before it to its own end. Counted are files of `mocoop/` with a function that is
called. Whoever makes the way longer finds its files named here.
"""

import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch

import mocoop
import train
from mocoop.training import run_command
from mocoop.training.checkpoint import load_checkpoint, newest_state, save_checkpoint, save_for_resuming
from mocoop.training.journal import Progress
from mocoop.training.run_state import check_clip, check_made_for, known_of, pack, restore
from tests.trained import forget_print_handler

PACKAGE = Path(mocoop.__file__).parent
MOST_FILES = 20
MOST_FILES_OF_THE_FIRST_EPOCH = MOST_FILES + 1  # which decodes pictures


@contextmanager
def entered(files: set[str]):
    """Adds the files of the package with a function that is called in the block."""

    def note(frame, event, argument):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(f"{PACKAGE}/"):
            files.add(str(Path(path).relative_to(PACKAGE)))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(before)


@pytest.fixture
def trainer(runs):
    run = runs.new("MoCoOp", "DATALOADER.NUM_WORKERS", "0", "TRAIN.PRINT_FREQ", "1", "TEST.NO_TEST", "True")
    trainer = run_command.build_trainer(run_command.setup_cfg(train.parse_args(run.argv())))
    yield trainer
    forget_print_handler()


def test_a_step_enters_few_files_and_none_of_several_ranks(trainer, monkeypatch):
    first, later = set(), set()
    start, starts, block = Progress.start_batch, [], ExitStack()

    def watched(self):
        start(self)
        starts.append(self)
        block.close()
        number, place = divmod(len(starts), 4)  # an epoch starts four times: before it, and after each of three steps
        if place == 2 and number < 2:
            block.enter_context(entered((first, later)[number]))

    monkeypatch.setattr(Progress, "start_batch", watched)
    trainer.train()
    for found in (first, later):
        assert {"training/loop.py", "training/learner.py", "methods/mocoop/method.py", "clip/fast_text.py"} <= found
        assert "distributed.py" not in found and "clip/shares.py" not in found
    assert "images.py" in first and "images.py" not in later
    assert len(first) <= MOST_FILES_OF_THE_FIRST_EPOCH, sorted(first)
    assert len(later) <= MOST_FILES, sorted(later)


def test_a_checkpoint_is_written_and_read_in_two_files(trainer, tmp_path):
    """Beside what gives and takes its own state: the schedule, and the method below `methods/`."""
    cfg, method, parts = trainer.cfg, trainer.model, trainer.learner.stateful_parts()
    rest = dict(epoch=1, epochs=4, best_result=0.0, stream=1, train_seconds=1.0, manifest_sha256=None)
    with entered(set()) as written:
        save_checkpoint(pack(cfg, method, parts, **rest), tmp_path)
        save_for_resuming(pack(cfg, method, parts, batch=1, **rest), tmp_path)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(1.0)
    with entered(set()) as read:
        path, state = newest_state(tmp_path)
        check_made_for(cfg, state, path)
        check_clip(cfg, method.clip_model, known_of(state, path), path)
        restore(method, parts, state, path)
    assert state["batch"] == 1 and load_checkpoint(tmp_path / "model.pth.tar-1")["epoch"] == 1
    assert all(torch.equal(value, state["state_dict"][name]) for name, value in method.learned_state().items())
    for files in (written, read):
        own = {name for name in files if name.startswith("training/")} - {"training/optim.py"}
        assert own == {"training/checkpoint.py", "training/run_state.py"}
