"""What has to agree before two numbers stand side by side: the one list, for tables, reports, cards and comparisons.

CONDITIONS are asked of frames of runs (`mocoop.results.runs`). What a record does not say agrees with everything.
The engine is no condition: both compute the same numbers. Nor are a method's own settings, which are what rows differ
by, nor what training used beyond images and names, which tables say of each method.
"""

import hashlib
import json
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from mocoop.errors import DataError, one_line
from mocoop.results.record import trains

APART, UNPAIRED, NOTED = "apart", "unpaired", "noted"
VALIDATION = "val"
ALONE = "each alone"  # test images, of runs and logs that do not say otherwise
LEARNER = ["method", "cfg"]
MOST_NAMED = 6  # runs in one line


@dataclass(frozen=True)
class Condition:
    """One thing that has to agree.

    key: a column of runs, of `conditions_of`. effect: where runs differ in it, they are in tables of their own (APART),
    carry a mark, are not ranked and make no pair (UNPAIRED), or carry a mark (NOTED). within: the columns of runs whose
    values it compares; empty: all runs.
    """

    key: str
    name: str
    effect: str
    within: tuple[str, ...] = ()


_TESTED = ("protocol", "phase", "dataset")
_DRAWN = ("phase", "dataset", "shots", "seed")
CONDITIONS = (
    Condition("clip", "CLIP", APART),
    Condition("split", "tested split", APART),
    Condition("seen_together", "way in which test images are seen", APART),
    Condition("input", "preparation of images", UNPAIRED),
    Condition("classnames", "class names", UNPAIRED, _TESTED),
    Condition("num_test", "test images", UNPAIRED, _TESTED),
    Condition("test_per_class", "test images of each class", UNPAIRED, _TESTED),
    Condition("test_sha256", "list of test images", UNPAIRED, _TESTED),
    Condition("subset", "few-shot subset", UNPAIRED, _DRAWN),
    Condition("train_per_class", "number of training images per class", UNPAIRED, _DRAWN),
    Condition("trained_in", "precision of training", NOTED),
    Condition("tested_in", "precision of the test", NOTED),
    Condition("began_from", "weights that training began from", NOTED),
)
KEYS = [condition.key for condition in CONDITIONS]


def conditions_of(record: dict) -> dict[str, object]:
    """The values of CONDITIONS in a record of a run that is done, by key; None: not known, or without a meaning."""
    trained = record["epoch"] is not None and trains(record)  # itself, what it tested
    precision, on_top = record.get("precision") or {}, record.get("transduction")
    start, fewest_and_most = _config(record, "MODEL", "INIT_WEIGHTS"), record.get("train_per_class")
    return {
        "clip": _clip(record),
        "split": record["split"],
        # what looks at several test images at once has numbers that depend on the others
        "seen_together": f"{on_top['label']} (test images {on_top['seen']})" if on_top else ALONE,
        "input": _input(_config(record, "INPUT")),
        "classnames": digest([row["classname"] for row in record["per_class"]]),
        "num_test": record["num_test"],
        "test_per_class": digest([row["total"] for row in record["per_class"]]),
        "test_sha256": (record.get("test_sha256") or "")[:12] or None,
        "subset": record["manifest_sha256"][:12] if trained and record["manifest_sha256"] else None,
        "train_per_class": " to ".join(map(str, dict.fromkeys(fewest_and_most))) if fewest_and_most else None,
        "trained_in": precision.get("train") if trained else None,
        "tested_in": precision.get("test"),
        "began_from": Path(start).name or "the method's own start" if trained and start is not None else None,
    }


def _clip(record: dict) -> str:
    """What the model is called, wherever its file lies, and the activation of its MLPs if that is not CLIP's own."""
    name = Path(record["backbone"]).name if Path(record["backbone"]).is_absolute() else record["backbone"]
    activation = _config(record, "MODEL", "BACKBONE", "ACTIVATION")
    return f"{name}, {activation}" if activation == "gelu" and not name.startswith("open_clip:") else name


