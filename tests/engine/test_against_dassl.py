"""Our engine beside the real one, on the same files with the same seeds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import train
from mocoop.backbone import load_clip
from mocoop.engine import VARIABLE, dassl_is_installed, import_dassl
from mocoop.engine.lite import config as lite_config
from mocoop.engine.lite.data import ON_IMAGE, ON_TENSOR, DataManager, build_transform
from mocoop.methods import build_method
from mocoop.results.csv_files import read_history
from mocoop.training import run_command
from mocoop.training.checkpoint import load_checkpoint
from mocoop.training.evaluate import Measurement, print_result
from mocoop.training.optim import build_lr_scheduler, build_optimizer
from mocoop.training.run_state import set_random_seed
from tests.engine import toy
from tests.engine.test_backend import open_bridge

pytestmark = pytest.mark.skipif(
    not dassl_is_installed(), reason="needs Dassl (github.com/KaiyangZhou/Dassl.pytorch) on the path, and its wilds"
)


@pytest.fixture(scope="module")
def dassl():
    """The modules of Dassl used here, with the toy data set in its registry."""
    for name in ("config", "data", "data.datasets", "data.transforms", "engine", "evaluation", "optim"):
        import_dassl(f"dassl.{name}")
    dassl = import_dassl("dassl")
    dassl.data.datasets.DATASET_REGISTRY.register(toy.make_dataset_class(dassl.data.datasets), force=True)
    return dassl


@pytest.fixture
def both_cfg(dassl, image_root, tmp_path):
    """The same settings in both engines' config trees: (ours, Dassl's)."""

    def make(*overrides):
        cfgs = []
        for name, default in (("ours", lite_config.get_cfg_default), ("theirs", dassl.config.get_cfg_default)):
            cfg = toy.toy_cfg(default(), image_root, tmp_path / name)
            cfg.merge_from_list(list(overrides))
            cfgs.append(cfg)
        return cfgs

    return make


def flat(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", (type(value), value)


def test_config_keys_and_defaults(dassl):
    theirs = dict(flat(dassl.config.get_cfg_default()))
    methods = [key for key in theirs if key.startswith("TRAINER.") and key != "TRAINER.NAME"]
    for key in methods:
        del theirs[key]
    assert dict(flat(lite_config.get_cfg_default())) == theirs


def batches_of(manager_class, cfg, seed=5):
    set_random_seed(seed)
    manager = manager_class(cfg)
    loaders = (manager.train_loader_x, manager.val_loader, manager.train_loader_x, manager.test_loader)
    return manager, [batch for loader in loaders for batch in loader]


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("DATALOADER.TRAIN_X.BATCH_SIZE", "50"),
        ("DATALOADER.TRAIN_X.SAMPLER", "SequentialSampler"),
    ],
)  # fmt: skip
def test_batches_are_the_same(dassl, both_cfg, overrides, workers, capsys):
    ours_cfg, theirs_cfg = both_cfg("DATALOADER.NUM_WORKERS", workers, *overrides)
    our_manager, ours = batches_of(DataManager, ours_cfg)
    our_lines = capsys.readouterr().out
    their_manager, theirs = batches_of(dassl.data.DataManager, theirs_cfg)
    assert our_lines == capsys.readouterr().out
    assert our_manager.lab2cname == their_manager.lab2cname
    assert len(ours) == len(theirs)
    for our_batch, their_batch in zip(ours, theirs):
        assert_same(our_batch, their_batch)


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if torch.is_tensor(value):
            assert torch.equal(value, theirs[key]), key
        elif torch.is_tensor(value[0]):
            assert all(torch.equal(a, b) for a, b in zip(value, theirs[key], strict=True)), key
        else:
            assert value == theirs[key], key


SAME_DRAWS = [name for name in (*ON_IMAGE, *ON_TENSOR) if name != "randaugment"]  # torchvision's draws are others


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("choice", SAME_DRAWS)
def test_transforms_are_the_same(dassl, both_cfg, monkeypatch, capsys, choice, is_train):
    from PIL import Image

    monkeypatch.setattr(np, "int", int, raising=False)  # an alias that Dassl uses and NumPy dropped
    ours_cfg, theirs_cfg = both_cfg("INPUT.SIZE", "(32, 24)")
    ours = build_transform(ours_cfg, is_train, [choice, "normalize"])
    our_lines = capsys.readouterr().out
    theirs = dassl.data.transforms.build_transform(theirs_cfg, is_train, [choice, "normalize"])
    assert our_lines == capsys.readouterr().out
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 80, 3), dtype=np.uint8))
    for seed in range(40):
        outputs = []
        for transform in (ours, theirs):
            set_random_seed(seed)
            outputs.append(transform(image))
        assert torch.equal(*outputs)


@pytest.fixture
def old_schedulers(monkeypatch):
    """Lets Dassl's schedulers, which pass an argument that torch dropped, run as they did."""
    original = torch.optim.lr_scheduler.LRScheduler.__init__

    def forgiving(self, optimizer, last_epoch=-1, verbose=False):
        original(self, optimizer, last_epoch)

    monkeypatch.setattr(torch.optim.lr_scheduler.LRScheduler, "__init__", forgiving)


