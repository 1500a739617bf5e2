"""Training by iterations: how many, over which batches, at which rates, and what is left of it."""

import pytest
import torch

import train
from mocoop.errors import ConfigError
from mocoop.results.csv_files import read_history
from mocoop.results.record import read_record
from mocoop.training import run_command
from mocoop.training.learner import Learner
from mocoop.training.optim import check_length, iterations
from tests.trainers.test_train import command

FIVE = ["DATALOADER.TRAIN_X.BATCH_SIZE", "5", "OPTIM.LR", "0.05", "OPTIM.MIN_LR", "1e-3", "OPTIM.WARMUP_EPOCH", "-1"]
FIVE += ["OPTIM.MAX_ITER", "5"]
EPOCHS = ["OPTIM.BY_ITERATION", "True", "OPTIM.MAX_EPOCH", "3"]


@pytest.fixture(scope="module")
def five(runs):
    """A run of five iterations over twelve images in batches of five, and the sizes of its batches."""
    sizes, step, run = [], Learner.step, runs.new("CoOp", *FIVE)

    def counted(self, batch, place):
        sizes.append(len(batch["label"]))
        return step(self, batch, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOCOOP_CACHE", "off")
        patch.setattr(Learner, "step", counted)
        assert train.main(run.argv()) == 0
    return run.out, sizes


def test_the_last_batch_of_an_epoch_is_kept_and_the_last_epoch_ends_with_the_iterations(five):
    folder, sizes = five
    assert sizes == [5, 5, 2, 5, 5]
    history = read_history(folder / "history.csv")
    assert history["step"].tolist() == [1, 2, 3, 4, 5] and history["epoch"].tolist() == [1, 1, 1, 2, 2]


def test_the_rates_are_those_of_torchs_cosine_over_iterations(five):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5, eta_min=1e-3)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert read_history(five[0] / "history.csv")["lr"].tolist() == pytest.approx(rates, rel=1e-6)


def test_it_is_evaluated_without_an_epoch_to_load(five, runs):
    flags = ["--eval-only", "--model-dir", str(five[0])]
    run = runs.new("CoOp", *FIVE, "DATASET.SUBSAMPLE_CLASSES", "new", flags=flags)
    assert train.main(run.argv()) == 0
    trained, tested = read_record(five[0] / "result.json"), read_record(run.out / "result.json")
    assert tested["weights_sha256"] == trained["weights_sha256"]
    assert [(record["selection"], record["epoch"]) for record in (trained, tested)] == 2 * [("last_step", 2)]


@pytest.mark.parametrize("opts, expected", [((), 0), (("OPTIM.ITERS_PER_SHOT", "500"), 2000), (FIVE, 5), (EPOCHS, 12)])
def test_the_shots_count_unless_a_number_is_given(runs, tmp_path, opts, expected):
    argv = command(runs.data, tmp_path, "CoOp", *opts, "DATASET.NUM_SHOTS", "4")
    assert iterations(run_command.setup_cfg(train.parse_args(argv)), batches=4) == expected


@pytest.mark.parametrize("shots", ["-1", "0"])
def test_iterations_for_each_of_all_images_are_refused(runs, tmp_path, shots):
    argv = command(runs.data, tmp_path, "CoOp", "OPTIM.ITERS_PER_SHOT", "5", "DATASET.NUM_SHOTS", shots)
    message = f"DATASET.NUM_SHOTS is {shots}, expected 1 or more with OPTIM.ITERS_PER_SHOT"
    with pytest.raises(ConfigError, match=message):
        check_length(run_command.setup_cfg(train.parse_args(argv)))
