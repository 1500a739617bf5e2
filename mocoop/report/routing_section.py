"""The section on routing: which experts a mixture chooses, how surely and for which images, and how alike they are.

It begins with what other routers would reach with the same experts.
"""

import logging
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mocoop.errors import DataError, MocoopError
from mocoop.images import reading_of
from mocoop.report import content
from mocoop.report.content import Block, FigureBlock, Runs, Section, TableBlock, Text, figure_block
from mocoop.results.figures import routing as figures
from mocoop.results.figures.routing import PANELS
from mocoop.results.record import FILE_NAME, ROUTERS, read_record
from mocoop.results.render import Cell, Table
from mocoop.results.routing import class_shares, gate_entropies, predictions_of, that_route, with_predictions
from mocoop.results.tables import PHASE_NAMES, SPREADS

HEADS = dict(zip(ROUTERS, ("Own router", "All, equally", "Random", "Best expert", "True style", "Any right")))
ROUTERS_ABOUT = (
    "Accuracy with the experts of the same run under other ways of choosing them; nothing is trained again. All, "
    "equally: every expert answers. Random: as many as the router takes, drawn at random. Best expert: the one that "
    "is best on these images, for all of them. True style: the expert named like the image's style. Any right: at "
    "least one expert alone is right, which no router can exceed by choosing one. Agreement: how many of the chosen "
    "experts are those whose hand-written prompts are most similar to the image."
)
LOAD_ABOUT = "Each expert's part of all gate weights, in percent; by equal use all would have the same."
MISSING = (
    "How other routers would do is not shown: the runs were tested by an earlier version, and can be tested again, or "
    "their experts encode images themselves, and only those that chose them."
)


def router_blocks(runs: pd.DataFrame, seeds: list[int]) -> list[Block]:
    """Both tables, of runs of one method that route (rows of `collect`); what lacks one of the seeds is a gap."""
    judged = runs[["routers" in routing for routing in runs["routing"]]]
    if judged.empty:
        return [Text(MISSING)]
    return [TableBlock(_routers(judged, len(seeds)), ROUTERS_ABOUT), *_loads(judged, len(seeds))]


def _routers(runs: pd.DataFrame, seeds: int) -> Table:
    rows = []
    for (dataset, phase), part in runs.groupby(["dataset", "phase"], sort=False):
        found = [routing["routers"] for routing in part["routing"]]
        values = [*([one["accuracy"][name] for one in found] for name in HEADS), [one["agreement"] for one in found]]
        rows.append([dataset, PHASE_NAMES.get(phase, phase), *(_cell(of_seeds, seeds) for of_seeds in values)])
    columns = ["Dataset", "Images", *HEADS.values(), "Agreement"]
    return Table("The router beside others", columns, rows, [SPREADS["std"]])


def _loads(runs: pd.DataFrame, seeds: int) -> list[Block]:
    blocks: dict[str, Block] = {}
    for dataset, part in runs.groupby("dataset", sort=False):
        phases = [(PHASE_NAMES.get(phase, phase), of_phase) for phase, of_phase in part.groupby("phase", sort=False)]
        names = part.iloc[0]["routing"]["groups"]
        loads = [[routing["routers"]["load"] for routing in of_phase["routing"]] for _, of_phase in phases]
        rows = [[name, *(_cell([load[e] for load in found], seeds) for found in loads)] for e, name in enumerate(names)]
        title = f"Load of the experts: {dataset}"
        table = Table(title, ["Expert", *(name for name, _ in phases)], rows, [SPREADS["std"]])
        blocks[title] = TableBlock(table, LOAD_ABOUT)
    return content.fold_all_but_first(blocks)


def _cell(values: list[float | None], seeds: int) -> Cell:
    of_seeds = pd.Series(values, dtype=float).reindex(range(seeds))
    return Cell(of_seeds.mean(skipna=False), of_seeds.std(skipna=False))


ABOUT = (
    "A mixture holds several experts. For each image its router picks the few that fit best and weighs their answers. "
    "Here is what it picked on the test images."
)
STYLE_ABOUT = (
    "How often each expert (column) is among those picked for the images of a style (row), in percent. If routing "
    "follows the style, the diagonal is dark. Mean over datasets and seeds."
)
DATASET_ABOUT = (
    "How often each expert (column) is among those picked, per dataset (row), in percent. Hatched: the dataset has no "
    "such expert. Mean over seeds."
)
CLASS_ABOUT = (
    "How often each expert (column) is among those picked for the images of a class (row), in percent; classes with "
    "the same favourite stand together. Mean over seeds."
)
ENTROPY_ABOUT = (
    "How evenly the picked experts are weighed: the entropy of the gate weights, over all images. At 0 one expert "
    "decides alone, at the dashed line all picked ones weigh the same. The wider the shape, the more images."
)
SIMILARITY_ABOUT = (
    "How alike two experts are: the cosine between their features of the same class, averaged over the classes that "
    "were trained. 1: they say the same."
)
SHEET_ABOUT = (
    "For each expert the images that it weighs most in (seed {seed}), with their true class and the gate weight. Tick "
    "and blue frame: predicted right; cross and orange frame: wrong."
)
MISSING_SHEETS = "Images by expert are not shown for these; mocoop report --root says where the data is."

