"""Runs of a second: a few Shapes pictures, the embedded tiny CLIP, twelve steps with warm-up, three test batches."""

from functools import cache
from pathlib import Path

from mocoop.methods import get_method
from mocoop.methods.base import keeps
from mocoop.registry import listed
from mocoop.shapes.sets import ShapesSet
from mocoop.shapes.writer import write_set
from tests.faults.outcomes import differences
from tests.faults.victims import Ending, run, training
from tests.shipped import counts_iterations, small_config
from tests.trained import one_at_a_time

ROOT = Path(__file__).parents[2]
STEPS, TEST_BATCHES, EPOCHS = 12, 3, 4
METHODS = tuple(name for name, method in listed().items() if method.learns)
HOOKS = ("fit", "select", "backward", "start_stage", "after_step", "after_epoch", "extra_state")
SETTINGS = {
    "DATASET.NUM_SHOTS": 2,
    "DATASET.SUBSAMPLE_CLASSES": "base",
    "DATALOADER.TRAIN_X.BATCH_SIZE": 4,
    "DATALOADER.TEST.BATCH_SIZE": 8,
    "OPTIM.MAX_EPOCH": EPOCHS,
    "OPTIM.WARMUP_EPOCH": 2,
    "TRAIN.CHECKPOINT_FREQ": 2,
}
BY_STEPS = ["TRAIN.CHECKPOINT_STEPS", "2"]
BY_TIME = ["TRAIN.CHECKPOINT_MINUTES", "1e-6"]
WORKERS = ["DATALOADER.NUM_WORKERS", "2"]


def _loading(name: str) -> tuple:
    """What the training loader is asked for by a method, and whether it is asked for batches at all."""
    build = get_method(name).build
    return build.takes_steps, build.views > 1, build.plain_view, build.one_class_batches, counts_iterations(name)


def _training(name: str) -> tuple:
    """All that the training loop asks of a method: what its batches are, and what it does at the loop's moments."""
    return (*_loading(name), *(keeps(get_method(name).build, hook) for hook in HOOKS))


LOADED_ALIKE = {_loading(name): name for name in reversed(METHODS)}.values()  # one method of each kind
TRAINED_ALIKE = {_training(name): name for name in reversed(METHODS)}.values()


class FewShapes(ShapesSet):
    """ShapesBoth with twelve classes; six are base classes."""

    @property
    def classes(self):
        return super().classes[:12]

    @property
    def classnames(self):
        return super().classnames[:12]


def write_few_shapes(root: Path) -> None:
    write_set(FewShapes("ShapesBoth", "both", seed=3, train=2, val=1, test=4), root / "shapes_both")


class Runs:
    """Runs by method below a folder, and what they end in where nothing disturbs them.

    The data and the undisturbed runs are made once for all processes of a test run, which share their folders.
    """

    def __init__(self, data: Path, references: Path, folder: Path):
        self.data, self.references, self.folder = data, references, folder
        self.reference = cache(self._reference)
        self._made = 0
        with one_at_a_time(references / "data.lock"):
            if not data.exists():
                write_few_shapes(data)

    def new(self, method: str, *opts, flags=()) -> "TinyRun":
        """A run in a folder of its own, with overrides and flags beside those that all have."""
        self._made += 1
        return TinyRun(self, self.folder / f"{self._made}-{method}", method, tuple(map(str, opts)), tuple(flags))

    def _reference(self, method: str) -> Path:
        run = TinyRun(self, self.references / method, method, (), ())
        with one_at_a_time(self.references / f"{method}.lock"):
            if not run.out.exists():
                ending = run.start()
                assert ending.status == 0, ending.err
        return run.out


class TinyRun:
    """One run's command; it may be given again and again."""

    def __init__(self, runs: Runs, out: Path, method: str, opts: tuple[str, ...], flags: tuple[str, ...]):
        self.runs, self.out, self.method, self.opts, self.flags = runs, out, method, opts, flags

    def argv(self) -> list[str]:
        flags = {
            "--root": self.runs.data,
            "--seed": 1,
            "--trainer": self.method,
            "--output-dir": self.out,
            "--dataset-config-file": ROOT / "configs/datasets/shapes_both.yaml",
            "--config-file": small_config(self.method),
        }
        length = {"OPTIM.MAX_ITER": STEPS} if counts_iterations(self.method) else {}
        return [*_words(flags), *self.flags, *_words(SETTINGS | length), *self.opts]

    def start(self, *faults) -> Ending:
        """Give the command in a process of its own, with faults."""
        return self.start_printing_to(self.out, *faults)

    def start_printing_to(self, folder: Path, *faults) -> Ending:
        """`start`, where the run's own folder may not take what is printed."""
        return run(training(*self.argv()), folder, *faults)

    def must_end_as_if_nothing_had_happened(self) -> None:
        """Give the command again, without a fault; all must be as in an undisturbed run that saves only epochs."""
        self.must_end_as(self.runs.reference(self.method))

    def must_end_as(self, reference: Path, *faults) -> None:
        """Give the command again; all must be as in the folder of another run."""
        ending = self.start(*faults)
        assert ending.status == 0, ending.err
        found = differences(self.out, reference)
        assert not found, found


def _words(settings: dict) -> list[str]:
    return [str(word) for item in settings.items() for word in item]
