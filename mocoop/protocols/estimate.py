"""How long the runs of a plan take that are left, by what finished runs of the same CLIP and method measured.

What nothing is known of is not guessed: it is named, with how to measure it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import mean, median

from mocoop.checkout import find_config
from mocoop.errors import ConfigError, DataError
from mocoop.protocols.configs import setting
from mocoop.protocols.plan import Run
from mocoop.protocols.schedule import wall_seconds
from mocoop.results.record import FILE_NAME, read_record

SHOWN_WORKERS = (1, 2, 4, 8, 16, 32, 64, 128)
SHOWN_PARTS = 6
BACKBONE = "MODEL.BACKBONE.NAME"


class Measured:
    """What finished runs of a plan took, those with its CLIP; a function of a run that gives 0 where nothing is known.

    Attributes:
        same: seconds by the folders of the kinds of runs, which are those of the runs without the seed.
        alike: seconds of runs of a method on any data set, by the method and whether they test a model.
        parts: seconds of all of them by part (mocoop.timings), as far as they were recorded.
    """

    def __init__(self, runs: list[Run], checkout: Path):
        self.same: dict[str, float] = {}
        self.alike: dict[tuple[str, bool], float] = {}
        self.parts: Counter[str] = Counter()
        by_method: dict[tuple[str, bool], list[float]] = defaultdict(list)
        for kind, run in {_kind(run): run for run in runs}.items():
            records = [record for path in (checkout / kind).glob(f"seed*/{FILE_NAME}") if (record := _done(path))]
            clip = backbone(run, checkout)
            found = [record for record in records if clip in ("", record["backbone"])]
            for record in found:
                self.parts.update(record.get("timings") or {})
            if found:
                self.same[kind] = mean(map(_seconds, found))
                by_method[_method(run)].append(self.same[kind])
        self.alike = {method: median(seconds) for method, seconds in by_method.items()}

    def __call__(self, run: Run) -> float:
        return self.same.get(_kind(run)) or self.alike.get(_method(run), 0.0)


def estimate(runs: list[Run], checkout: Path, workers: int) -> Iterator[str]:
    """What the runs that are left take, in lines: together, and until the last one ends on so many workers.

    Raises ConfigError where no run has been done that could tell.
    """
    seconds = Measured(runs, checkout)
    left = [run for run in runs if not run.finished(checkout)]
    if left and not any(map(seconds, left)):
        clips = " or ".join(sorted({backbone(run, checkout) for run in left} - {""}))
        done = f"none done yet with {clips}" if clips else "none done yet"
        raise ConfigError(
            f"{len(left)} runs to do, and {done} whose time could tell how long they take; do some "
            "(--index I, or one seed of one dataset) and ask again"
        )
    same, unknown = sum(_kind(run) in seconds.same for run in left), [run for run in left if not seconds(run)]
    alike = len(left) - same - len(unknown)
    yield f"{len(runs)} runs, {len(left)} to do: {sum(map(seconds, left)) / 3600:.2f} hours of one worker"
    yield f"{same} as long as the same run of another seed, {alike} as long as runs on other datasets"
    if unknown:
        methods = ", ".join(sorted({_method(run)[0] for run in unknown}))
        yield f"not counted: {len(unknown)} of {methods}: nothing was measured yet; do one of each and ask again"
    if whole := sum(seconds.parts.values()):
        shares = (f"{part} {100 * of_part / whole:.0f} %" for part, of_part in seconds.parts.most_common(SHOWN_PARTS))
        yield f"where the time of those that were done went: {', '.join(shares)}"
    for number in sorted({*SHOWN_WORKERS, workers}):
        if number == workers or number < 2 * len(left):
            wall = timedelta(seconds=round(wall_seconds(left, seconds, number)))
            yield f"{number:5} worker{'s' if number > 1 else ' '} {str(wall):>18}"


def backbone(run: Run, checkout: Path) -> str:
    """The name of the CLIP that a run is to use; empty where its configuration leaves it open."""
    words = list(run.argv)
    if BACKBONE in words:
        return words[len(words) - words[::-1].index(BACKBONE)]
    return setting(find_config(checkout, words[words.index("--config-file") + 1]), BACKBONE)


def _kind(run: Run) -> str:
    return str(Path(run.folder).parent)


def _method(run: Run) -> tuple[str, bool]:
    return Path(run.folder).parts[-3], run.model is not None


def _done(path: Path) -> dict | None:
    try:
        record = read_record(path)
    except DataError:
        return None
    return record if record["status"] == "done" else None


def _seconds(record: dict) -> float:
    return sum((record.get("timings") or record["seconds"]).values())
