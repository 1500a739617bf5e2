"""Two methods compared: the difference on each dataset and on average, how sure it is, and what that means in words.

What is compared is named as tables call it, a method with its configuration where it has several, or as a folder.
Pairs are tests of the same images, classes and seeds.
"""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BOTH, PROTOCOLS, TRANSFER, base_count, in_dataset_order
from mocoop.results import stats
from mocoop.results.agreement import ALONE, apart, identified, noted_differences, refuse
from mocoop.results.coop_logs import LOG_MARK
from mocoop.results.csv_files import answers_of
from mocoop.results.record import FILE_NAME, read_record
from mocoop.results.render import Cell, Table
from mocoop.results.runs import IDENTITY, collect, join, place_strays, runs_of, without_other_models
from mocoop.results.stats import AVERAGE, LEVEL, SOURCE_MARK, Answers, Difference
from mocoop.results.tables import shots_name, titled

SIDES = {"train_base": "base", "test_new": "new"}


def named_runs(name: str, output: pd.DataFrame | None, protocol: str) -> tuple[str, pd.DataFrame]:
    """The runs of one method and configuration in a protocol, and what to call it.

    name: a folder of runs, or what has runs in `output` (of `collect`): a method, or METHOD/CONFIGURATION. Of several
    configurations of a method the one with the most datasets is taken. Raises DataError.
    """
    if folder := Path(name).is_dir():
        output = _as_one(collect(name).with_gaps())
    runs, _ = join(without_other_models(runs_of(output, protocol), protocol)[0], protocol)
    return runs_named(name, runs, protocol, folder)


def runs_named(name: str, runs: pd.DataFrame, protocol: str, folder: bool) -> tuple[str, pd.DataFrame]:
    whole, short = runs["method"] + "/" + runs["cfg"], runs["method"]
    if not folder:
        runs = runs[(whole == name) if (whole == name).any() else short == name]
        alone = runs["seen_together"].fillna(ALONE) == ALONE
        runs = runs[alone] if alone.any() and (whole != name).all() else runs  # a method's name alone means no other
    covered = runs.groupby(["method", "cfg"])["dataset"].nunique().sort_values(ascending=False)
    if runs["accuracy"].isna().all():
        found = f"none of {', '.join(sorted(set(whole)))}" if len(whole) and not folder else "no finished run"
        raise DataError(f"{name}: {found} in protocol {protocol}; expected a method with runs, or a folder of them")
    if len(covered) > 1 and (folder or covered.iloc[0] == covered.iloc[1]):
        raise DataError(f"{name} may be {', '.join(map('/'.join, sorted(covered.index)))}; name one of them")
    method, cfg = covered.index[0]
    return method, runs[(runs["method"] == method) & (runs["cfg"] == cfg)]


