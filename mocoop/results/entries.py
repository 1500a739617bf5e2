"""Naming what is compared: a method as tables call it, with its configuration where it has several, or a folder."""

import logging
from pathlib import Path

import pandas as pd

from mocoop.errors import DataError
from mocoop.results.aggregate import rank
from mocoop.results.agreement import apart
from mocoop.results.by_protocol import join, runs_of, titled, without_other_models
from mocoop.results.collect import IDENTITY, collect, place_strays
from mocoop.results.compare import comparison_table
from mocoop.results.coop_logs import LOG_MARK
from mocoop.results.tables import Table

logger = logging.getLogger(__name__)


def named_runs(name: str, output: pd.DataFrame | None, protocol: str) -> tuple[str, pd.DataFrame]:
    """The runs of one method and configuration in a protocol, and what to call it.

    name: a folder of runs, or what has runs in `output` (of `collect`): a method, or METHOD/CONFIGURATION. Of several
    configurations of a method the one with the most datasets is taken. Raises DataError.
    """
    if folder := Path(name).is_dir():
        output = _as_one(collect(name).with_gaps())
    runs, _ = join(without_other_models(runs_of(output, protocol), protocol)[0], protocol)
    return _named(name, runs, protocol, folder)


def _named(name: str, runs: pd.DataFrame, protocol: str, folder: bool) -> tuple[str, pd.DataFrame]:
    whole, short = runs["method"] + "/" + runs["cfg"], runs["method"]
    if not folder:
        runs = runs[(whole == name) if (whole == name).any() else short == name]
    covered = runs.groupby(["method", "cfg"])["dataset"].nunique().sort_values(ascending=False)
    if runs["accuracy"].isna().all():
        found = f"none of {', '.join(sorted(set(whole)))}" if len(whole) and not folder else "no finished run"
        raise DataError(f"{name}: {found} in protocol {protocol}; expected a method with runs, or a folder of them")
    if len(covered) > 1 and (folder or covered.iloc[0] == covered.iloc[1]):
        raise DataError(f"{name} may be {', '.join(map('/'.join, sorted(covered.index)))}; name one of them")
    method, cfg = covered.index[0]
    return method, runs[(runs["method"] == method) & (runs["cfg"] == cfg)]


def tables_against(name: str, runs: pd.DataFrame, protocol: str) -> list[Table]:
    """A comparison of every other method and configuration among the runs of a protocol with the one named.

    Runs that are known by their logs alone have no predictions and are passed over, as are those that may not share a
    table with the named ones. Raises DataError.
    """
    runs = runs[~runs["method"].str.endswith(LOG_MARK)]
    _named(name, runs, protocol, folder=False)
    several = runs.groupby("method")["cfg"].nunique() > 1
    tables = []
    for what, alike in apart(runs):
        try:
            _, base = _named(name, alike, protocol, folder=False)
        except DataError as error:
            logger.warning("not compared: %s: %s", what, error)
            continue
        own = base["method"].iloc[0], base["cfg"].iloc[0]
        for method, cfg in sorted(set(zip(alike["method"], alike["cfg"])) - {own}, key=rank):
            part = alike[(alike["method"] == method) & (alike["cfg"] == cfg)]
            names = (f"{method}/{cfg}" if several[method] else method, name)
            tables += titled([comparison_table(part, base, protocol, names)], what)
    return tables


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
