"""Figures of many runs, for a screen or a printed page: a function each, returning a matplotlib figure."""

from mocoop.results.figures.base_new import base_new_figure, base_new_scatter
from mocoop.results.figures.contact_sheet import contact_sheet, contact_tiles
from mocoop.results.figures.expert_similarity import expert_similarity_figure
from mocoop.results.figures.few_shot import few_shot_figure
from mocoop.results.figures.gate_entropy import gate_entropy_figure
from mocoop.results.figures.routing import routing_by_class_figure, routing_by_dataset_figure, routing_figure
from mocoop.results.figures.style import COLOURS, save_figure
from mocoop.results.figures.training import training_figure
from mocoop.results.figures.transfer import transfer_figure

__all__ = [
    "COLOURS",
    "base_new_figure",
    "base_new_scatter",
    "contact_sheet",
    "contact_tiles",
    "expert_similarity_figure",
    "few_shot_figure",
    "gate_entropy_figure",
    "routing_by_class_figure",
    "routing_by_dataset_figure",
    "routing_figure",
    "save_figure",
    "training_figure",
    "transfer_figure",
]