def _as_one(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs in folders of one's own get the protocol and phase of the classes that they were tested on, and no cfg.

    Who names a folder means that it holds one configuration.
    """
    own = set(frame.loc[frame["protocol"] == "", "folder"])
    frame, _ = place_strays(frame)
    frame["cfg"] = frame["cfg"].mask(frame["folder"].isin(own), "")
    twice = frame[frame.duplicated(IDENTITY, keep=False)]
    if len(twice):
        raise DataError(f"{' and '.join(twice['folder'][:2])} are runs of one seed, expected one of each")
    return frame


@dataclass(frozen=True)
class Tested:
    """What a run answered: images as (path, label), sorted, what was right (N,), and the run's record."""

    images: list[tuple[str, int]]
    right: np.ndarray
    record: dict

    @classmethod
    def read(cls, folder: str) -> "Tested":
        """The test of the run in a folder. Raises DataError if its files are damaged or do not belong together."""
        record = read_record(Path(folder) / FILE_NAME)
        frame = answers_of(folder, record).sort_values("path", kind="stable")
        right = (frame["label"] == frame["prediction"]).to_numpy()
        return cls(list(zip(frame["path"], frame["label"])), right, record)


def paired_runs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The runs that both have of a phase and seed, side by side, of the seeds that both have in all phases.

    a, b: runs (of `collect`, `identified`) of one method and number of shots on one dataset, with gaps. The columns of
    theirs end in _a and _b.
    """
    runs = a.dropna(subset="accuracy").merge(b.dropna(subset="accuracy"), on=["phase", "seed"], suffixes=("_a", "_b"))
    of_phases = runs.groupby("phase")["seed"].agg(set)
    return runs[runs["seed"].isin(set.intersection(*of_phases))] if len(runs) else runs


def check_pair(run: Any) -> list[str]:
    """One line for each condition that two runs, a row of `paired_runs`, differ in and may.

    Raises DataError, naming the runs and what differs, where they cannot be paired (see `mocoop.results.agreement`).
    """
    if run.classnames_a != run.classnames_b:
        records = [read_record(Path(folder) / FILE_NAME) for folder in (run.folder_a, run.folder_b)]
        names_a, names_b = ([row["classname"] for row in record["per_class"]] for record in records)
        refuse(run, "class names", *_where_they_differ(names_a, names_b))
    return noted_differences(run)


def paired_answers(runs: pd.DataFrame, read: Callable[[str], Tested]) -> dict[str, Answers]:
    """What both of `paired_runs` answered to the same images over their seeds, by the side that these are of.

    A side is base, new or all. Raises DataError where the runs are of different images.
    """
    answers: dict[str, Answers] = {}
    for phase, part in runs.groupby("phase", sort=False):
        pairs = []
        for run in part.sort_values("seed").itertuples():
            a, b = read(run.folder_a), read(run.folder_b)
            if a.images != b.images:
                refuse(run, "test images", *_where_they_differ(a.images, b.images))
            pairs.append((a, b))
        answers |= _sides(phase, pairs)
    return answers


def _where_they_differ(one: list, other: list) -> tuple[object, object]:
    """The first entries that differ; how many there are, where one list is longer."""
    first = next((pair for pair in zip(one, other) if pair[0] != pair[1]), None)
    return first or (len(one), len(other))


def _sides(phase: str, pairs: list[tuple[Tested, Tested]]) -> dict[str, Answers]:
    """One test over the seeds, or two where it was of base and of new classes."""
    first, _ = pairs[0]
    if any(one.images != first.images for one, _ in pairs):
        raise DataError(f"got seeds of {phase} that were tested on different images, expected the same ones")
    a, b = (np.stack([one.right for one in of_method]) for of_method in zip(*pairs))
    if first.record["subsample_classes"] != BOTH:
        return {SIDES.get(phase, "all"): Answers(a, b)}
    base = np.array([label for _, label in first.images]) < base_count(first.record["num_classes"])
    return {side: Answers(a[:, at], b[:, at]) for side, at in (("base", base), ("new", ~base))}


logger = logging.getLogger(__name__)
MEASURES = {"base": "Base", "new": "New", "H": "H", "all": "Accuracy"}
NOT_TOLD_APART = "not told apart"
VERDICTS = ("better", "worse", NOT_TOLD_APART, "one seed only")
NOTES = [
    "Paired by image and seed. From, to: 95 % interval, with the chance in seeds and in test images. p: of no "
    "difference, adjusted over the datasets (Holm), and with few seeds more cautious than the interval. Better, worse: "
    "p below 0.05.",
    "McNemar: pairs of models of one seed that differ on these images (exact test at 5 %, adjusted over all pairs of "
    "a measure). It says nothing of other seeds.",
]


@dataclass(frozen=True, eq=False)
class Row:
    """What was found on one dataset, or on their average.

    family: the rows that are tested together. measure: of MEASURES. a, b: accuracies or H. p: adjusted over the family.
    answers: what it was found from; None for H and the average. tests: as `difference` takes them.
    """

    family: str
    dataset: str
    measure: str
    a: float
    b: float
    difference: Difference
    p: float
    answers: Answers | None
    tests: list

    @property
    def verdict(self) -> str:
        if math.isnan(self.p):
            return VERDICTS[3]
        return NOT_TOLD_APART if self.p >= LEVEL else VERDICTS[0 if self.difference.mean > 0 else 1]


def comparison_table(a: pd.DataFrame, b: pd.DataFrame, protocol: str, names: tuple[str, str]) -> Table:
    """A row for each dataset and measure, and for their average. a, b: runs of one method and configuration each.

    Raises DataError where runs cannot be paired, or there is no test that both made.
    """
    rows, gaps = compare(a, b, protocol, names)
    body: list[list | None] = []
    pairs = _differing_pairs(rows)
    for (_, dataset), members in groupby(rows, key=lambda row: (row.family.partition(", ")[2], row.dataset)):
        block = list(members)
        body += [None] if body and len(block) > 1 else []
        body += [[dataset, row.family, *_fields(row, pairs.get(row, "–"))] for row in block]
    columns = ["Dataset", "Measure", *names, "Difference", "from", "to", "p", "McNemar", f"{names[0]} is"]
    return Table(" against ".join(names), columns, body, [*in_words(rows), *NOTES, *gaps])


def tables_against(name: str, runs: pd.DataFrame, protocol: str) -> list[Table]:
    """A comparison of every other method and configuration among the runs of a protocol with the one named.

    Runs that are known by their logs alone have no predictions and are passed over, as are those that may not share a
    table with the named ones. Raises DataError.
    """
    runs = runs[~runs["method"].str.endswith(LOG_MARK)]
    runs_named(name, runs, protocol, folder=False)
    tables = []
    for what, alike in apart(runs):
        several = alike.groupby("method")["cfg"].nunique() > 1
        try:
            _, base = runs_named(name, alike, protocol, folder=False)
        except DataError as error:
            logger.warning("not compared: %s: %s", what, error)
            continue
        own = base["method"].iloc[0], base["cfg"].iloc[0]
        for method, cfg in sorted(set(zip(alike["method"], alike["cfg"])) - {own}, key=stats.rank):
            part = alike[(alike["method"] == method) & (alike["cfg"] == cfg)]
            names = (f"{method}/{cfg}" if several[method] else method, name)
            tables += titled([comparison_table(part, base, protocol, names)], what)
    return tables


def in_words(rows: list[Row]) -> list[str]:
    """One line for each family of rows: where the first is better, worse, or not told apart."""
    lines = []
    for family in dict.fromkeys(row.family for row in rows):
        of_family = [row for row in rows if row.family == family]
        found = {verdict: [row.dataset for row in of_family if row.verdict == verdict] for verdict in VERDICTS}
        lines.append(
            f"{family}: " + "; ".join(f"{word} on {', '.join(names)}" for word, names in found.items() if names)
        )
    return lines


def compare(a: pd.DataFrame, b: pd.DataFrame, protocol: str, names: tuple[str, str]) -> tuple[list[Row], list[str]]:
    """The rows of `comparison_table`, and one line for each seed that only one has, and for what they differ in."""
    a, b = identified(a, b)
    shots = sorted({*a["shots"], *b["shots"]} - {0}) or [0]
    rows, notes = [], []
    for number in shots:
        of_a, of_b = (runs[runs["shots"].isin([number, 0])] for runs in (a, b))
        models, gaps = _models(of_a, of_b, names, PROTOCOLS[protocol].measure == TRANSFER)
        suffix = f", {shots_name(number)}" if len(shots) > 1 else ""
        rows += compared(models, PROTOCOLS[protocol].measure == TRANSFER, suffix)
        notes += [gap + suffix for gap in gaps]
    if not rows:
        more = f": {notes[0]}" if notes else ""
        raise DataError(
            f"{' and '.join(names)} have no test in common, expected both on one dataset with one seed{more}"
        )
    return rows, notes


def _models(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str], one_model: bool) -> tuple[dict, list[str]]:
    """{dataset: of `paired_answers`}, and a line for each seed that one lacks. one_model: it makes all tests."""
    mark = SOURCE_MARK if one_model else ""
    both = [r.assign(dataset=r["dataset"].mask(r["phase"] == "train", r["dataset"] + mark)) for r in (a, b)]
    datasets = in_dataset_order({*both[0]["dataset"], *both[1]["dataset"]})
    seeds, notes = {*a["seed"], *b["seed"]}, []
    for dataset in datasets:
        lacking, lines = _lacking([runs[runs["dataset"] == dataset] for runs in both], names, {*a["seed"], *b["seed"]})
        seeds -= lacking if one_model else set()
        notes += [f"{dataset}: {line}" for line in lines]
    pairs = {dataset: paired_runs(*(runs[runs["dataset"] == dataset] for runs in both)) for dataset in datasets}
    pairs = {dataset: runs[runs["seed"].isin(seeds)] for dataset, runs in pairs.items()}
    read = cache(Tested.read)
    spoiled, lines = _spoiled(pairs, read)
    everywhere = set().union(*spoiled.values()) if one_model else set()
    models = {}
    for dataset, runs in pairs.items():
        if answers := paired_answers(runs[~runs["seed"].isin(spoiled[dataset] | everywhere)], read):
            models[dataset] = answers
    return models, notes + lines


def _lacking(both: list[pd.DataFrame], names: tuple[str, str], seeds: set[int]) -> tuple[set[int], list[str]]:
    """The seeds that one of two methods lacks on a dataset, and a line for each phase and for the seeds of each."""
    both = [runs.dropna(subset="accuracy") for runs in both]
    phases, lacking, lines = {*both[0]["phase"], *both[1]["phase"]}, set(), []
    for runs, name in zip(both, names):
        has = runs.groupby("phase")["seed"].agg(set)
        absent = phases - set(has.index) if len(has) else set()
        lines += [f"{name} has no result of {phase}" for phase in sorted(absent)]
        own = sorted(seeds - (set.intersection(*has) if len(has) else set()))
        lines += [f"{name} lacks seed {', '.join(map(str, own))}"] if own else []
        lacking |= set(own)
    return lacking, lines


def _spoiled(pairs: dict[str, pd.DataFrame], read: Callable) -> tuple[dict[str, set[int]], list[str]]:
    """The seeds of each dataset whose files cannot be read, and a line for each, and for what pairs differ in.

    Raises DataError where two runs cannot be paired.
    """
    spoiled: dict[str, set[int]] = {dataset: set() for dataset in pairs}
    notes = []
    for dataset, runs in pairs.items():
        for run in runs.itertuples():
            notes += check_pair(run)
            try:
                read(run.folder_a), read(run.folder_b)
            except DataError as error:
                notes.append(f"left out: {error}")
                spoiled[dataset].add(run.seed)
    return spoiled, list(dict.fromkeys(notes))


def compared(models: dict[str, dict[str, Answers]], one_model: bool = False, suffix: str = "") -> list[Row]:
    """Rows of {dataset: answers by side}: by dataset, then the average of each measure that all have, but for a source.

    one_model: one trained model made all tests, else one for each dataset. suffix: of the families' names.
    """
    rows = []
    for measure in MEASURES:
        sides = _sides_of(measure)
        having = [dataset for dataset, answers in models.items() if sides <= answers.keys()]
        found = [_row(dataset, measure, [models[dataset]], one_model, suffix) for dataset in having]
        rows += [replace(row, p=p) for row, p in zip(found, stats.holm([row.p for row in found]))]
    rows.sort(key=lambda row: list(models).index(row.dataset))
    averaged = [answers for dataset, answers in models.items() if not dataset.endswith(SOURCE_MARK)]
    whole = [measure for measure in MEASURES if all(_sides_of(measure) <= answers.keys() for answers in averaged)]
    return rows + [_row(AVERAGE, measure, averaged, one_model, suffix) for measure in whole if len(averaged) > 1]


def _sides_of(measure: str) -> set[str]:
    return {"base", "new"} if measure == "H" else {measure}


def _row(dataset: str, measure: str, models: list[dict[str, Answers]], one_model: bool, suffix: str) -> Row:
    """The row of the mean over models; H is that of the means."""
    sides = sorted(_sides_of(measure))
    means = [[sum(part) / len(models) for part in zip(*(one[side].accuracies for one in models))] for side in sides]
    (a, slopes_a), (b, slopes_b) = (_value(of_method) for of_method in zip(*means))
    weights = [(side, of_a / len(models), of_b / len(models)) for side, of_a, of_b in zip(sides, slopes_a, slopes_b)]
    parts = [[(answers[side], of_a, of_b) for side, of_a, of_b in weights] for answers in models]
    tests = [sum(parts, [])] if one_model else parts
    found = stats.difference(a - b, tests)
    alone = models[0][measure] if measure != "H" and len(models) == 1 else None
    return Row(MEASURES[measure] + suffix, dataset, measure, a, b, found, found.p, alone, tests)


def _value(accuracies: tuple[float, ...]) -> tuple[float, tuple[float, ...]]:
    """The accuracy, or H of two, and its derivatives by them."""
    if len(accuracies) == 1:
        return accuracies[0], (1.0,)
    base, new = accuracies
    return stats.harmonic_mean(base, new), tuple(2 * (other / max(base + new, 1e-9)) ** 2 for other in (new, base))


def _differing_pairs(rows: list[Row]) -> dict[Row, str]:
    """Of each row with answers, how many of its pairs of models differ by McNemar's test, adjusted over the family."""
    found = {}
    for family in dict.fromkeys(row.family for row in rows):
        tested = [(row, row.answers) for row in rows if row.family == family and row.answers]
        p_values = iter(
            stats.holm([stats.mcnemar(a, b) for _, answers in tested for a, b in zip(answers.a, answers.b)])
        )
        for row, answers in tested:
            seeds = len(answers.a)
            found[row] = f"{sum(next(p_values) < LEVEL for _ in range(seeds))} of {seeds}"
    return found


def p_text(p: float) -> str:
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _fields(row: Row, pairs: str) -> Iterable:
    """The fields of a table's row behind its labels."""
    yield from (Cell(row.a, None), Cell(row.b, None))
    yield from (
        Cell(value, None, signed=True) for value in (row.difference.mean, row.difference.low, row.difference.high)
    )
    yield p_text(row.p)
    yield pairs
    yield row.verdict
