"""An output tree as one table of runs.

Runs lie in folders of LAYOUT, below any folder. What is not a finished run, or contradicts the folder it lies in, is
named in `problems`, and its place is kept as a gap.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BOTH, PROTOCOLS, SHIFTED, TRAINED, TRANSFER, config_name
from mocoop.registry import listed
from mocoop.results import agreement
from mocoop.results.record import FILE_NAME, OWN_IMAGES, TRANSDUCED, config_sha256, read_record, trains

ALL_SHOTS = 10**9  # of what trained on all images (DATASET.NUM_SHOTS 0 or less): behind every number of shots
LAYOUT = "<protocol>/<phase>/<dataset>/shots_<n>/<Trainer>/<cfg>/seed<k>"
IDENTITY = ["protocol", "phase", "dataset", "shots", "method", "cfg", "seed"]
SIDES = ["base_accuracy", "new_accuracy"]  # of one test on base and new images
AREA = "base_new_area"  # of such a test, under the trade-off between both (mocoop.results.calibration)
METRICS = ["accuracy", "macro_f1", "top5", "per_class_mean", "ece", *SIDES, AREA]
ORDERS = ["orders", "orders_std"]  # of test images, that metrics are means over, and the deviation of accuracy
_FROM_RECORD = ["subsample_classes", "backbone", "epoch", "selection", "num_classes", "num_test", "engine"]
_FROM_RECORD += ["peak_memory_mb", "manifest_sha256"]
WEIGHTS = "weights_sha256"  # of what was tested; None for what learns nothing and for records that do not say it
KNOWLEDGE = "knowledge"  # what training used beyond images and names of the trained classes, in words
ROUTING = ["domain_in_top_k", "routing"]  # of methods that route
SETTINGS = "settings_sha256"  # of the configuration without data and seed
COLUMNS = [*IDENTITY, *METRICS, *_FROM_RECORD, "config_sha256", SETTINGS, WEIGHTS, "clip_sha256"]
COLUMNS += [key for key in agreement.KEYS if key not in COLUMNS]
COLUMNS += [KNOWLEDGE, "train_seconds", "test_seconds", *ROUTING, "evaluation", *ORDERS, "folder"]
_RUN_FOLDER = re.compile(
    r"(?P<protocol>[^/]+)/(?P<phase>[^/]+)/(?P<dataset>[^/]+)/shots_(?P<shots>-?\d+)"
    r"/(?P<method>[^/]+)/(?P<cfg>[^/]+)/seed(?P<seed>\d+)"
)
PLACES = {phase.classes: (phase.protocol, phase.name) for p in reversed(list(PROTOCOLS.values())) for phase in p.phases}
_SEED_FOLDER = re.compile(r"seed\d+")
_CLASSES_OF_PHASE = {"train_base": "base", "test_new": "new", "train_all": "all", "test_all": BOTH}


@dataclass(frozen=True)
class Collection:
    """The finished runs, one row each with COLUMNS, and one line for everything that could not be used.

    gaps: the IDENTITY of each run that is begun but could not be used.
    """

    frame: pd.DataFrame
    problems: list[str]
    gaps: list[dict] = field(default_factory=list)

    def with_gaps(self) -> pd.DataFrame:
        """The finished runs, and a row without results for each gap."""
        taken = set(self.frame[IDENTITY].itertuples(index=False, name=None))
        learns = {name: method.learns for name, method in listed().items()}
        found = [gap | {"shots": trained_shots(gap["shots"], learns.get(gap["method"], True))} for gap in self.gaps]
        gaps = {tuple(gap[name] for name in IDENTITY): gap for gap in found}
        rows = [gap for identity, gap in gaps.items() if identity not in taken]
        return pd.DataFrame(self.frame.to_dict("records") + rows, columns=COLUMNS) if rows else self.frame


def collect(root: str | Path) -> Collection:
    """Reads every run below `root`.

    A run outside LAYOUT keeps an empty protocol, phase and cfg. `routing` is the record's dict or None.
    Raises DataError if `root` is not a folder.
    """
    folders = run_folders(Path(root), FILE_NAME.__eq__, _SEED_FOLDER)
    return collect_folders(root, folders, lambda folder: row_of(read_done(folder), folder), layout_place)


def collect_transduced(root: str | Path) -> Collection:
    """What `mocoop transduce` left in the runs of LAYOUT below `root`: a row for each run and method on top of it.

    Its configuration is called CFG+LABEL. Metrics are means over the orders of the test images, and `folder` is that of
    the first.
    """
    rows, problems = [], []
    for folder in run_folders(Path(root), FILE_NAME.__eq__, _SEED_FOLDER):
        for kept in sorted((folder / TRANSDUCED).glob("*")):
            try:
                rows.append(_transduced_row(folder, kept))
            except DataError as error:
                problems.append(str(error))
    return Collection(pd.DataFrame(rows, columns=COLUMNS), problems)


def _transduced_row(folder: Path, kept: Path) -> dict:
    """Raises DataError for records that are not of the run as it is now."""
    run, orders = read_done(folder), sorted(path for path in kept.iterdir() if path.is_dir())
    records = [read_done(path) for path in orders]
    if layout_place(folder) is None:
        raise DataError(f"{kept}: tables show what is on top of runs in {LAYOUT} alone")
    for path, record in zip(orders, records):
        if not record.get("transduction"):
            raise DataError(f"{path}: got no transduction in {FILE_NAME}, expected a record of mocoop transduce")
        if any(record.get(key) != run.get(key) for key in (WEIGHTS, "test_sha256")):
            raise DataError(f"{path}: is of another model or test than its run now is; run mocoop transduce again")
    if not records:
        raise DataError(f"{kept}: no {FILE_NAME} below it, expected one of each order")
    row = row_of(records[0], folder)
    metrics = pd.DataFrame([record["metrics"] for record in records], columns=METRICS).astype(float)
    counted = {"orders": len(records), "orders_std": float(metrics["accuracy"].std())}
    cfg = f"{row['cfg']}+{records[0]['transduction']['label']}"
    return row | metrics.mean().to_dict() | counted | {"cfg": cfg, "folder": str(orders[0])}


def collect_folders(
    root: str | Path,
    folders: Iterable[Path],
    read_row: Callable[[Path], dict],
    place: Callable[[Path], dict | None],
) -> Collection:
    """The runs of some folders below `root`.

    read_row: folder -> dict of COLUMNS, or DataError with the reason why the run cannot be used.
    place: folder -> the dict of IDENTITY that its path says, or None.
    Raises DataError if `root` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected one with results; run an experiment first")
    rows, problems, gaps = [], [], []
    for folder in folders:
        try:
            rows.append(read_row(folder))
        except DataError as error:
            problems.append(str(error))
            gaps.append(place(folder))
    return merge([Collection(pd.DataFrame(rows, columns=COLUMNS), problems, [gap for gap in gaps if gap])])


