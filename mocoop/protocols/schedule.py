"""Which runs can start, in which order, what has become of the others, and what runs take by those that are done."""

import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import heappop, heappush
from pathlib import Path
from statistics import mean, median

from mocoop.checkout import find_config
from mocoop.errors import ConfigError, DataError
from mocoop.protocols.configs import setting
from mocoop.protocols.plan import Run
from mocoop.results.record import FILE_NAME, glance, read_record

CONTEXT_MB = 600.0  # that a process has on a GPU beside what torch counts
FRAGMENTS = 1.1  # of what is in use, for what lies between
SHOWN_WORKERS = (1, 2, 4, 8, 16, 32, 64, 128)
SHOWN_PARTS = 6
BACKBONE = "MODEL.BACKBONE.NAME"


@dataclass
class Outcome:
    """Why runs failed, and which were not run because the training of their model failed."""

    failed: dict[Run, str] = field(default_factory=dict)
    not_run: list[Run] = field(default_factory=list)

    def lacking(self) -> set[Run]:
        """The runs without a result that counts."""
        return {*self.failed, *self.not_run}

    def lines(self, checkout: Path) -> list[str]:
        """One line for each run that is lacking."""
        logs = {run: run.console(checkout) for run in self.failed}
        where = {run: f"; log: {log}" if log.exists() else "" for run, log in logs.items()}
        failed = [f"failed: {run.name}: {reason}{where[run]}" for run, reason in self.failed.items()]
        return failed + [f"not run: {run.name}: its model was not trained" for run in self.not_run]


class Schedule:
    """The runs of a plan that can start: those of which most seconds depend first, else in the plan's order.

    Attributes:
        ready: the runs that can start, the first first.
        waiting: those that wait for another, by the folder of its model.
    """

    def __init__(self, runs: list[Run], seconds: Callable[[Run], float] = lambda run: 0.0):
        folders = {run.folder for run in runs}
        self.outcome, self.waiting = Outcome(), defaultdict(list)
        for run in runs:
            if run.model in folders:
                self.waiting[run.model].append(run)
        longest = {model: max(map(seconds, dependants)) for model, dependants in self.waiting.items()}
        self._place = {run: (-seconds(run) - longest.get(run.folder, 0.0), number) for number, run in enumerate(runs)}
        self.ready = sorted((run for run in runs if run.model not in folders), key=self._place.__getitem__)

    def put_back(self, run: Run) -> None:
        """Lets a run start, or start again."""
        bisect.insort(self.ready, run, key=self._place.__getitem__)

    def finish(self, run: Run, reason: str) -> list[Run]:
        """Takes note that a run has ended, well if there is no reason. The runs that are settled by that."""
        dependants = self.waiting.pop(run.folder, [])
        if not reason:
            for dependant in dependants:
                self.put_back(dependant)
            return [run]
        self.outcome.failed[run] = reason
        self.outcome.not_run += dependants
        return [run, *dependants]


def wall_seconds(runs: list[Run], seconds: Callable[[Run], float], workers: int) -> float:
    """How long `workers` take for the runs, by going through the schedule."""
    schedule, now = Schedule(runs, seconds), 0.0
    busy: list[tuple[float, str, Run]] = []
    while schedule.ready or busy:
        while schedule.ready and len(busy) < workers:
            run = schedule.ready.pop(0)
            heappush(busy, (now + seconds(run), run.folder, run))
        now, _, run = heappop(busy)
        schedule.finish(run, "")
    return now


def glanced_seconds(path: Path, run: Run) -> float | None:
    """The seconds of a run by its record; None if it is not done."""
    status, seconds = glance(path)
    return seconds if status == "done" else None


class Times:
    """The seconds of each run of a plan, by the records of runs that were done; a function of the run.

    Args:
        seconds_of: the seconds of a run by its record and by the run of the plan that it is like; None if it does not
            count.
        of_other_methods: whether these stand in for a method of which no run was done.

    Attributes:
        done: by the folders of the kinds of runs, which are those of the runs without the seed.
    """

    def __init__(
        self,
        runs: list[Run],
        checkout: Path,
        seconds_of: Callable[[Path, Run], float | None] = glanced_seconds,
        of_other_methods: bool = True,
    ):
        self.of_other_methods, self.done = of_other_methods, dict[str, float]()
        alike = defaultdict(list)
        for kind, run in {_kind(run): run for run in runs}.items():
            if measured := list(filter(None, (seconds_of(path, run) for path in _records(checkout, kind)))):
                self.done[kind] = mean(measured)
                for key in self._alike_to(run):
                    alike[key].append(self.done[kind])
        self._alike = {key: median(seconds) for key, seconds in alike.items()}

    def __call__(self, run: Run) -> float:
        """Of the run with other seeds, else of the method on other datasets, else of other methods; 0 if none is."""
        guesses = (self._alike[key] for key in self._alike_to(run) if key in self._alike)
        return self.done.get(_kind(run)) or next(guesses, 0.0)

    def _alike_to(self, run: Run) -> list[tuple[bool, str]]:
        """What a run has in common with others that take about as long, the closest first."""
        methods = (_method(run), "") if self.of_other_methods else (_method(run),)
        return [(run.model is not None, method) for method in methods]


