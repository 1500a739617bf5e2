"""The log.txt trees of CoOp and Dassl as runs, so that old results stand beside new ones.

A log counts if it holds a result on the test set that no unfinished training follows; the last one is taken, of the
newest log of a folder that has one. Accuracy is computed from the counts, as the log rounds its percentages. Which run
it is, is said by the folder, in the layouts of CoOp and its kin:

    base2new/<phase>/<dataset>/shots_<n>[_<variant>]/<Trainer>/<cfg>/seed<k>   KgCoOp and TCP add the weight of a loss
    few_shot/<dataset>/shots_<n>/<Trainer>/<cfg>/seed<k>                   MMRL
    <dataset>/<Trainer>/<cfg>_<n>shots/[<variant>/]seed<k>                 few-shot
    evaluation/<Trainer>/<cfg>_<n>shots/[<variant>/]<dataset>/seed<k>      transfer from SOURCE
    ZeroshotCLIP/<cfg>/<dataset>                                           without a seed

PromptKD writes seed_<k>. What trains with 0 shots, as PromptKD, sees all images, without labels or with them: such runs
are left out, and named.
"""

import codecs
import re
from pathlib import Path

import pandas as pd

from mocoop.errors import DataError
from mocoop.files import check_plain_file
from mocoop.protocol import PROTOCOLS
from mocoop.results.csv_files import damage_named
from mocoop.results.record import FILE_NAME
from mocoop.results.runs import COLUMNS, Collection, check_place, collect_folders, read_done, row_of, run_folders

LOG_NAME = "log.txt"
LOG_MARK = " (from log.txt)"
EVERY_SEED = -1
SOURCE = "imagenet"  # what CoOp's scripts train on for transfer

_SEED = r"seed_?(?P<seed>\d+)(?:_(?P<experiment>[^/]+))?"
_SHOTS = r"(?P<method>[^/]+)/(?P<cfg>[^/]+)_(?P<shots>\d+)shots(?:/(?P<variant>[^/]+))?"
_TREE = r"(?P<dataset>[^/]+)/shots_(?P<shots>-?\d+)(?:_(?P<variant>[^/]+))?/(?P<method>[^/]+)/(?P<cfg>[^/]+)/" + _SEED
_LAYOUTS = [  # the first that fits is taken
    re.compile(f"(?:^|/){layout}$")
    for layout in (
        r"(?P<protocol>few_shot)/" + _TREE,
        r"(?P<protocol>[^/]+)/(?P<phase>[^/]+)/" + _TREE,
        rf"(?P<phase>evaluation)/{_SHOTS}/(?P<dataset>[^/]+)/{_SEED}",
        rf"(?P<dataset>[^/]+)/{_SHOTS}/{_SEED}",
        r"(?P<method>Zeroshot[^/]*)/(?P<cfg>[^/]+)/(?P<dataset>[^/]+)",
    )
]
_PHASE_OF_CLASSES = {phase.classes: phase.name for phase in PROTOCOLS["base2new"].phases}
_SEED_FOLDER = re.compile(r"seed_?\d+(_.+)?")
_NO_FOLDER = re.compile("(?!)")
_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}

_CONFIG_LINE = re.compile(r"( *)([A-Z]\w*): ?(.*)")
_SPLIT_LINE = re.compile(r"Evaluate on the \*(\w+)\* set")
_RESULT_LINE = re.compile(r"\* (total|correct|accuracy|error|macro_f1|average): ([\d.,eE+-]+)%?")
_PRINTED_TO = 0.06  # percent that a printed accuracy may differ from the exact one: half its last digit, and more


def collect_logs(root: str | Path) -> Collection:
    """Every run below `root` without a record by its log, with LOG_MARK behind the method's name.

    A run without a seed has seed EVERY_SEED. A model of SOURCE that was evaluated elsewhere counts twice: in few_shot,
    and as the source of its transfer. Raises DataError if `root` is not a folder.
    """
    folders = run_folders(Path(root), lambda name: _is_log(name) or name == FILE_NAME, _SEED_FOLDER)
    folders = (folder for folder in folders if not (folder / FILE_NAME).exists())
    found = collect_folders(root, folders, _row, log_place)
    frame = pd.concat([found.frame, *_sources(found.frame)], ignore_index=True)
    gaps = [gap | {"method": gap["method"] + LOG_MARK} for gap in found.gaps]
    return Collection(frame.assign(method=frame["method"] + LOG_MARK), found.problems, gaps)


