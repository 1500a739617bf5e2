"""What stands in each table: rows of labels and cells. How a table is printed is the business of `render`.

Functions that build one take the runs, the seeds that are expected (default: all that occur), and how the spread over
seeds is given: a key of SPREADS.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mocoop.errors import DataError
from mocoop.protocol import BASE_NEW, PROTOCOLS, TRAINED, TRANSFER
from mocoop.registry import listed
from mocoop.results import stats
from mocoop.results.agreement import Marks, apart
from mocoop.results.calibration import read_calibration
from mocoop.results.record import FILE_NAME, read_record
from mocoop.results.render import NONE, Cell, Table, in_blocks
from mocoop.results.routing import chance_in_top_k
from mocoop.results.runs import ALL_SHOTS, ENTRY, KNOWLEDGE, WEIGHTS
from mocoop.results.stats import AVERAGE, BASE_NEW_COLUMNS, SOURCE_MARK, over_seeds, seed_matrix, std_of

PHASE_NAMES = {"train_base": "base classes", "test_new": "new classes", "test_all": "base and new classes"}
SPREADS = {
    "std": "Mean ± sample standard deviation over seeds, in percent.",
    "ci95": "Mean ± half the 95 % confidence interval over seeds (Student's t), in percent.",
}
H_NOTE = "H is the harmonic mean of the mean base and the mean new accuracy. Bold: highest mean of its block."
AREA_NOTE = (
    "Area: under the trade-off of base against new accuracy as one number is added to the scores of all new classes, "
    "in percent of the square."
)
AVERAGES_NOTE = (
    "H of means: the harmonic mean of the average base and the average new accuracy, as in most papers. Mean of H: the "
    "average over data sets and seeds of each one's H. Spread over sets: the standard deviation of their H."
)
CALIBRATION_NOTE = (
    "ECE: expected calibration error, as it is, and with logits divided by a temperature that was fitted on the "
    "training images (and is no percentage)."
)
ROUTING_NOTE = "How often the expert of an image's true style is among the router's top-k; by chance in {chance} %."


def protocol_tables(
    runs: pd.DataFrame, protocol: str, seeds: list[int] | None = None, spread: str = "std"
) -> list[Table]:
    """The tables of a protocol, of their own for runs that may not share one (`agreement.apart`).

    Arguments as in `tables`; without `seeds`, each expects those that occur in it.
    """
    parts = [titled(tables_of_part(part, protocol, seeds, spread), what) for what, part in apart(runs)]
    return [table for tables in parts for table in tables]


def titled(tables: list[Table], what: str) -> list[Table]:
    """The tables with what sets their runs apart in their titles, if anything does."""
    return [replace(table, title=f"{table.title}, {what}") for table in tables] if what else tables


def tables_of_part(
    runs: pd.DataFrame, protocol: str, seeds: list[int] | None = None, spread: str = "std"
) -> list[Table]:
    """`protocol_tables` of runs that may share a table; a curve has one of all numbers of shots, and one of each."""
    measure, title = PROTOCOLS[protocol].measure, PROTOCOLS[protocol].title
    seeds = sorted(runs["seed"].unique()) if seeds is None else seeds
    if measure == BASE_NEW:
        routes = runs["domain_in_top_k"].notna().any()
        return [base_new_table(runs, seeds, spread, title), *([routing_table(runs, seeds, spread)] if routes else [])]
    if measure == TRANSFER:
        unseen = "lacking" if (runs["protocol"] == "xd").any() else ""
        return [table_by_dataset(stats.transfer(runs, seeds), runs, title, spread, unseen)]
    singles = [
        table_by_dataset(over_seeds(seed_matrix(part, seeds)), part, f"Few-shot, {shots_name(number)}", spread)
        for number, part in runs.groupby("shots")
    ]
    return [few_shot_table(runs, seeds, spread), *(singles if len(singles) > 1 else [])]


def base_new_table(
    runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std", title: str = "Base to new classes"
) -> Table:
    """Base, new and H of each dataset and of their average, for runs of protocol base2new or base2new_all."""
    summary = stats.base_to_new(runs, seeds)
    name, marks = _marked_namer(summary, runs)
    shown = BASE_NEW_COLUMNS | ({"area": "Area"} if summary["area"].notna().any() else {})
    blocks = []
    for dataset, block in summary.groupby(level="dataset", sort=False):
        columns = [cells(block, column, spread, marks) for column in shown]
        blocks.append([[dataset, name(entry, dataset), *row] for (_, *entry), *row in zip(block.index, *columns)])
    first = f"{SPREADS[spread]} {H_NOTE}" + f" {AREA_NOTE}" * ("area" in shown)
    lacking = gaps(summary, {"base_lacking": "base", "new_lacking": "new"}, unseen="new_lacking")
    notes = _notes(runs, first, lacking, marks)
    return Table(title, ["Dataset", "Method", *shown.values()], in_blocks(blocks), notes, spread)


def averages_table(runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std") -> Table | None:
    """Both averages of H over the data sets, and how far these lie apart; None for runs of a single one."""
    summary = stats.base_to_new(runs, seeds)
    if AVERAGE not in summary.index.unique("dataset") or summary.xs(AVERAGE, level="dataset")["h"].isna().all():
        return None
    (name, marks), own = _marked_namer(summary, runs), summary.drop(AVERAGE, level="dataset")
    average = summary.loc[[AVERAGE]]
    columns = [cells(average, column, spread, marks) for column in ("h", "mean_h")]
    rows = []
    for (_, *entry), *means in zip(average.index, *columns):
        h = own.xs(tuple(entry), level=ENTRY)["h"]
        rows.append([name(entry), *means, Cell(float(h.std(skipna=False)), None), _ends(h)])
    heads = ["Method", "H of means", "Mean of H", "Spread over sets", "Lowest and highest"]
    title = f"Averages over {len(own.index.unique('dataset'))} data sets"
    return Table(title, heads, rows, [f"{SPREADS[spread]} {AVERAGES_NOTE}"], spread)


def _ends(h: pd.Series) -> str:
    if h.isna().any():
        return "–"
    return f"{h.idxmin()} {h.min():.2f}, {h.idxmax()} {h.max():.2f}"


def calibration_table(runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std") -> Table:
    """Expected calibration errors of tests, before and after the temperature that `mocoop calibrate` kept."""
    found = [read_calibration(folder, weights) for folder, weights in zip(runs["folder"].fillna(""), runs[WEIGHTS])]
    columns = {"ece": "ECE", "ece_scaled": "ECE scaled", "temperature": "Temperature"}
    runs = runs.assign(**{of: [getattr(one, of, np.nan) for one in found] for of in ("ece_scaled", "temperature")})
    rows: list[list | None] = []
    for phase, part in runs.groupby("phase", sort=False):
        parts = [over_seeds(seed_matrix(part, seeds, column, averaged=[])) for column in columns]
        name = entry_namer(parts[0])
        for (dataset, *entry), *values in zip(parts[0].index, *(unranked(summary, spread) for summary in parts)):
            rows.append([dataset, PHASE_NAMES.get(phase, phase), name(entry), *values])
    lacking = sum(one is None for one in found)
    notes = [f"{SPREADS[spread]} {CALIBRATION_NOTE}"]
    notes += [f"{lacking} of {len(found)} runs have no temperature: mocoop calibrate RUN fits one"] if lacking else []
    return Table("Calibration", ["Dataset", "Images", "Method", *columns.values()], rows, notes, spread)


def ablation_table(runs: pd.DataFrame, labels: dict, seeds: list[int] | None = None, spread: str = "std") -> Table:
    """One row per cfg of `labels` ({cfg: name}): H of each dataset, then base, new and H of their average."""
    summary = stats.base_to_new(runs[runs["cfg"].isin(labels)], seeds).droplevel(["method", "shots"])
    datasets = [dataset for dataset in summary.index.unique("dataset") if dataset != AVERAGE]
    wanted = [(dataset, "h") for dataset in datasets] if len(datasets) > 1 else []
    wanted += [(AVERAGE if wanted else datasets[0], column) for column in BASE_NEW_COLUMNS]
    order = [cfg for cfg in labels if cfg in summary.index.unique("cfg")]
    columns = [cells(summary.loc[dataset].loc[order], column, spread) for dataset, column in wanted]
    rows = [[labels[cfg], *row] for cfg, *row in zip(order, *columns)]
    heads = [f"{BASE_NEW_COLUMNS[column]}, {dataset}" for dataset, column in wanted]
    notes = [f"{SPREADS[spread]} Bold: highest mean of its column."]
    return Table("Ablations", ["Variant", *heads], rows, notes, spread)


def routing_table(runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std") -> Table:
    """How often the expert named like an image's style is in the router's top-k, in runs of protocol base2new."""
    runs = runs[runs["domain_in_top_k"].notna()]
    matrices = {
        PHASE_NAMES[phase]: seed_matrix(runs[runs["phase"] == phase], seeds, "domain_in_top_k", like=runs)
        for phase in PHASE_NAMES
        if (runs["phase"] == phase).any()
    }
    summary = pd.concat({phase: over_seeds(matrix) for phase, matrix in matrices.items()}, names=["phase"])
    name, entries = entry_namer(summary), summary.index.droplevel(["phase", "dataset"]).unique()
    rows = [
        [dataset, phase, *unranked(summary.loc[[(phase, dataset, *entry) for entry in entries]], spread)]
        for dataset in summary.index.unique("dataset")
        for phase in matrices
    ]
    chance = " or ".join(sorted({f"{chance_in_top_k(routing):.1f}" for routing in runs["routing"]}))
    notes = [f"{ROUTING_NOTE.format(chance=chance)} {SPREADS[spread]}"]
    return Table("Routing", ["Dataset", "Images", *(name(entry) for entry in entries)], rows, notes, spread)


def few_shot_table(runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std") -> Table:
    """Accuracy by the number of shots: a row per dataset and method, and the average over the datasets."""
    summary = over_seeds(seed_matrix(runs, seeds))
    (name, marks), shots = _marked_namer(summary, runs), sorted(summary.index.unique("shots"))
    blocks = []
    for dataset, block in summary.groupby(level="dataset", sort=False):
        found: dict[tuple, dict] = {}  # of each method and configuration, by shots
        for number, part in block.groupby(level="shots"):
            for (_, method, cfg, _), cell in zip(part.index, cells(part, "mean", spread, marks)):
                found.setdefault((method, cfg), {})[number] = cell
        learners = block.index.droplevel(["dataset", "shots"]).unique()
        named = [(name((*one, None), dataset), found[one]) for one in learners]
        blocks.append([[dataset, label, *(of.get(number, NONE) for number in shots)] for label, of in named])
    notes = _notes(runs, f"{SPREADS[spread]} Bold: highest mean of its block.", gaps(summary), marks)
    return Table("Few-shot", ["Dataset", "Method", *map(shots_name, shots)], in_blocks(blocks), notes, spread)


def table_by_dataset(
    summary: pd.DataFrame, runs: pd.DataFrame, title: str, spread: str = "std", unseen: str = ""
) -> Table:
    """A column for each dataset of a summary, their average last, and a row per method. unseen: as of `gaps`."""
    name, marks = _marked_namer(summary, runs)
    blocks = dict(list(summary.groupby(level="dataset", sort=False)))
    columns = [cells(block, "mean", spread, marks) for block in blocks.values()]
    names = [name(index[1:]) for index in next(iter(blocks.values())).index]
    notes = _notes(runs, f"{SPREADS[spread]} Bold: highest mean of its column.", gaps(summary, None, unseen), marks)
    return Table(title, ["Method", *blocks], [list(row) for row in zip(names, *columns)], notes, spread)


def _notes(runs: pd.DataFrame, first: str, gaps: list[str], marks: Marks) -> list[str]:
    known = [*too_few_notes(runs), *stats.mixed_settings(runs), *knowledge_notes(runs), *_orders_notes(runs)]
    return [first, *marks.lines(), *gaps, *known]


def _orders_notes(runs: pd.DataFrame) -> list[str]:
    """One line on the orders of test images that numbers are means over."""
    several = runs[runs["orders"] > 1]
    if several.empty:
        return []
    counts = " or ".join(str(int(count)) for count in sorted(several["orders"].unique()))
    deviation = float((several["orders_std"].astype(float) ** 2).mean() ** 0.5)
    return [
        f"Each seed's number is the mean over {counts} orders of its test images, whose accuracies have a standard "
        f"deviation of {deviation:.2f}."
    ]


def _marked_namer(summary: pd.DataFrame, runs: pd.DataFrame) -> tuple[Callable[..., str], Marks]:
    """A function from (method, cfg, shots), and the row's dataset, to a name with its mark; and the marks."""
    name = entry_namer(summary)
    marks = Marks(runs, name)
    return lambda entry, dataset=None: name(entry) + marks.of(entry, None if dataset == AVERAGE else dataset), marks