def estimate(runs: list[Run], checkout: Path, workers: int) -> Iterator[str]:
    """What the runs that are left take, in lines: together, and until the last one ends on so many workers.

    It rests on finished runs of the same CLIP and method. What nothing is known of is not guessed: it is named, with
    how to measure it. Raises ConfigError where no run has been done that could tell.
    """
    parts: Counter[str] = Counter()  # seconds of those that were done by part (mocoop.timings)

    def measured(path: Path, run: Run) -> float | None:
        record = _done(path)
        if record is None or backbone(run, checkout) not in ("", record["backbone"]):
            return None
        parts.update(record.get("timings") or {})
        return sum((record.get("timings") or record["seconds"]).values())

    seconds = Times(runs, checkout, measured, of_other_methods=False)
    left = [run for run in runs if not run.finished(checkout)]
    if left and not any(map(seconds, left)):
        clips = " or ".join(sorted({backbone(run, checkout) for run in left} - {""}))
        done = f"none done yet with {clips}" if clips else "none done yet"
        raise ConfigError(
            f"{len(left)} runs to do, and {done} whose time could tell how long they take; do some "
            "(--index I, or one seed of one dataset) and ask again"
        )
    same, unknown = sum(_kind(run) in seconds.done for run in left), [run for run in left if not seconds(run)]
    alike = len(left) - same - len(unknown)
    yield f"{len(runs)} runs, {len(left)} to do: {sum(map(seconds, left)) / 3600:.2f} hours of one worker"
    yield f"{same} as long as the same run of another seed, {alike} as long as runs on other datasets"
    if unknown:
        methods = ", ".join(sorted(set(map(_method, unknown))))
        yield f"not counted: {len(unknown)} of {methods}: nothing was measured yet; do one of each and ask again"
    if whole := sum(parts.values()):
        shares = (f"{part} {100 * of_part / whole:.0f} %" for part, of_part in parts.most_common(SHOWN_PARTS))
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


class GpuMemory:
    """Whether runs fit beside each other on a GPU, by what runs that are done took there.

    A run alone on its GPU always may start, and so may one of which no other seed has been done yet.

    Args:
        capacity: megabytes of each GPU, by its name.

    Attributes:
        alone: runs that ran out of memory beside others, and now get a GPU of their own.
    """

    def __init__(self, checkout: Path, capacity: Mapping[str, float]):
        self.checkout, self.capacity = checkout, capacity
        self.alone: set[Run] = set()
        self._peaks: dict[str, float] = {}

    def fits(self, gpu: str | None, run: Run, beside: Sequence[Run]) -> bool:
        """Whether a run may start on a GPU where others go on."""
        if not beside or gpu is None or gpu not in self.capacity:
            return True
        if self.alone.intersection((run, *beside)):
            return False
        return sum(map(self.peak, (run, *beside))) <= self.capacity[gpu]

    def peak(self, run: Run) -> float:
        """Megabytes of the run with another seed, and of its process; 0 if none has been done."""
        kind = _kind(run)
        if kind not in self._peaks:
            found = (_done(path) for path in _records(self.checkout, kind))
            if measured := [record["peak_memory_mb"] for record in found if record and record.get("peak_memory_mb")]:
                self._peaks[kind] = FRAGMENTS * max(measured) + CONTEXT_MB
        return self._peaks.get(kind, 0.0)


def _kind(run: Run) -> str:
    return str(Path(run.folder).parent)


def _method(run: Run) -> str:
    return Path(run.folder).parts[-3]


def _records(checkout: Path, kind: str) -> Iterator[Path]:
    return (checkout / kind).glob(f"seed*/{FILE_NAME}")


def _done(path: Path) -> dict | None:
    try:
        record = read_record(path)
    except DataError:
        return None
    return record if record["status"] == "done" else None