def merge(parts: list[Collection]) -> Collection:
    """All runs of the parts, without those that lie in two folders."""
    frames = [part.frame for part in parts if len(part.frame)] or [parts[0].frame]
    frame = pd.concat(frames, ignore_index=True)
    repeated = (frame["protocol"] != "") & frame.duplicated(IDENTITY, keep=False)
    problems = [problem for part in parts for problem in part.problems]
    problems += [
        f"{folder}: the same run lies in another folder too; neither counts" for folder in frame.folder[repeated]
    ]
    gaps = [gap for part in parts for gap in part.gaps] + frame.loc[repeated, IDENTITY].to_dict("records")
    return Collection(frame[~repeated].reset_index(drop=True), problems, gaps)


def layout_place(folder: Path) -> dict | None:
    """The run's identity as LAYOUT names it, or None for a folder outside it."""
    match = _RUN_FOLDER.fullmatch("/".join(folder.absolute().parts[-7:]))
    if match is None:
        return None
    place = match.groupdict()
    return place | {"shots": int(place["shots"]), "seed": int(place["seed"])}


def trained_shots(shots: int, learns: bool) -> int:
    """The number of shots that a table knows a run by: ALL_SHOTS of what learned from all images, 0 of zero-shot."""
    return shots if shots > 0 else ALL_SHOTS if learns else 0


def check_place(folder: Path, place: dict, stated: dict, source: str) -> None:
    """Raises DataError if what `source` states about a run contradicts the folder that it lies in."""
    expected = place | {"subsample_classes": _CLASSES_OF_PHASE.get(place["phase"], stated.get("subsample_classes"))}
    for field_name, value in stated.items():
        if value != expected[field_name]:
            raise DataError(f"{folder}: {source} says {field_name} {value}, its folder says {expected[field_name]}")