def cells(block: pd.DataFrame, column: str, spread: str, marks: Marks | None = None) -> list[Cell]:
    """Cells of one column of a summary, with its best and second best marked; equal means share a rank.

    What may not be ranked among the others by its marks is not.
    """
    means, stds = block[column], block[std_of(column)]
    widths = stds if spread == "std" else stats.interval(stds, block["seeds"])
    apart = [
        marks is not None and marks.unpaired(entry, None if dataset == AVERAGE else dataset.removesuffix(SOURCE_MARK))
        for dataset, *entry in block.index
    ]
    rows = zip(means, widths, best_two(means.mask(apart)))
    return [Cell(float(mean), float(width), rank) for mean, width, rank in rows]


def best_two(means: pd.Series) -> list[int]:
    """1 for the best and 2 for the second best of several, as they are printed, else 0."""
    ranks = means.round(2).rank(ascending=False, method="min")
    return [int(rank) if len(means) > 1 and rank <= 2 else 0 for rank in ranks.fillna(len(means) + 2)]


def unranked(block: pd.DataFrame, spread: str) -> list[Cell]:
    """Cells of rows of `over_seeds`, none of them marked."""
    return [Cell(cell.mean, cell.spread) for cell in cells(block, "mean", spread)]


def entry_namer(summary: pd.DataFrame, labels: dict | None = None) -> Callable[[Sequence], str]:
    """A function from (method, cfg, shots) to the shortest name that tells the entries of the summary apart.

    labels: {cfg: name} for configurations that are called by a name of their own.
    """
    entries = summary.index.to_frame(index=False)[ENTRY].drop_duplicates()
    several_cfgs = entries.groupby("method")["cfg"].nunique() > 1
    several_shots = entries.loc[entries["shots"] > 0, "shots"].nunique() > 1

    def name(entry: Sequence) -> str:
        method, cfg, shots = entry
        if labels and cfg in labels:
            return labels[cfg]
        cfg_part = f" {cfg}" if several_cfgs[method] else ""
        return f"{method}{cfg_part}" + (f", {shots_name(shots)}" if several_shots and shots else "")

    return name


