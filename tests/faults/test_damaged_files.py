"""Truncated and flipped files of a run that was killed: it falls back to what is whole, or says clearly what is not."""

import random
import shutil
import signal

import pytest
import torch

from mocoop.clip.features import kept_tensor
from mocoop.errors import CheckpointError
from mocoop.training.checkpoint import DAMAGED, MODEL, NEWEST, PREVIOUS, load_checkpoint, newest_state, progress
from tests.faults.moments import Moments, kill, training_steps
from tests.faults.outcomes import differences

slow = pytest.mark.slow
EVERY_STEP = ["TRAIN.CHECKPOINT_STEPS", "1"]
LENGTHS = {
    "nothing": lambda size: 0,
    "one byte": lambda size: 1,
    "header": lambda size: min(30, size - 1),
    "half": lambda size: size // 2,
    "all but one byte": lambda size: size - 1,
}
FILES = (f"{MODEL}/{NEWEST}", f"{MODEL}/{PREVIOUS}", f"{MODEL}/checkpoint", "history.csv", "result.json", "run.lock")
QUICK = {(f"{MODEL}/{NEWEST}", "half"), (f"{MODEL}/{NEWEST}", "nothing"), (f"{MODEL}/checkpoint", "nothing")}


@pytest.fixture(scope="module")
def broken_off(runs):
    """A run that was killed in its tenth step: states after steps 8 and 9, the checkpoint of epoch 2."""
    run = runs.new("CoOp", *EVERY_STEP)
    assert run.start(training_steps(Moments(kill, at=29))).status == -signal.SIGKILL
    return run


@pytest.fixture
def copy(runs, broken_off):
    """Another one like it, to be damaged."""
    run = runs.new("CoOp", *EVERY_STEP)
    shutil.copytree(broken_off.out, run.out)
    return run


def truncate(path, length: str) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: LENGTHS[length](len(content))])


def truncations():
    for file in FILES:
        for length in LENGTHS:
            yield pytest.param(file, length, marks=[] if (file, length) in QUICK else slow)


@pytest.mark.parametrize("file, length", list(truncations()))
def test_a_truncated_file(runs, copy, ledger, file, length):
    with ledger.fault("truncated file"):
        truncate(copy.out / file, length)
        ending = copy.start()
        assert ending.status == 0, ending.err
        found = differences(copy.out, runs.reference("CoOp"))
        if file.endswith(NEWEST):
            assert f'skipped, resuming from an earlier state: cannot load "{copy.out / file}"' in ending.out
            assert (copy.out / (file + DAMAGED)).is_file()
            assert f"{PREVIOUS} (will resume training after epoch 2, batch 2)" in ending.out
            found = [line for line in found if not line.startswith("/files")]
        if file == "history.csv":  # all else is right, and the gap is told
            assert "of the 9 steps so far" in ending.out or length == "all but one byte"
            found = [line for line in found if not line.startswith("/history")]
        assert not found


@pytest.mark.parametrize("length", [pytest.param(length, marks=slow) for length in LENGTHS])
def test_truncated_states_leave_the_epochs(runs, copy, ledger, length):
    with ledger.fault("truncated file", number=2):
        for name in (NEWEST, PREVIOUS):
            truncate(copy.out / MODEL / name, length)
        ending = copy.start()
        assert "model.pth.tar-2 (will resume training after epoch 2, batch 0)" in ending.out
        found = differences(copy.out, runs.reference("CoOp"))
        assert [line for line in found if not line.startswith("/files")] == []


def test_all_states_truncated(copy, ledger):
    with ledger.fault("truncated file", number=3):
        for name in (NEWEST, PREVIOUS, "model.pth.tar-2"):
            truncate(copy.out / MODEL / name, "half")
        for _ in range(2):  # and it stays refused
            refusal = copy.start().refusal
            assert f"no checkpoint in {copy.out / MODEL} is readable ({NEWEST}, {PREVIOUS}, model.pth.tar-2)" in refusal


