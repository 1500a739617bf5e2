"""The section on routing: which experts a mixture chooses, how surely, for which images, and how alike they are."""

import logging
from pathlib import Path

import pandas as pd

from mocoop.errors import DataError, MocoopError
from mocoop.report.content import FigureBlock, Section, Text, figure_block, fold_all_but_first
from mocoop.report.router_tables import router_blocks
from mocoop.report.runs import Runs
from mocoop.results.figures.contact_sheet import contact_sheet, contact_tiles
from mocoop.results.figures.expert_similarity import expert_similarity_figure
from mocoop.results.figures.gate_entropy import gate_entropy_figure
from mocoop.results.figures.routing import PANELS, routing_by_class_figure, routing_by_dataset_figure, routing_figure
from mocoop.results.record import FILE_NAME, read_record
from mocoop.results.routing import class_shares, gate_entropies, predictions_of, that_route, with_predictions

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
    for part in runs.protocols:
        routed = that_route(part.main)
        if len(routed):
            break
    else:
        return None
    method, cfg, shots = routed[["method", "cfg", "shots"]].drop_duplicates().sort_values("shots").iloc[-1]
    runs = routed[(routed["method"] == method) & (routed["cfg"] == cfg) & (routed["shots"] == shots)]
    blocks = [*router_blocks(runs, part.seeds), *_shares(runs), *_per_image(with_predictions(runs), data_root)]
    if similarity:
        blocks.append(_similarity(runs))
    return Section("routing", f"Which experts {method} chooses", ABOUT, blocks)


def _shares(runs: pd.DataFrame) -> list:
    blocks = []
    if any(routing["chosen_by_domain"] for routing in runs["routing"]):
        blocks.append(figure_block("Experts by style", STYLE_ABOUT, lambda: routing_figure(runs)))
    if runs["dataset"].nunique() > 1:
        blocks.append(figure_block("Experts by dataset", DATASET_ABOUT, lambda: routing_by_dataset_figure(runs)))
    return blocks


def _per_image(runs: pd.DataFrame, data_root: Path | None) -> list:
    if runs.empty:
        return [Text("No run left its predictions, so routing cannot be shown image by image.")]
    phase = next(phase for phase in PANELS if (runs["phase"] == phase).any())
    of_phase = runs[runs["phase"] == phase]
    blocks = _by_class(of_phase, PANELS[phase])
    if runs.iloc[0]["routing"]["top_k"] > 1:
        blocks.append(figure_block("Gate entropy", ENTROPY_ABOUT, lambda: _entropy_figure(runs)))
    return blocks + _sheets(of_phase, data_root)


def _by_class(runs: pd.DataFrame, classes: str) -> list:
    titled = []
    for dataset, of_dataset in runs.groupby("dataset"):
        title = f"Experts by class: {dataset}, {classes}"
        block = figure_block(title, CLASS_ABOUT, lambda runs=of_dataset: routing_by_class_figure(class_shares(runs)))
        titled.append((title, block))
    return fold_all_but_first(titled)


def _entropy_figure(runs: pd.DataFrame):
    entropies: dict = {}
    for (dataset, phase), part in sorted(runs.groupby(["dataset", "phase"]), key=lambda item: _place(*item[0])):
        values = {run.seed: gate_entropies(predictions_of(run)["gates"].tolist()) for run in part.itertuples()}
        entropies.setdefault(dataset, {})[PANELS[phase]] = values
    return gate_entropy_figure(entropies, runs.iloc[0]["routing"]["top_k"])


def _place(dataset: str, phase: str) -> tuple:
    return dataset, list(PANELS).index(phase)


def _sheets(runs: pd.DataFrame, data_root: Path | None) -> list:
    """A contact sheet of one run of each dataset, and what could not be shown."""
    titled, missing = [], []
    for dataset, of_dataset in runs.groupby("dataset"):
        try:
            block = _sheet(of_dataset.sort_values("seed").iloc[0], data_root)
            titled.append((block.title, block))
        except MocoopError as error:
            missing.append(f"{dataset}: {error}")
    return fold_all_but_first(titled) + ([Text(MISSING_SHEETS, missing)] if missing else [])


def _sheet(run: pd.Series, data_root: Path | None):
    root = data_root or Path(read_record(Path(run.folder) / FILE_NAME)["config"]["DATASET"]["ROOT"])
    tiles = contact_tiles(predictions_of(run), run.routing["groups"], root)
    shown = [tile for of_expert in tiles.values() for tile in of_expert]
    missing = sum(tile.picture is None for tile in shown)
    if missing == len(shown):
        raise DataError("none of its images was found")
    about = SHEET_ABOUT.format(seed=run.seed) + (f" {missing} of {len(shown)} were not found." if missing else "")
    return FigureBlock(f"Images by expert: {run.dataset}", about, contact_sheet(tiles), "png")


def _similarity(runs: pd.DataFrame):
    from mocoop.runs.expert_similarity import similarities_by_dataset  # brings torch along

    trained = runs[runs["phase"].str.startswith("train")]
    if trained.empty:
        return Text("How alike the experts are is not shown: the trained models are in another protocol's folders.")
    logger.info("comparing the experts of %d trained models", len(trained))
    tables, problems = similarities_by_dataset(trained)
    reason = f"{problems[0]} ({len(problems)} of {len(trained)} models)" if problems else ""
    if not tables:
        return Text(f"How alike the experts are is not shown: {reason}.")
    about = SIMILARITY_ABOUT + (f" Left out: {reason}." if problems else "")
    return figure_block("Similarity of the experts", about, lambda: expert_similarity_figure(tables))
