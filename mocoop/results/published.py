"""Published numbers, each with its source: those of published.csv and a user's own.

A csv has the columns COLUMNS and, optionally, `tier` and `note`; of tier RERUN is what others than the method's authors
measured, and the note says who. Data sets and methods may be called by the names of papers, configurations or
registries. What several sources state is taken from the first: a user's own rows come before the shipped ones, which
stand in the order of trust.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BASE_NEW, PROTOCOLS, TRANSFER, dataset_key
from mocoop.results.stats import AVERAGE as OUR_AVERAGE
from mocoop.results.stats import harmonic_mean

SHIPPED = Path(__file__).with_name("published.csv")
COLUMNS = ["protocol", "method", "backbone", "dataset", "shots", "split", "value", "source"]
SPLITS = {name: ("base", "new", "H") if p.measure == BASE_NEW else ("all",) for name, p in PROTOCOLS.items()}
AVERAGE = "Average"
# what the average leaves out
TRAINED_ON = {name: "ImageNet" for name, p in PROTOCOLS.items() if p.measure == TRANSFER}
_SPELLED = {name.lower(): name for name in (AVERAGE, *TRAINED_ON.values())}  # names with a meaning, by key
NOT_AVAILABLE = {"MoCoOp": "not available in machine-readable form"}

_METHODS = {
    "ZeroshotCLIP": "CLIP",
    "CLIPAdapter": "CLIP-Adapter",
    "TipAdapter": "Tip-Adapter",
    "TipAdapterF": "Tip-Adapter-F",
    "LPPlusPlus": "LP++",
    "CLIPLoRA": "CLIP-LoRA",
    "TwoSFS": "2SFS",
    "MMRLpp": "MMRL++",
    "SkipTuning": "SkipT",
}
_TIERS = {"quoted_in_later_paper": "quoted by a later paper"}
RERUN = "rerun"
H_OF_MEANS = "H is that of the mean base and new"
# what the published runs used beyond images and names of the trained classes
KNOWLEDGE = {
    **dict.fromkeys(
        ("CLIP-Adapter", "Tip-Adapter-F", "ProGrad", "KgCoOp", "TCP", "TaskRes", "ProLIP", "DeKg", "CLAP", "SkipT"),
        "template of the dataset",
    ),
    **dict.fromkeys(("MMRL", "MMRL++"), "template of the dataset, settings chosen for the dataset"),
    "CoPrompt": "sentences that a language model wrote for each class, settings chosen for the dataset",
    "TAC": "sentences that a language model wrote for each class",
    "GDA": "template of the dataset, validation images",
    "PromptKD": "a teacher on ViT-L/14, unlabelled images of all classes, the best epoch on test images",
    "ATPrompt": "attributes that a language model named",
    **dict.fromkeys(("LinearProbe", "LP++"), "validation images"),
    "Tip-Adapter": "template of the dataset, validation images",
    "LASP": "templates of several datasets, names of the new classes",
}
ROUNDING = 0.01 + 1e-9  # how far numbers of two decimals may lie from what is computed of others
_WHERE = ["protocol", "method", "backbone", "key", "shots", "split", "source"]


@dataclass(frozen=True)
class Entry:
    """What one source states, or what follows from it: {split: percent}. rerun: whether others measured any of it."""

    values: dict[str, float]
    source: str
    rerun: bool = False


def published_method(name: str) -> str:
    """What papers call the method of a trainer."""
    return _METHODS.get(name, name)


def load_published(own: str | Path | None = None) -> "PublishedNumbers":
    """The shipped numbers, after those of the user's csv `own`. Raises DataError naming its line and column."""
    paths = [own, SHIPPED] if own else [SHIPPED]
    return PublishedNumbers(pd.concat(map(read_published, paths), ignore_index=True))