def run_folders(root: Path, is_mark: Callable[[str], bool], seed_folder: re.Pattern) -> Iterator[Path]:
    """The folders below `root`, sorted, that hold a file which marks a run, or are called like a seed's."""
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        if any(map(is_mark, files)) or seed_folder.fullmatch(Path(folder).name):
            subfolders.clear()
            yield Path(folder)


def read_done(folder: Path) -> dict:
    """The record of a run. Raises DataError if there is none of a run that is done."""
    if not (folder / FILE_NAME).exists():
        raise DataError(f"{folder}: no {FILE_NAME}, the run did not finish")
    record = read_record(folder / FILE_NAME)
    if record["status"] != "done":
        reason = f" ({record['error']})" if record.get("error") else ""
        raise DataError(f"{folder}: the run is {record['status']}{reason}")
    return record


def row_of(record: dict, folder: Path) -> dict:
    """The row of a run that is done. Raises DataError if its record contradicts the folder that it lies in."""
    place = _place(folder, record)
    routing = record.get("routing")
    return {
        **place | {"shots": trained_shots(place["shots"], record["epoch"] is not None)},
        **{name: record["metrics"].get(name) for name in METRICS},
        **{name: record[name] for name in _FROM_RECORD},
        **{name: record.get(name) for name in (WEIGHTS, "clip_sha256")},
        **agreement.conditions_of(record),
        "config_sha256": config_sha256(record["config"], trains(record)),
        SETTINGS: config_sha256(record["config"] | {"DATASET": {}}),
        KNOWLEDGE: "; ".join(record.get(KNOWLEDGE) or []) or None,
        "train_seconds": record["seconds"].get("train"),
        "test_seconds": record["seconds"].get("test"),
        "domain_in_top_k": routing and routing["domain_in_top_k"],
        "routing": routing,
        "evaluation": not trains(record),
        "folder": str(folder),
    }