def shots_name(shots: int) -> str:
    return "all images" if shots == ALL_SHOTS else "1 shot" if shots == 1 else f"{shots} shots"


def too_few_notes(runs: pd.DataFrame) -> list[str]:
    """One line for each data set and number of shots that some class has fewer training images than."""
    found = runs.dropna(subset="train_per_class")
    fewest = np.array([int(text.split()[0]) for text in found["train_per_class"]])  # of "5 to 16"
    short = found[(fewest < found["shots"]) & (found["shots"] != ALL_SHOTS)]
    return [
        f"{dataset}, {shots_name(shots)}: a class had {' or '.join(part.unique())} training images, and all were used"
        for (dataset, shots), part in short.groupby(["dataset", "shots"], sort=False)["train_per_class"]
    ]


def knowledge_notes(runs: pd.DataFrame) -> list[str]:
    """One line for each method whose training used more than images and names of the trained classes: what that is."""
    trained = runs[runs["phase"].isin(TRAINED)].dropna(subset=KNOWLEDGE)  # a test on new classes does not know
    used = {entry: part[KNOWLEDGE].unique() for entry, part in trained.groupby(["method", "cfg"])}
    several = pd.Series([method for method, _ in used]).duplicated(keep=False)
    return [
        f"{method}{f' {cfg}' if twice else ''} also uses: {' or '.join(used[method, cfg])}"
        for (method, cfg), twice in sorted(zip(used, several), key=lambda item: stats.rank(item[0]))
    ]