def read_published(path: str | Path) -> pd.DataFrame:
    """The rows of one csv, validated, with `key` (of `dataset_key`). Raises DataError naming line and column."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if lacking:
                raise DataError(f"{path}: got no column {', '.join(lacking)}, expected {','.join(COLUMNS)}")
            rows = [_validated(row, f"{path}, line {reader.line_num}") for row in reader if any(row.values())]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as csv in UTF-8 ({error})") from None
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "tier", "note", "line", "key"])
    repeated = frame[frame.duplicated(_WHERE)]
    if len(repeated):
        raise DataError(f"{repeated.iloc[0].line}: its source states this number in an earlier line already")
    return frame


def _validated(row: dict, line: str) -> dict:
    texts = {column: (row.get(column) or "").strip() for column in [*COLUMNS, "tier", "note"]}
    for column in COLUMNS:
        if not texts[column]:
            raise DataError(f"{line}, column {column}: got nothing, expected a value")
    protocol, split = texts["protocol"], texts["split"]
    if protocol not in SPLITS:
        raise DataError(f"{line}, column protocol: got {protocol!r}, expected one of {', '.join(SPLITS)}")
    if split not in SPLITS[protocol]:
        raise DataError(f"{line}, column split: got {split!r}, expected one of {', '.join(SPLITS[protocol])}")
    if not re.fullmatch(r"\d{1,9}", texts["shots"], re.ASCII):
        raise DataError(f"{line}, column shots: got {texts['shots']!r}, expected a whole number, 0 for zero-shot")
    value = pd.to_numeric(texts["value"], errors="coerce")
    if not 0 <= value <= 100:
        raise DataError(f"{line}, column value: got {texts['value']!r}, expected a percentage from 0 to 100")
    key = dataset_key(texts["dataset"])
    names = {"method": published_method(texts["method"]), "dataset": _SPELLED.get(key, texts["dataset"])}
    names |= {"key": key, "line": line}
    return texts | names | {"shots": int(texts["shots"]), "value": float(value)}


class PublishedNumbers:
    """Answers by protocol, method, backbone, data set and shots.

    frame: of `read_published`. Methods are those of papers (`published_method`), data sets have any of their names.
    """

    def __init__(self, frame: pd.DataFrame):
        self.frame = frame
        self._rows: dict[tuple, list] = {}
        for row in frame.itertuples(index=False):
            self._rows.setdefault((row.protocol, row.method, row.backbone, row.shots, row.key), []).append(row)

    def knows(self, method: str) -> bool:
        return bool((self.frame["method"] == method).any())

    def datasets(self, protocol: str) -> list[str]:
        """Names of the protocol's data sets, in the papers' order."""
        rows = self.frame[(self.frame["protocol"] == protocol) & (self.frame["dataset"] != AVERAGE)]
        return rows.drop_duplicates("key")["dataset"].tolist()

    def select(self, protocol: str, names: list[str] | None = None) -> list[str]:
        """Those of `datasets` that `names` mean (default: all). Raises DataError for a name that means none."""
        known = {dataset_key(name): name for name in self.datasets(protocol)}
        for name in names or ():
            if dataset_key(name) not in known:
                raise DataError(f"got published data set {name!r}, expected one of {', '.join(known.values())}")
        wanted = set(map(dataset_key, names or known))
        return [name for key, name in known.items() if key in wanted]

    def averaged(self, protocol: str) -> list[str]:
        """The data sets that the protocol's published averages are over."""
        return [name for name in self.datasets(protocol) if name != TRAINED_ON.get(protocol)]

    def entry(self, protocol: str, method: str, backbone: str, shots: int, dataset: str) -> Entry | None:
        """What the first source states; H is computed where it states base and new alone."""
        rows = self._rows.get((protocol, method, backbone, shots, dataset_key(dataset)))
        if not rows:
            return None
        rows = [row for row in rows if row.source == rows[0].source]
        stated = {row.split: row.value for row in rows}
        notes = [rows[0].source, _TIERS.get(rows[0].tier), *(row.note for row in rows)]
        return Entry(_with_h(stated), "; ".join(filter(None, dict.fromkeys(notes))), rows[0].tier == RERUN)

    def find(
        self, protocol: str, method: str, backbone: str, shots: int, dataset: str, averaged: Iterable[str]
    ) -> Entry | None:
        """`entry`, or for the average of ours `average` over the data sets `averaged`."""
        if dataset == OUR_AVERAGE:
            return self.average(protocol, method, backbone, shots, averaged)
        return self.entry(protocol, method, backbone, shots, dataset)

    def average(self, protocol: str, method: str, backbone: str, shots: int, datasets: Iterable[str]) -> Entry | None:
        """The average over `datasets`, computed of their values; else, where they are all, as it is stated.

        Where both are known and differ, the source says what is stated.
        """
        keys = set(map(dataset_key, datasets))
        everything = keys == set(map(dataset_key, self.averaged(protocol)))
        printed = self.entry(protocol, method, backbone, shots, AVERAGE) if everything else None
        entries = [self.entry(protocol, method, backbone, shots, key) for key in sorted(keys)]
        stated = [one for one in entries if one]
        if not stated or len(stated) < len(entries):
            return printed
        splits = [split for split in SPLITS[protocol] if split != "H" and all(split in one.values for one in stated)]
        means = _with_h({split: sum(one.values[split] for one in stated) / len(stated) for split in splits})
        sources = {one.source for one in stated}
        if len(sources) > 1:  # their notes are about single values
            sources = {source.partition(";")[0] for source in sources}
        source = f"average of the values of {' and '.join(sorted(sources))}"
        source += f"; {H_OF_MEANS}" if "base" in means else ""
        if printed and any(abs(printed.values.get(split, mean) - mean) > ROUNDING for split, mean in means.items()):
            values = ", ".join(f"{split} {value:.2f}" for split, value in printed.values.items())
            source += f"; {printed.source.partition(';')[0]} states {values}"
        return Entry(means, source, any(one.rerun for one in stated))


def _with_h(values: dict) -> dict[str, float]:
    if values.get("H") is None and "base" in values and "new" in values:
        return values | {"H": harmonic_mean(values["base"], values["new"])}
    return {split: value for split, value in values.items() if value is not None}
