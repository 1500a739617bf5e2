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

SMALL = ["DATASET.NUM_SHOTS", "1", "DATASET.SUBSAMPLE_CLASSES", "base", "DATALOADER.TRAIN_X.BATCH_SIZE", "12"]
SIX = [*SMALL, "OPTIM.MAX_ITER", "6", "OPTIM.LR", "0.05", "OPTIM.MIN_LR", "1e-3", "OPTIM.WARMUP_EPOCH", "-1"]

EPOCHS = ["OPTIM.BY_ITERATION", "True", "OPTIM.MAX_EPOCH", "3"]


@pytest.fixture(scope="module")
def six(data_root, tmp_path_factory):
    """A run of six iterations over 40 images in batches of 12, and the sizes of its batches."""
    sizes, step, folder = [], Learner.step, tmp_path_factory.mktemp("six")

    def counted(self, batch, place):
        sizes.append(len(batch["label"]))
        return step(self, batch, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOCOOP_CACHE", "off")
        patch.setattr(Learner, "step", counted)
        assert train.main(command(data_root, folder, "CoOp", *SIX)) == 0
    return folder, sizes


def test_the_last_batch_of_an_epoch_is_kept_and_the_last_epoch_ends_with_the_iterations(six):
    folder, sizes = six
    assert sizes == [12, 12, 12, 4, 12, 12]
    history = read_history(folder / "history.csv")
    assert history["step"].tolist() == [1, 2, 3, 4, 5, 6] and history["epoch"].tolist() == [1, 1, 1, 1, 2, 2]


def test_the_rates_are_those_of_torchs_cosine_over_iterations(six):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6, eta_min=1e-3)
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert read_history(six[0] / "history.csv")["lr"].tolist() == pytest.approx(rates, rel=1e-6)


def test_it_is_evaluated_without_an_epoch_to_load(six, data_root, tmp_path):
    flags = ["--eval-only", "--model-dir", str(six[0])]
    assert train.main([*flags, *command(data_root, tmp_path, "CoOp", *SIX, "DATASET.SUBSAMPLE_CLASSES", "new")]) == 0
    trained, tested = read_record(six[0] / "result.json"), read_record(tmp_path / "result.json")
    assert tested["weights_sha256"] == trained["weights_sha256"]
    assert [(record["selection"], record["epoch"]) for record in (trained, tested)] == 2 * [("last_step", 2)]


@pytest.mark.parametrize("opts, expected", [((), 0), (("OPTIM.ITERS_PER_SHOT", "500"), 2000), (SIX, 6), (EPOCHS, 12)])
def test_the_shots_count_unless_a_number_is_given(data_root, tmp_path, opts, expected):
    argv = command(data_root, tmp_path, "CoOp", *opts, "DATASET.NUM_SHOTS", "4")
    assert iterations(run_command.setup_cfg(train.parse_args(argv)), batches=4) == expected


@pytest.mark.parametrize("shots", ["-1", "0"])
def test_iterations_for_each_of_all_images_are_refused(data_root, tmp_path, shots):
    argv = command(data_root, tmp_path, "CoOp", "OPTIM.ITERS_PER_SHOT", "5", "DATASET.NUM_SHOTS", shots)
    with pytest.raises(
        ConfigError, match=f"DATASET.NUM_SHOTS is {shots}, expected 1 or more with OPTIM.ITERS_PER_SHOT"
    ):
        check_length(run_command.setup_cfg(train.parse_args(argv)))