def _input(node: Any) -> str | None:
    """How a test image is prepared: "224 px, bicubic, normalised 0a1b2c3d"."""
    if not isinstance(node, dict) or "SIZE" not in node:
        return None
    size = " x ".join(map(str, dict.fromkeys(node["SIZE"]))) if isinstance(node["SIZE"], list) else node["SIZE"]
    colours = digest([node.get(key) for key in ("PIXEL_MEAN", "PIXEL_STD")])
    kind = f"normalised {colours}" if "normalize" in (node.get("TRANSFORMS") or ()) else "not normalised"
    return f"{size} px, {node.get('INTERPOLATION')}, {kind}"


def _config(record: dict, *path: str) -> Any:
    node = record["config"]
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def digest(value: object) -> str:
    """Eight characters that a list of plain values is known by."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]


def identified(*frames: pd.DataFrame) -> list[pd.DataFrame]:
    """The frames with `clip` the same for the same weights, whatever they are called, and another for others.

    Weights are known by `clip_sha256`; runs whose record lacks it, and logs, are known by the model's name.
    """
    called = [frame.assign(clip=frame["clip"].fillna(frame["backbone"])) for frame in frames]
    known = pd.concat([frame[["clip", "clip_sha256"]] for frame in called]).dropna(subset="clip").drop_duplicates()
    hashes = known.dropna().groupby("clip")["clip_sha256"].agg(list)

    def identity(name: str, sha256: object) -> str:
        of_name = hashes.get(name, [])
        return sha256 if isinstance(sha256, str) else of_name[0] if len(of_name) == 1 else name

    names: dict[str, str] = {}  # of each identity the first
    for name, sha256 in known.itertuples(index=False):
        names.setdefault(identity(name, sha256), name)
    twice = Counter(names.values())
    labels = {one: f"{name} {one[:8]}" if twice[name] > 1 and one != name else name for one, name in names.items()}
    return [
        frame.assign(
            clip=[labels.get(identity(name, sha256)) for name, sha256 in zip(frame["clip"], frame["clip_sha256"])]
        )
        for frame in called
    ]


def apart(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The runs that may share a table, most runs first, and what sets them apart; "" where nothing does.

    Gaps are with the runs of their method and configuration, else with the first.
    """
    (runs,) = identified(runs)
    done = runs["accuracy"].notna() | runs["split"].notna()
    runs["split"] = runs["split"].mask(done, runs["split"].fillna("test"))  # logs of other splits are left out
    keys = list(zip(runs["clip"].fillna(""), runs["split"], runs["seen_together"].fillna(ALONE)))
    parts = [key for key, _ in Counter(key for key, has in zip(keys, done) if has).most_common()]
    learners = list(runs[LEARNER].itertuples(index=False, name=None))
    home = {learner: key for part in reversed(parts) for learner, key in zip(learners, keys) if key == part}
    keys = [key if has else home.get(learner, parts[0]) for learner, key, has in zip(learners, keys, done) if parts]
    several = len({clip for clip, *_ in parts}) > 1
    found = []
    for clip, split, seen in parts:
        label = [clip] * several + ["validation images"] * (split == VALIDATION) + [seen] * (seen != ALONE)
        found.append((", ".join(label), runs[[key == (clip, split, seen) for key in keys]]))
    return found or [("", runs)]


@dataclass(frozen=True)
class Deviation:
    """Runs of one method and configuration that differ from most others in a condition."""

    condition: Condition
    runs: pd.DataFrame  # of the frame
    usual: dict[int, object]  # what the others have, by row


def deviations(runs: pd.DataFrame) -> list[Deviation]:
    """Where runs of one table differ: in the order of CONDITIONS, a method and configuration each."""
    found = []
    for condition in CONDITIONS:
        if condition.effect == APART:
            continue
        usual: dict[int, object] = {}
        groups = runs.groupby(list(condition.within), sort=False) if condition.within else [("", runs)]
        for _, part in groups:
            values = part[condition.key].dropna()
            if values.nunique() > 1:
                most = values.value_counts(sort=False).idxmax()  # the first of several
                usual |= dict.fromkeys(values.index[values != most], most)
        rows = runs.loc[list(usual)]
        found += [Deviation(condition, part, usual) for _, part in rows.groupby(LEARNER, sort=False)]
    return found