def gaps(summary: pd.DataFrame, columns: dict[str, str] | None = None, unseen: str = "") -> list[str]:
    """One line for each cell that lacks seeds, and for each method that cannot have one.

    columns: {column that lists them: what they lack}. unseen: the column of tests on classes that were not trained.
    """
    lines, name, columns = [], entry_namer(summary), columns or {"lacking": ""}
    bound: dict[str, list[str]] = {method.name: [] for method in listed().values() if not method.new_classes}
    for index, row in summary.drop(AVERAGE, level="dataset", errors="ignore").iterrows():
        label, wanted = f"{index[0]}, {name(index[1:])}", dict(columns)
        if unseen and index[1] in bound and not index[0].endswith(SOURCE_MARK) and row[unseen]:
            whole = all(len(row[column]) == row["seeds"] for column in columns)  # a test of both has no base result
            wanted = {} if whole else {column: what for column, what in columns.items() if column != unseen}
            bound[index[1]] = [f"{index[1]}: no result on new classes, as it tells only the trained ones apart"]
        if wanted and all(len(row[column]) == row["seeds"] for column in wanted):
            lines.append(f"{label}: no result")
            continue
        for column, phase in wanted.items():
            if row[column]:
                seeds = ", ".join(map(str, row[column]))
                lines.append(f"{label}: no {phase} result for seed {seeds}".replace("  ", " "))
    return lines + [line for of_method in bound.values() for line in of_method]


