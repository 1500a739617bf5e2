"""How long runs take: by the records of earlier runs of their kind, else by a law, which is rough.

The law is that of benchmarks/README.md under "Scaling": ViT-B/16 on one core of its processor. As soon as there are
records below the output folder, it is scaled by what they took beside what it says of them, and so fits other machines.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import mean, median

from mocoop.catalog import Listed, listed
from mocoop.checkout import find_config
from mocoop.clip.templates import template_groups
from mocoop.data.sources import load_sources
from mocoop.protocols.configs import setting
from mocoop.protocols.plan import Run
from mocoop.protocols.schedule import wall_seconds
from mocoop.results.record import FILE_NAME, glance

START = 5.0  # seconds that a run takes whatever it does
STEP, PROMPT, IMAGE = 0.14, 6.5e-3, 0.47  # of a training step; in it, of a prompt (class x expert) and of an image
TEST_PROMPT, TEST_IMAGE = 2e-3, 0.2
SIZES = {"RN50": 0.25, "RN101": 0.4, "ViT-B/32": 0.25, "ViT-L/14": 4.6, "tiny": 1 / 600, "tiny-vit": 1 / 600}
UNKNOWN_CLASSES, UNKNOWN_IMAGES = 80, 2000  # of a dataset that is not listed; those of a Shapes set
SHOWN_WORKERS = (1, 2, 4, 8, 16, 32, 64, 128)


class Costs:
    """The seconds of each run of a plan, as a function of the run.

    Attributes:
        measured: by the folders of the kinds of runs, which are those of the runs without the seed.
    """

    def __init__(self, runs: list[Run], checkout: Path):
        self.checkout, self.sources = checkout, load_sources()
        kinds = {_kind(run): run for run in runs}
        found = {kind: _measured(checkout / kind) for kind in kinds}
        self.measured = {kind: mean(seconds) for kind, seconds in found.items() if seconds}
        ratios = defaultdict(list)
        for kind, seconds in self.measured.items():
            for method in (_method(kinds[kind]), None):
                ratios[method].append(seconds / self._law(kinds[kind]))
        self.scales = {method: median(values) for method, values in ratios.items()}

    def __call__(self, run: Run) -> float:
        scale = self.scales.get(_method(run), self.scales.get(None, 1.0))
        return self.measured.get(_kind(run)) or scale * self._law(run)

    def _law(self, run: Run) -> float:
        words = [word for word in run.argv if word != "--eval-only"]
        given = dict(zip(words[::2], words[1::2]))
        method, file = _method(run), find_config(self.checkout, given["--config-file"])
        dataset = setting(find_config(self.checkout, given["--dataset-config-file"]), "DATASET.NAME", {}, "")
        source = self.sources.get(dataset)
        half = 0.5 if given["DATASET.SUBSAMPLE_CLASSES"] in ("base", "new") else 1.0
        classes = half * (source.classes if source else UNKNOWN_CLASSES)
        encoded = listed().get(method, Listed(method)).prompts
        prompts = classes * (len(template_groups(dataset)) if encoded == "groups" else 1)
        seconds = TEST_PROMPT * prompts + TEST_IMAGE * half * (source.counts["test"] if source else UNKNOWN_IMAGES)
        if "--eval-only" not in run.argv:
            batch = setting(file, "DATALOADER.TRAIN_X.BATCH_SIZE", given, 32)
            shots = setting(file, "DATASET.NUM_SHOTS", given, -1)
            whole = half * (source.counts.get("train", 0) if source else UNKNOWN_IMAGES)
            steps = max(1, (classes * shots if shots > 0 else whole) // batch) * setting(
                file, "OPTIM.MAX_EPOCH", given, 50
            )
            seconds += steps * (STEP + PROMPT * prompts * (batch if encoded == "images" else 1) + IMAGE * batch)
        return START + SIZES.get(setting(file, "MODEL.BACKBONE.NAME", given, ""), 1.0) * seconds


def estimate(runs: list[Run], checkout: Path, workers: int) -> Iterator[str]:
    """What the runs that are left take, in lines: together, and until the last one ends on so many workers."""
    seconds = Costs(runs, checkout)
    left = [run for run in runs if not run.finished(checkout)]
    known = sum(_kind(run) in seconds.measured for run in left)
    yield f"{len(runs)} runs, {len(left)} to do: {sum(map(seconds, left)) / 3600:.2f} hours of one worker"
    yield f"{known} by records of the same kind of run, {len(left) - known} by a law, which is rough"
    if known < len(left) and not seconds.measured:
        yield (
            "no record to scale the law by: these are hours of one core that runs ViT-B/16; nothing was measured on a "
            "GPU; do some runs (--index I) and ask again"
        )
    for number in sorted({*SHOWN_WORKERS, workers}):
        if number == workers or number < 2 * len(left):
            wall = timedelta(seconds=round(wall_seconds(left, seconds, number)))
            yield f"{number:5} worker{'s' if number > 1 else ' '} {str(wall):>18}"


def _kind(run: Run) -> str:
    return str(Path(run.folder).parent)


def _method(run: Run) -> str:
    return Path(run.folder).parts[-3]


def _measured(folder: Path) -> list[float]:
    """The seconds of the finished runs of a kind."""
    glances = (glance(path) for path in folder.glob(f"seed*/{FILE_NAME}"))
    return [seconds for status, seconds in glances if status == "done" and seconds]