class Marks:
    """The marks of a table's rows, a letter for each condition, and a line for each letter.

    named: (method, cfg, shots) -> what a table calls it.
    """

    def __init__(self, runs: pd.DataFrame, named: Callable[[Sequence], str]):
        self._found, self._named = deviations(runs), named
        keys = dict.fromkeys(one.condition.key for one in self._found)
        self._letters = dict(zip(keys, string.ascii_lowercase))
        self._of: dict[tuple, set[Condition]] = {}
        for one in self._found:
            for method, cfg, shots, dataset in one.runs[[*LEARNER, "shots", "dataset"]].drop_duplicates().to_numpy():
                for row in product([method], [cfg], [shots, None], [dataset, None]):
                    self._of.setdefault(row, set()).add(one.condition)

    def of(self, entry: Sequence, dataset: str | None = None) -> str:
        """The mark of a row, with a space before it; empty where it agrees.

        entry: (method, cfg), or with the shots. dataset: of the row; None if it is of all.
        """
        letters = sorted(self._letters[condition.key] for condition in self._about(entry, dataset))
        return f" ({', '.join(letters)})" if letters else ""

    def unpaired(self, entry: Sequence, dataset: str | None = None) -> bool:
        """Whether the row may not be ranked among the others."""
        return any(condition.effect == UNPAIRED for condition in self._about(entry, dataset))

    def lines(self) -> list[str]:
        """What differs, one line for each letter."""
        lines = []
        for key, letter in self._letters.items():
            of_key = [one for one in self._found if one.condition.key == key]
            said = [text for one in of_key for text in self._said(one)]
            more = [f"and {len(said) - MOST_NAMED} more"] if len(said) > MOST_NAMED else []
            lines.append(f"({letter}) not the same {of_key[0].condition.name}: {'; '.join(said[:MOST_NAMED] + more)}")
        return lines

    def _about(self, entry: Sequence, dataset: str | None) -> set[Condition]:
        return self._of.get((*entry, None)[:3] + (dataset,), set())

    def _said(self, one: Deviation) -> Iterator[str]:
        columns = ["shots", *[name for name in ("dataset", "seed") if name in one.condition.within]]
        for (shots, *of_rest), rows in one.runs.groupby(columns, sort=False):
            name = self._named((*rows.iloc[0][LEARNER], shots))
            rest = zip(columns[1:], of_rest)
            where = [str(value) if column == "dataset" else f"seed {value}" for column, value in rest]
            values = " or ".join(dict.fromkeys(_shown(value) for value in rows[one.condition.key]))
            usual = " or ".join(dict.fromkeys(_shown(one.usual[index]) for index in rows.index))
            yield f"{name}{' on ' * bool(where)}{', '.join(where)} has {values}, not {usual}"


def noted_differences(run: Any) -> list[str]:
    """One line for each condition that two runs differ in and that leaves them a pair.

    run: a row of a merged frame, its columns with the endings _a and _b. Raises DataError, naming both, where they
    cannot be paired.
    """
    noted = []
    for condition in CONDITIONS:
        a, b = (getattr(run, f"{condition.key}_{side}") for side in "ab")
        if pd.isna(a) or pd.isna(b) or a == b:
            continue
        if condition.effect != NOTED:
            refuse(run, condition.name, a, b)
        noted.append(f"not the same {condition.name}: {_shown(a)} and {_shown(b)}")
    return noted


def refuse(run: Any, what: str, a: object, b: object) -> NoReturn:
    """Raises DataError: the two runs of a row differ in something."""
    found = f"got {what} {_shown(a)} and {_shown(b)}, expected the same"
    raise DataError(f"{run.folder_a} and {run.folder_b} cannot be paired: {found}")


def _shown(value: object) -> str:
    if isinstance(value, float) and value.is_integer():  # a column of whole numbers that has gaps
        value = int(value)
    return one_line(str(value), 60)