def place_strays(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The runs with those outside LAYOUT where their record says that they belong, and a line about each.

    The classes of a test say its protocol and phase. Its configuration is that of the run whose weights it tested, or
    of another with the same settings; else it is called like the folder. What was tested on other data than it was
    trained on is transfer, and its training the source, too.
    """
    strays = frame["protocol"] == ""
    if not strays.any():
        return frame, []
    known, placed, lines = frame[~strays], [], []
    taken = set(known[IDENTITY].itertuples(index=False, name=None))
    trained = {row.weights_sha256: row for row in known.itertuples(index=False) if row.phase in TRAINED}
    cfgs = {(row.method, row.settings_sha256): row.cfg for row in known.itertuples()}
    rows = frame[strays].assign(dataset=[config_name(name, known["dataset"]) for name in frame.loc[strays, "dataset"]])
    for row in sorted(rows.itertuples(index=False), key=lambda row: (row.evaluation, row.folder)):
        above_seeds = [part for part in Path(row.folder).absolute().parts if not _SEED_FOLDER.fullmatch(part)]
        name, model = above_seeds[-1], trained.get(row.weights_sha256) if row.evaluation else None
        cfg = model.cfg if model else cfgs.setdefault((row.method, row.settings_sha256), name)
        row = _at_home(row, model)
        if model and row.phase == "test":
            one = model._replace(protocol="xd", phase="train")
            if one[: len(IDENTITY)] not in taken:
                placed.append(one)
                taken.add(one[: len(IDENTITY)])
        names = (cfg, name, f"{name}-{row.folder}".replace("/", "-"))
        row = next(one for one in (row._replace(cfg=name) for name in names) if one[: len(IDENTITY)] not in taken)
        taken.add(row[: len(IDENTITY)])
        placed.append(row)
        if not row.evaluation:
            trained.setdefault(row.weights_sha256, row)
        shots = 0 if row.shots == ALL_SHOTS else row.shots
        where = f"{row.protocol}/{row.phase}/{row.dataset}/shots_{shots}/{row.method}/{row.cfg}/seed{row.seed}"
        lines.append(f"{row.folder}: counts by its record; the scripts' place for it is {where}")
    return pd.concat([known, pd.DataFrame(placed, columns=COLUMNS)], ignore_index=True), lines


def _at_home(row: Any, model: Any) -> Any:
    """A row with its protocol and phase, and the shots of the model that it tested, if that is known."""
    protocol, phase = PLACES[row.subsample_classes]
    if model is None:
        return row._replace(protocol=protocol, phase=phase)
    if row.subsample_classes == "all" and model.dataset != row.dataset:
        protocol, phase = "dg" if row.dataset in SHIFTED.split() else "xd", "test"
    return row._replace(protocol=protocol, phase=phase, shots=model.shots)  # an evaluation need not say its shots


def _place(folder: Path, record: dict) -> dict:
    """The run's identity: from its folder, which the record must not contradict, or from the record alone."""
    stated = {"method": record["method"], "shots": record["shots"], "seed": record["seed"]}
    place = layout_place(folder)
    if place is None:
        data = record["dataset"]
        root = record["config"].get("DATASET", {}).get("ROOT") if data == OWN_IMAGES else None
        return {"protocol": "", "phase": "", "dataset": Path(root).name if root else data, "cfg": "", **stated}
    check_place(folder, place, stated | {"subsample_classes": record["subsample_classes"]}, FILE_NAME)
    return place


def runs_of(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """The runs of a protocol. Trainings that lie with another protocol are its own if their models were tested.

    So are those of methods that cannot be tested on other classes: what they lack is a gap with a reason.
    """
    runs = frame[(frame["protocol"] + "/" + frame["phase"]).isin([p.folder for p in PROTOCOLS[protocol].phases])]
    own, entries = runs["protocol"] == protocol, pd.MultiIndex.from_frame(runs[ENTRY])
    bound = runs["method"].isin([method.name for method in listed().values() if not method.new_classes])
    return runs[own | entries.isin(entries[own]) | (bound & own.any())]


def without_other_models(runs: pd.DataFrame, protocol: str) -> tuple[pd.DataFrame, list[str]]:
    """The runs, those without results that tested another model than lies with their training; a line about each.

    Base and new accuracy, or source and target, are joined for one model alone: where the training was repeated, the
    older test has to be, too. Records that do not say which weights they tested are taken as they are.
    """
    runs, problems = runs.copy(), []
    for phase, training in [(phase, phase.model) for phase in PROTOCOLS[protocol].phases if phase.model]:
        same = [*ENTRY, "seed"] if training.on_source else ["dataset", *ENTRY, "seed"]
        trained = runs[runs["phase"] == training.name].groupby(same)[WEIGHTS].agg(set)
        for row in runs[(runs["phase"] == phase.name) & runs[WEIGHTS].notna()].itertuples():
            models = trained.get(tuple(getattr(row, name) for name in same), set())
            if models and row.weights_sha256 not in models and all(isinstance(model, str) for model in models):
                runs.loc[row.Index, METRICS + ROUTING] = None
                problems.append(f"{row.folder}: tested another model than the one of {training.folder}; test again")
    return runs, problems


def join(runs: pd.DataFrame, protocol: str) -> tuple[pd.DataFrame, list[str]]:
    """The runs with configurations joined (`join_cfgs`) where each data set is trained on, and a line about each."""
    return (runs, []) if PROTOCOLS[protocol].measure == TRANSFER else join_cfgs(runs)


ENTRY = ["method", "cfg", "shots"]


def join_cfgs(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Makes one entry of a method's configurations where each data set and number of shots has but one.

    For runs that are trained and tested on one data set: published schedules differ by data set and shots, and are
    one method nevertheless. The backbone has to be the same, and what is on top of them. Returns the frame with the
    joined names in column cfg, and one line for each method that was joined.
    """
    frame, notes = frame.copy(), []
    for (method, _), runs in frame.groupby(["method", frame["seen_together"].fillna(agreement.ALONE)]):
        cfgs = sorted(runs["cfg"].unique())
        meet = runs.groupby(["dataset", "shots"])["cfg"].nunique().max() > 1
        if len(cfgs) < 2 or meet or runs["backbone"].nunique() > 1:
            continue
        frame.loc[runs.index, "cfg"] = "+".join(cfgs)
        notes.append(f"{method}: its configurations differ by data set or shots ({', '.join(cfgs)})")
    return frame, notes