def collect_recorded(root: str | Path) -> Collection:
    """The runs with records in a tree that CoOp's trainers wrote to as well, in this project's layout or in CoOp's."""

    def read_row(folder: Path) -> dict:
        record = read_done(folder)
        row, place = row_of(record, folder), log_place(folder)
        if row["protocol"] or place is None:
            return row
        place |= {name: row[name] for name in ("seed", "shots") if not place.get(name) or place[name] == EVERY_SEED}
        stated = {name: record[name] for name in ("method", "shots", "seed")}
        check_place(folder, place | {"shots": record["shots"]}, stated, FILE_NAME)
        return row | {name: place[name] for name in ("protocol", "phase", "dataset", "cfg")}

    return collect_folders(root, run_folders(Path(root), FILE_NAME.__eq__, _NO_FOLDER), read_row, log_place)


def for_every_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with those of EVERY_SEED, in which nothing is drawn, repeated for each seed of the others."""
    timeless = runs["seed"] == EVERY_SEED
    seeds = sorted(runs.loc[~timeless, "seed"].unique()) or [1]
    repeated = [runs[timeless].assign(seed=seed) for seed in seeds] if timeless.any() else []
    return pd.concat([runs[~timeless], *repeated], ignore_index=True)


def log_place(folder: Path) -> dict | None:
    """The run's identity as CoOp's layouts name it, or None for another folder."""
    path = folder.absolute().as_posix()
    found = next((match.groupdict() for match in (layout.search(path) for layout in _LAYOUTS) if match), None)
    if found is None:
        return None
    protocol, phase = found.get("protocol"), found.get("phase")
    if protocol and phase and phase not in [known.name for known in getattr(PROTOCOLS.get(protocol), "phases", ())]:
        return None
    if phase == "evaluation":
        protocol, phase = "dg" if found["dataset"].startswith(SOURCE) else "xd", "test"
    cfg = [found["cfg"], found.get("variant"), found.get("experiment")]
    return {
        "protocol": protocol or "few_shot",
        "phase": phase or "train_all",
        "dataset": found["dataset"],
        "shots": int(found.get("shots") or 0),
        "method": found["method"],
        "cfg": "_".join(filter(None, cfg)),
        "seed": int(found.get("seed") or EVERY_SEED),
    }


def logged_config(folder: Path) -> dict[str, str]:
    """The configuration that the newest log of a training dumped, else the newest log: {dotted key: text}."""
    logs = sorted((path for path in folder.glob(f"{LOG_NAME}*") if _is_log(path.name)), reverse=True)
    texts = sorted(map(_lines, logs), key=lambda lines: not _has_training(lines))
    return next(filter(None, map(_config, texts)), {})


def read_log(path: str | Path) -> dict:
    """The result of one log: accuracy, macro_f1 and per_class_mean in percent, num_test, and the dumped `config`.

    What the log lacks is None; config is {dotted key: text}; trained: whether there was a training. Raises DataError if
    it holds no result that counts.
    """
    lines = _lines(path)
    values = _last_result(lines, path)
    accuracy = values["accuracy"]
    if values.get("total") and "correct" in values:
        exact = 100.0 * values["correct"] / values["total"]
        if abs(exact - accuracy) > _PRINTED_TO:
            raise DataError(f"{path}: got accuracy {accuracy}% beside counts that make {exact:.2f}%, expected the same")
        accuracy = exact
    if not 0 <= accuracy <= 100:
        raise DataError(f"{path}: got accuracy {accuracy}%, expected a percentage from 0 to 100")
    return {
        "accuracy": accuracy,
        "macro_f1": values.get("macro_f1"),
        "per_class_mean": values.get("average"),
        "num_test": int(values["total"]) if "total" in values else None,
        "config": _config(lines),
        "trained": _has_training(lines),
    }


def _has_training(lines: list[str]) -> bool:
    return any(line.startswith("epoch [") for line in lines)


def _is_log(name: str) -> bool:
    return name == LOG_NAME or name.startswith(f"{LOG_NAME}-")


def _lines(path: str | Path) -> list[str]:
    """The lines of a log. Raises DataError if it cannot be read."""
    try:
        check_plain_file(path)
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    return content.decode(encoding, errors="replace").splitlines()  # PowerShell writes UTF-16


def _row(folder: Path) -> dict:
    place = log_place(folder)
    if place is None:
        raise DataError(f"{folder}: not in a folder that CoOp's scripts make, so its run is not known")
    result = _newest_result(folder)
    config, trained = result.pop("config"), result.pop("trained")
    if trained and place["shots"] == 0 and place["seed"] != EVERY_SEED:
        raise DataError(f"{folder}: trained with 0 shots, which is on all images, expected a few-shot run")
    classes = config.get("DATASET.SUBSAMPLE_CLASSES")
    if place["seed"] == EVERY_SEED and classes in _PHASE_OF_CLASSES:
        place |= {"protocol": "base2new", "phase": _PHASE_OF_CLASSES[classes]}
    _check(folder, place, config)
    stated = {"subsample_classes": classes, "backbone": config.get("MODEL.BACKBONE.NAME"), "folder": str(folder)}
    return dict.fromkeys(COLUMNS) | place | result | stated


def _newest_result(folder: Path) -> dict:
    logs = sorted(filter(lambda path: _is_log(path.name), folder.iterdir()), reverse=True)
    reason = DataError(f"{folder}: no {LOG_NAME}, the run did not start")
    for place, log in enumerate(logs):
        try:
            return read_log(log)
        except DataError as error:
            reason = error if place == 0 else reason
    raise reason


def _check(folder: Path, place: dict, config: dict) -> None:
    """Raises DataError if the dumped config contradicts the folder."""
    keys = {"method": "TRAINER.NAME", "subsample_classes": "DATASET.SUBSAMPLE_CLASSES"}
    if place["seed"] != EVERY_SEED:
        keys["seed"] = "SEED"
    if place["phase"] != "test" and place["shots"]:  # where nothing is trained, CoOp's scripts leave the shots out
        keys["shots"] = "DATASET.NUM_SHOTS"
    stated = {name: config[key] for name, key in keys.items() if key in config}
    with damage_named(folder / LOG_NAME):
        stated |= {name: int(stated[name]) for name in ("seed", "shots") if name in stated}
    check_place(folder, place, stated, LOG_NAME)


def _last_result(lines: list[str], path: str | Path) -> dict[str, float]:
    """The numbers of the last result; per-class lines are not among them."""
    values: dict[str, float] | None = None
    split, unfinished = "test", False
    for line in map(str.strip, lines):
        if match := _SPLIT_LINE.search(line):
            split = match[1]
        elif line.startswith("epoch ["):
            values, unfinished = None, True
        elif line == "Finish training":
            unfinished = False
        elif line == "=> result":
            values = {}
        elif values is not None and (match := _RESULT_LINE.fullmatch(line)):
            with damage_named(path):
                values[match[1]] = float(match[2].replace(",", ""))
    if unfinished:
        raise DataError(f"{path}: its training did not finish")
    if not values or "accuracy" not in values:
        raise DataError(f"{path}: no result in it, the run did not finish")
    if split != "test":
        raise DataError(f"{path}: its last result is on the {split} set, expected one on the test set")
    return values


def _config(lines: list[str]) -> dict[str, str]:
    """The configuration that train.py prints, by dotted key."""
    values: dict[str, str] = {}
    nodes: list[str] = []
    start = next((number for number, line in enumerate(lines) if line.strip() == "** Config **"), len(lines))
    for line in lines[start + 2 :]:
        match = _CONFIG_LINE.fullmatch(line)
        if match is None:
            if line.strip():
                break
            continue
        indent, key, value = match.groups()
        nodes = [*nodes[: len(indent) // 2], key]
        values[".".join(nodes)] = value
    return values


def _sources(runs: pd.DataFrame) -> list[pd.DataFrame]:
    """The few-shot runs on SOURCE whose models were evaluated on other data sets, as runs of protocol xd."""
    model = ["method", "cfg", "shots", "seed"]
    evaluated = runs.loc[runs["phase"] == "test", model].drop_duplicates()
    trained = runs[(runs["protocol"] == "few_shot") & (runs["dataset"] == SOURCE)]
    sources = trained.merge(evaluated, on=model)
    return [] if sources.empty else [sources[COLUMNS].assign(protocol="xd", phase="train")]
