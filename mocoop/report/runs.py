"""The runs that a report is about, and which of them are its main comparison."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import ALIASES, PROTOCOLS, TRANSFER
from mocoop.results.agreement import apart
from mocoop.results.by_protocol import join, runs_of, without_other_models
from mocoop.results.collect import IDENTITY, LAYOUT, collect, place_strays


@dataclass(frozen=True)
class ProtocolRuns:
    """The runs of one protocol, gaps among them.

    what: what sets them apart from other runs of the protocol, which are another part; "" if there are none. main: one
    configuration of each method. variants: the runs of methods with further configurations, on the datasets
    these were run on; may be empty. notes: what a reader of the tables has to know. seeds: those that are expected.
    """

    protocol: str
    main: pd.DataFrame
    variants: pd.DataFrame
    notes: list[str]
    seeds: list[int]
    what: str = ""


@dataclass(frozen=True)
class Runs:
    """What was found below `output`. problems: one line for each run that is left out."""

    output: Path
    frame: pd.DataFrame
    protocols: list[ProtocolRuns]
    problems: list[str]

    @property
    def finished(self) -> pd.DataFrame:
        return self.frame[self.frame["accuracy"].notna()]


def find_runs(output: Path, protocol: str | None = None, seeds: list[int] | None = None) -> Runs:
    """The runs below `output` of one protocol, or of all. Raises DataError if none has finished."""
    found = collect(output)
    problems = list(found.problems)
    frame, strays = place_strays(found.with_gaps())
    if seeds is not None:
        frame = frame[frame["seed"].isin(seeds)]
    asked = [ALIASES.get(protocol, protocol)] if protocol else list(PROTOCOLS)
    parts = {}
    for name in asked:
        parts[name], others = without_other_models(runs_of(frame, name), name)
        problems += others
    parts = {name: runs for name, runs in parts.items() if runs["accuracy"].notna().any() and _is_tested(runs, name)}
    if not parts:
        wanted = f" of protocol {asked[0]}" if protocol else ""
        raise DataError(f"{output}: no finished run{wanted} in {LAYOUT}; run one with scripts/, or name another folder")
    used = pd.concat(parts.values()).drop_duplicates(IDENTITY)
    relative = [problem.replace(f"{output}/", "") for problem in problems]
    alike = [(name, what, part) for name, runs in parts.items() for what, part in apart(runs)]
    split = [_split(part, name, seeds, what) for name, what, part in alike if _is_tested(part, name)]
    split[0].notes.extend(line.replace(f"{output}/", "") for line in strays)
    return Runs(output, used, split, relative)


def _is_tested(runs: pd.DataFrame, protocol: str) -> bool:
    """Whether there is more than the training that protocols share."""
    return PROTOCOLS[protocol].measure != TRANSFER or (runs["phase"] == "test").any()


def _split(runs: pd.DataFrame, protocol: str, seeds: list[int] | None, what: str) -> ProtocolRuns:
    """Main runs are those of the configuration of each method that covers most datasets."""
    runs, notes = join(runs, protocol)
    covered = runs.groupby(["method", "cfg"])["dataset"].nunique()
    further = covered[covered < covered.groupby("method").transform("max")].index
    is_further = pd.MultiIndex.from_frame(runs[["method", "cfg"]]).isin(further)
    places = runs.loc[is_further, ["method", "dataset"]].drop_duplicates()
    variants = runs.merge(places, on=["method", "dataset"]) if len(places) else runs.iloc[:0]
    seeds = sorted(int(seed) for seed in runs["seed"].unique()) if seeds is None else seeds
    return ProtocolRuns(protocol, runs[~is_further], variants, notes, seeds, what)