def per_class_tables(runs: pd.DataFrame, seeds: list[int] | None = None, spread: str = "std") -> list[Table]:
    """A row per class in label order, a column per method. Raises DataError if no run says its classes.

    runs: of `collect`; those without a result.json are left out.
    """
    recorded = runs[[isinstance(folder, str) and (Path(folder) / FILE_NAME).exists() for folder in runs["folder"]]]
    if recorded.empty:
        raise DataError(f"got no run with a {FILE_NAME}, expected one; a log.txt does not say its classes")
    seeds = sorted(runs["seed"].unique()) if seeds is None else seeds
    parts = recorded.groupby(["phase", "dataset"], sort=False)
    return [_per_class_table(f"{dataset}, {phase}, per class", part, seeds, spread) for (phase, dataset), part in parts]


def _per_class_table(title: str, runs: pd.DataFrame, seeds: list[int], spread: str) -> Table:
    classes = pd.DataFrame(
        [  # what sets a class apart, its label and name, stands in place of the data set
            run | {"dataset": f"{row['label']:06d} {row['classname']}", **row}
            for run in runs.to_dict("records")
            for row in read_record(Path(run["folder"]) / FILE_NAME)["per_class"]
        ]
    )
    summary = over_seeds(seed_matrix(classes, seeds, averaged=[]))
    images = classes.groupby("dataset")["total"].max()
    name, rows = entry_namer(summary), []
    for key, block in summary.groupby(level="dataset", sort=False):
        rows.append([key.partition(" ")[2], str(images[key]), *cells(block, "mean", spread)])
    names = [name(index[1:]) for index in block.index]
    notes = [f"{SPREADS[spread]} Bold: highest mean of its row.", *gaps(over_seeds(seed_matrix(runs, seeds)))]
    return Table(title, ["Class", "Images", *names], rows, notes, spread)


SEEDS_NOTE = (
    "Seeds of each of two methods that differ by one point, so that a paired t test over seeds sees it in 80 % of the "
    "cases (5 %, two-sided). In brackets: the deviation over seeds, of all methods that learn taken together. The test "
    "images are taken as they are."
)


def seeds_table(runs: pd.DataFrame, protocol: str, seeds: list[int] | None = None) -> Table | None:
    """How many seeds a difference of one point needs, a row per dataset; None where no method has several seeds."""
    summary = stats.summarise(runs, protocol, seeds).drop(AVERAGE, level="dataset", errors="ignore")
    summary = summary[summary.index.get_level_values("shots") != 0]
    columns = stats.measured(protocol)
    deviations = (summary[list(map(std_of, columns))] ** 2).groupby(level="dataset", sort=False).mean() ** 0.5
    deviations = deviations.dropna(how="all")
    if deviations.empty:
        return None
    rows = [[dataset, *map(_needed, row)] for dataset, row in zip(deviations.index, deviations.to_numpy())]
    return Table("Seeds for one point", ["Dataset", *columns.values()], rows, [SEEDS_NOTE])


def _needed(deviation: float) -> str:
    if pd.isna(deviation):
        return "–"
    seeds = stats.seeds_needed(deviation)
    return f"{seeds or 'over 1000'} ({deviation:.2f})"
