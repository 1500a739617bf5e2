"""One process and one set of settings in the folder of a run."""

import json
import os
import socket
import time

import pytest

import train
from mocoop.results.record import FILE_NAME
from mocoop.training.folder_lock import LOCK, SILENT_SECONDS, FolderInUseError, holder_of
from mocoop.training.run_folder import hold
from tests.faults.runs import BY_STEPS
from tests.trainers.test_train import command, refused

ONE_EPOCH = ["TEST.NO_TEST", "True", "OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1"]
FOREIGN_LOCK = {"host": "another-host", "pid": 1, "started": "2030-01-01T00:00:00+00:00"}


def test_a_folder_in_use_is_refused_and_the_lock_of_a_dead_process_does_not_matter(runs, capsys):
    run = runs.new("CoOp", *ONE_EPOCH)
    with hold(run.out, None, {}):
        line = refused(capsys, run.argv())
    assert f"{run.out} is in use by process {os.getpid()} on {socket.gethostname()}" in line
    assert not (run.out / FILE_NAME).exists()
    (run.out / LOCK).write_text(json.dumps(FOREIGN_LOCK | {"host": socket.gethostname()}))
    assert train.main(run.argv()) == 0


def test_a_lock_that_says_nothing_does_not_matter(tmp_path):
    for content in ("", "{", "[1]", '{"host": 3}'):
        (tmp_path / LOCK).write_text(content)
        os.utime(tmp_path / LOCK, (0, 0))
        with hold(tmp_path, None, {}):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_the_heartbeat_of_another_host_counts_and_one_of_long_ago_or_far_ahead_does_not(tmp_path):
    """Ahead is a clock that was wrong; by less than the time that counts it is a heartbeat."""
    lock = tmp_path / LOCK
    for seconds, counts in (
        (-1, True),
        (SILENT_SECONDS / 2, True),
        (-SILENT_SECONDS - 1, False),
        (3 * SILENT_SECONDS, False),
    ):
        lock.write_text(json.dumps(FOREIGN_LOCK))
        os.utime(lock, (time.time() + seconds,) * 2)
        assert holder_of(tmp_path) == (FOREIGN_LOCK if counts else None)
        if counts:
            message = "in use by process 1 on another-host.*last heartbeat [01] s ago"
            with pytest.raises(FolderInUseError, match=message), hold(tmp_path, None, {}):
                pass
        else:
            with hold(tmp_path, None, {}):
                assert json.loads(lock.read_text())["host"] == socket.gethostname()


def test_who_works_in_a_folder_can_be_asked_without_being_in_the_way(tmp_path):
    lock, here = tmp_path / LOCK, FOREIGN_LOCK | {"host": socket.gethostname()}
    assert holder_of(tmp_path) is None
    with hold(tmp_path, None, {}):
        assert holder_of(tmp_path)["pid"] == os.getpid()
    lock.write_text(json.dumps(here | {"pid": os.getpid()}))
    os.utime(lock, (time.time() - SILENT_SECONDS - 1,) * 2)
    assert holder_of(tmp_path) is None  # the number belongs to another process by now
    for pid in (2**22 + 1, "?", None):  # above any process's number on Linux
        lock.write_text(json.dumps(here | {"pid": pid}))
        assert holder_of(tmp_path) is None


def test_a_finished_run_is_skipped_however_it_is_watched_and_other_settings_are_refused(runs, capsys):
    run = runs.new("CoOp", *BY_STEPS, "TRAIN.PRINT_FREQ", "1", "DATALOADER.NUM_WORKERS", "1")
    run.out = runs.reference("CoOp")
    before = {path: path.stat().st_mtime_ns for path in run.out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert train.main(run.argv()) == 0
    assert capsys.readouterr().out == f"finished already: {run.out}\n"
    assert {path: path.stat().st_mtime_ns for path in run.out.rglob("*") if path.is_file()} == before
    run.opts += ("OPTIM.LR", "0.5", "DATASET.NUM_SHOTS", "1")
    line = refused(capsys, run.argv())
    assert f"{run.out} holds a run of other settings: " in line and line.endswith("choose another --output-dir")
    assert "OPTIM.LR was 0.02, got 0.5" in line and "DATASET.NUM_SHOTS was 2, got 1" in line
    assert "CHECKPOINT" not in line


def test_a_run_that_ended_before_anything_was_saved_holds_no_folder(runs, capsys):
    run = runs.new("CoOp", "OPTIM.LR_SCHEDULER", "cosin")
    assert "LR_SCHEDULER" in refused(capsys, run.argv())
    good = runs.new("CoOp", *ONE_EPOCH)
    good.out = run.out
    assert train.main(good.argv()) == 0


def test_settings_are_compared_with_the_checkpoint_where_no_record_is(runs, capsys):
    """TEST.NO_TEST leaves no result.json."""
    run = runs.new("CoOp", *ONE_EPOCH)
    assert train.main(run.argv()) == 0
    assert not (run.out / FILE_NAME).exists()
    run.opts += ("OPTIM.MAX_EPOCH", "3")
    assert "OPTIM.MAX_EPOCH was 1, got 3" in refused(capsys, run.argv())


def test_a_few_shot_run_without_a_seed_does_not_go_on_with_another_subset(runs, capsys):
    run = runs.new("CoOp", "SEED", "-1", *ONE_EPOCH)
    assert train.main(run.argv()) == 0
    line = refused(capsys, run.argv())
    assert "manifest of training images was" in line and "without a --seed" in line


def test_another_evaluation_in_the_same_folder_is_refused(runs, capsys):
    flags = ["--eval-only", "--model-dir", str(runs.reference("CoOp")), "--load-epoch"]
    run = runs.new("CoOp", flags=[*flags, "4"])
    assert train.main(run.argv()) == 0
    assert train.main(run.argv()) == 0
    assert "finished already" in capsys.readouterr().out
    run.flags = (*flags, "2")
    assert "--load-epoch was 4, got 2" in refused(capsys, run.argv())


@pytest.mark.parametrize("place", ["/proc/none/here", "file/run", "closed/run"])
@pytest.mark.parametrize("flag", [[], ["--no-train"]])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, runs, capsys, place, flag):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "closed").mkdir(mode=0o500)
    if place.startswith("closed") and os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("this user may write everywhere")
    assert train.main(command(runs.data, tmp_path / place, "CoOp", *flag)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --output-dir {tmp_path / place} cannot be used: ")
    assert error.count("\n") == 1