SCHEDULES = [
    {"LR_SCHEDULER": kind, "STEPSIZE": stepsize, "WARMUP_EPOCH": length, "WARMUP_TYPE": warmup, "WARMUP_RECOUNT": again}
    for kind, stepsize in (("cosine", (-1,)), ("single_step", (3,)), ("single_step", (-1,)), ("multi_step", (2, 6)))
    for warmup in ("constant", "linear")
    for length in (-1, 1, 2, 5)
    for again in (True, False)
]


@pytest.mark.parametrize("settings", SCHEDULES, ids=lambda s: "-".join(map(str, s.values())))
@pytest.mark.filterwarnings("ignore")
def test_learning_rates_are_the_same(dassl, old_schedulers, settings):
    rates = []
    for build in (build_lr_scheduler, dassl.optim.build_lr_scheduler):
        node = lite_config.get_cfg_default().OPTIM
        node.LR, node.MAX_EPOCH = 0.002, 10
        for key, value in settings.items():
            node[key] = value
        groups = [{"params": [nn.Parameter(torch.zeros(1))]}, {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1}]
        optimizer = torch.optim.SGD(groups, lr=node.LR)
        scheduler = build(optimizer, node)
        trace = []
        for _ in range(node.MAX_EPOCH):
            trace += [group["lr"] for group in optimizer.param_groups]
            optimizer.step()
            scheduler.step()
        rates.append(trace)
    assert rates[0] == pytest.approx(rates[1], abs=1e-10)


@pytest.mark.parametrize("name", ["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"])
@pytest.mark.filterwarnings("ignore")
def test_optimisers_take_the_same_steps(dassl, name):
    weights = []
    for build in (build_optimizer, dassl.optim.build_optimizer):
        node = lite_config.get_cfg_default().OPTIM
        node.NAME, node.LR, node.WEIGHT_DECAY, node.SGD_NESTEROV = name, 0.05, 0.01, True
        torch.manual_seed(0)
        model = nn.Linear(6, 4).double()
        optimizer = build(model.parameters(), node)
        for _ in range(12):
            optimizer.zero_grad()
            model(torch.randn(3, 6, dtype=torch.float64)).square().mean().backward()
            optimizer.step()
        weights.append(model.weight.detach())
    precision = 1e-6 if name == "radam" else 1e-12  # Dassl's RAdam computes in single precision
    assert torch.allclose(*weights, rtol=0, atol=precision)


def test_our_results_are_printed_and_returned_as_its_evaluator_does(dassl, both_cfg, capsys):
    torch.manual_seed(0)
    scores, labels, names = torch.randn(40, 6), torch.randint(0, 5, (40,)), [f"class {i}" for i in range(6)]
    evaluator = dassl.evaluation.build_evaluator(
        both_cfg("TEST.PER_CLASS_RESULT", "True")[1], lab2cname=dict(enumerate(names))
    )
    ours = Measurement()
    for part in (slice(0, 25), slice(25, 40)):
        evaluator.process(scores[part], labels[part])
        batch = {"label": labels[part], "domain": labels[part], "impath": [f"{i}.png" for i in range(40)[part]]}
        ours.add({"logits": scores[part]}, batch)
    capsys.readouterr()
    theirs, their_lines = evaluator.evaluate(), capsys.readouterr().out
    found = print_result(**ours.summary(names), by_class=True)
    assert capsys.readouterr().out == their_lines
    assert found == pytest.approx(dict(theirs), abs=1e-9) and list(found) == list(theirs)