logger = logging.getLogger(__name__)


def routing_section(runs: Runs, data_root: Path | None, similarity: bool) -> Section | None:
    """The routing of one method and configuration, in the first protocol where there is one; None without."""
    part = next((part for part in runs.protocols if len(that_route(part.main))), None)
    if part is None:
        return None
    routed = that_route(part.main)
    method, cfg, shots = routed[["method", "cfg", "shots"]].drop_duplicates().sort_values("shots").iloc[-1]
    chosen = routed[(routed["method"] == method) & (routed["cfg"] == cfg) & (routed["shots"] == shots)]
    blocks = [*router_blocks(chosen, part.seeds), *_shares(chosen), *_per_image(with_predictions(chosen), data_root)]
    if similarity:
        blocks.append(_similarity(chosen))
    return Section("routing", f"Which experts {method} chooses", ABOUT, blocks)


def _shares(runs: pd.DataFrame) -> list[Block]:
    blocks: list[Block] = []
    if any(routing["chosen_by_domain"] for routing in runs["routing"]):
        blocks.append(figure_block("Experts by style", STYLE_ABOUT, lambda: figures.routing_figure(runs)))
    if runs["dataset"].nunique() > 1:
        blocks.append(
            figure_block("Experts by dataset", DATASET_ABOUT, lambda: figures.routing_by_dataset_figure(runs))
        )
    return blocks


def _per_image(runs: pd.DataFrame, data_root: Path | None) -> list[Block]:
    if runs.empty:
        return [Text("No run left its predictions, so routing cannot be shown image by image.")]
    phase = next(phase for phase in PANELS if (runs["phase"] == phase).any())
    by_dataset = list(runs[runs["phase"] == phase].groupby("dataset"))
    drawn = {f"Experts by class: {dataset}, {PANELS[phase]}": partial(_by_class, part) for dataset, part in by_dataset}
    blocks = content.folded_figures(CLASS_ABOUT, drawn)
    if runs.iloc[0]["routing"]["top_k"] > 1:
        blocks.append(figure_block("Gate entropy", ENTROPY_ABOUT, lambda: _entropy_figure(runs)))
    sheets: dict[str, Block] = {}
    missing = []
    for dataset, part in by_dataset:
        try:
            sheet = _sheet(part.sort_values("seed").iloc[0], data_root)
            sheets[sheet.title] = sheet
        except MocoopError as error:
            missing.append(f"{dataset}: {error}")
    return [*blocks, *content.fold_all_but_first(sheets), *([Text(MISSING_SHEETS, missing)] if missing else [])]


def _by_class(runs: pd.DataFrame) -> Figure:
    return figures.routing_by_class_figure(class_shares(runs))


def _entropy_figure(runs: pd.DataFrame) -> Figure:
    entropies: dict = {}
    order = list(PANELS)
    for (dataset, phase), part in sorted(
        runs.groupby(["dataset", "phase"]), key=lambda g: (g[0][0], order.index(g[0][1]))
    ):
        values = {run.seed: gate_entropies(predictions_of(run)["gates"].tolist()) for run in part.itertuples()}
        entropies.setdefault(dataset, {})[PANELS[phase]] = values
    return figures.gate_entropy_figure(entropies, runs.iloc[0]["routing"]["top_k"])


def _sheet(run: pd.Series, data_root: Path | None) -> FigureBlock:
    config = read_record(Path(run.folder) / FILE_NAME)["config"]
    root = data_root or Path(config["DATASET"]["ROOT"])
    tiles = figures.contact_tiles(predictions_of(run), run.routing["groups"], root, reading=reading_of(config))
    shown = [tile for of_expert in tiles.values() for tile in of_expert]
    missing = sum(tile.picture is None for tile in shown)
    if missing == len(shown):
        raise DataError("none of its images was found")
    about = SHEET_ABOUT.format(seed=run.seed) + (f" {missing} of {len(shown)} were not found." if missing else "")
    return FigureBlock(f"Images by expert: {run.dataset}", about, figures.contact_sheet(tiles), "png")


def _similarity(runs: pd.DataFrame) -> FigureBlock | Text:
    from mocoop.runs.interpretation import similarities_by_dataset  # brings torch along

    trained = runs[runs["phase"].str.startswith("train")]
    if trained.empty:
        return Text("How alike the experts are is not shown: the trained models are in another protocol's folders.")
    logger.info("comparing the experts of %d trained models", len(trained))
    tables, problems = similarities_by_dataset(trained)
    reason = f"{problems[0]} ({len(problems)} of {len(trained)} models)" if problems else ""
    if not tables:
        return Text(f"How alike the experts are is not shown: {reason}.")
    about = SIMILARITY_ABOUT + (f" Left out: {reason}." if problems else "")
    return figure_block("Similarity of the experts", about, lambda: figures.expert_similarity_figure(tables))