@pytest.mark.parametrize("length", [pytest.param(length, marks=slow) for length in LENGTHS])
def test_a_truncated_final_checkpoint_is_trained_again(runs, ledger, length):
    """The run had been killed in its final test, and the disk has lost the end of the last checkpoint."""
    run = runs.new("CoOp")
    shutil.copytree(runs.reference("CoOp"), run.out)
    (run.out / "result.json").unlink()
    with ledger.fault("truncated file"):
        truncate(run.out / MODEL / "model.pth.tar-4", length)
        run.must_end_as_if_nothing_had_happened()


def equal(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.mark.parametrize("flips", [100, pytest.param(2000, marks=[slow, pytest.mark.timeout(1800)])])
def test_flipped_bits(copy, ledger, flips):
    """A flip is found, or is one that changes nothing; what is loaded is always what was written."""
    folder, draw, found = copy.out / MODEL, random.Random(flips), 0
    good, previous = load_checkpoint(folder / NEWEST), load_checkpoint(folder / PREVIOUS)
    content = (folder / NEWEST).read_bytes()
    for _ in range(flips):
        with ledger.fault("flipped bit"):
            damaged = bytearray(content)
            damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            (folder / NEWEST).write_bytes(damaged)
            _, state = newest_state(folder)
            fell_back = progress(state) == progress(previous)
            assert equal(state, previous if fell_back else good)
            found += fell_back
        (folder / (NEWEST + DAMAGED)).unlink(missing_ok=True)
    assert found > flips / 2


def test_every_bit_of_what_was_learned_is_checked(copy, ledger):
    """The bytes of a tensor are those that torch itself does not check."""
    path = copy.out / MODEL / NEWEST
    state, content = load_checkpoint(path), path.read_bytes()
    raw = state["state_dict"]["ctx"].numpy().tobytes()
    start = content.index(raw)
    draw = random.Random(0)
    for _ in range(50):
        with ledger.fault("flipped bit"):
            damaged = bytearray(content)
            damaged[start + draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match="checksum"):
                load_checkpoint(path)


def test_flipped_bits_in_cached_features(tmp_path, monkeypatch, ledger):
    """They are computed again; a flip in the file's description may change nothing."""
    monkeypatch.setenv("MOCOOP_CACHE", str(tmp_path))
    features = torch.arange(64.0)
    kept_tensor("text", "key", lambda: features)
    path = tmp_path / "text/key.safetensors"
    content, draw, computed = path.read_bytes(), random.Random(0), []
    for _ in range(200):
        with ledger.fault("flipped bit"):
            damaged = bytearray(content)
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            assert torch.equal(kept_tensor("text", "key", lambda: computed.append(1) or features), features)
    assert len(computed) > 150


@slow
@pytest.mark.parametrize("seed", range(10))
def test_a_run_goes_on_from_a_flipped_state(runs, copy, ledger, seed):
    path = copy.out / MODEL / NEWEST
    damaged, draw = bytearray(path.read_bytes()), random.Random(seed)
    damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    with ledger.fault("flipped bit"):
        path.write_bytes(damaged)
        assert copy.start().status == 0
        found = differences(copy.out, runs.reference("CoOp"))
        assert [line for line in found if not line.startswith("/files")] == []


def test_a_truncated_subset_is_not_trained_on(runs, broken_off, tmp_path, ledger):
    """Cut between two lines, a manifest is a smaller subset; the run knows which one it began with."""
    root = tmp_path / "data"
    shutil.copytree(runs.data, root)
    run = runs.new("CoOp", *EVERY_STEP, "DATASET.ROOT", root)
    shutil.copytree(broken_off.out, run.out)
    manifest = next(root.rglob("shot_2-seed_1.jsonl"))
    lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    with ledger.fault("truncated file", number=2):
        manifest.write_text("".join(lines)[: -len(lines[-1]) // 2], encoding="utf-8")
        assert f"{manifest}, line" in run.start().refusal
        manifest.write_text("".join(lines[:-6]), encoding="utf-8")
        assert "the sha256 of the manifest of training images was" in run.start().refusal