def our_cfg(tmp_path, name):
    """CoOp on the embedded CLIP; without augmentation, whose draws are those of each image in our loop."""
    folder = Path(__file__).parents[2] / "configs"
    files = ["--dataset-config-file", str(folder / "datasets/shapes_both.yaml")]
    files += ["--config-file", str(folder / "trainers/CoOp/tiny.yaml"), "--trainer", "CoOp", "--seed", "1"]
    argv = [*files, "--root", str(tmp_path), "--output-dir", str(tmp_path / name), "TEST.NO_TEST", "True"]
    opts = ["INPUT.TRANSFORMS", "['normalize']", "DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "3"]
    return run_command.setup_cfg(train.parse_args([*argv, *opts, "TRAIN.PRINT_FREQ", "1"]))


def test_our_loop_takes_the_steps_of_dassls(dassl, tmp_path):
    class Native(dassl.engine.TrainerX):
        """Dassl's own loop around the same method."""

        def build_model(self):
            dataset = self.dm.dataset
            self.model = build_method(self.cfg, dataset.classnames, load_clip(self.cfg), dataset.all_classnames)
            self.optim = build_optimizer(self.model.parameter_groups(self.cfg.OPTIM.LR), self.cfg.OPTIM)
            self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
            self.register_model("native", self.model, self.optim, self.sched)
            self.losses = []

        def forward_backward(self, batch):
            image, label, _ = self.parse_batch_train(batch)
            parts = self.model.loss(image, label)
            self.model_backward_and_update(parts["loss"])
            self.losses.append(parts["loss"].item())
            if self.batch_idx + 1 == self.num_batches:
                self.update_lr()
            return {"loss": parts["loss"].item()}

    set_random_seed(1)
    ours = run_command.build_trainer(our_cfg(tmp_path, "ours"))
    ours.train()
    set_random_seed(1)
    theirs = Native(our_cfg(tmp_path, "theirs"))
    theirs.train()
    assert read_history(tmp_path / "ours/history.csv")["loss"].tolist() == pytest.approx(theirs.losses, rel=1e-6)
    assert torch.equal(ours.model.ctx, theirs.model.ctx)


@pytest.fixture(params=["auto", "dassl"])
def bridge(dassl, monkeypatch, request):
    monkeypatch.setenv(VARIABLE, request.param)
    return open_bridge()


def test_the_bridge_takes_names_with_identity_from_dassl(dassl, bridge):
    assert bridge.BACKEND == "dassl"
    assert bridge.TRAINER_REGISTRY is dassl.engine.TRAINER_REGISTRY and bridge.TrainerX is dassl.engine.TrainerX
    assert bridge.DATASET_REGISTRY is dassl.data.datasets.DATASET_REGISTRY
    assert bridge.Datum is dassl.data.datasets.Datum and bridge.DatasetBase is dassl.data.datasets.DatasetBase
    assert bridge.get_cfg_default is dassl.config.get_cfg_default and bridge.DataManager.func is dassl.data.DataManager


def test_a_run_through_the_bridge_resumes_on_dassl_at_the_right_rate(bridge, both_cfg):
    """Dassl's own loop, checkpoints and resume, with our schedule."""
    _, cfg = both_cfg("TRAIN.CHECKPOINT_FREQ", "1")
    bridge.TRAINER_REGISTRY.register(toy.make_trainer_class(bridge.TrainerX), force=True)
    rates = []
    for epochs in (2, 3):
        trainer = bridge.build_trainer(cfg)
        trainer.max_epoch = epochs
        trainer.train()
        rates += trainer.rates
    assert rates == pytest.approx([1e-5] * 4 + [0.05] * 4 + [0.0375] * 4)
    assert load_checkpoint(f"{cfg.OUTPUT_DIR}/toy/model.pth.tar-3")["epoch"] == 3
