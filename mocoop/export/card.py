"""README.md of a model hub's folder: what the model is, what it reaches, how it was made and how to load it."""

import glob
import inspect
import re
import sys
from pathlib import Path

import jinja2
import yaml

from mocoop.backbone import EMBEDDED
from mocoop.clip.openai import MODEL_URLS
from mocoop.data.sources import load_sources
from mocoop.errors import ConfigError, one_line
from mocoop.protocol import PROTOCOLS, TRANSFER
from mocoop.results.agreement import VALIDATION
from mocoop.results.record import FILE_NAME, portable_config, read_record
from mocoop.results.render import Cell, Table, to_markdown
from mocoop.results.runs import collect, layout_place, merge, runs_of, without_other_models
from mocoop.results.tables import protocol_tables
from mocoop.runs.trained_run import TrainedRun
from mocoop.training.checkpoint import load_checkpoint
from mocoop.training.run_state import learned_state, weights_sha256

# OpenAI's models by their names on the hub; it has no ResNets of theirs
HUB_NAMES = {
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336",
}
CLIP_PAPER = "CLIP: https://arxiv.org/abs/2103.00020"
SELECTIONS = {"best_val": ", with the weights that were best on the validation images"}
ALONE = "One seed: how far another would lie from it is not known."
NAMES = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "top5": "Top-5", "ece": "Calibration error"}


def model_card(run: TrainedRun, folder: Path, onnx: bool, with_backbone: bool) -> str:
    """The card of a run that lies in `folder`, of which nothing but settings and measurements is told.

    Raises ConfigError for a run with other weights or classes than it was tested with, DataError if it has no finished
    record.
    """
    record = read_record(folder / FILE_NAME)
    if record["status"] != "done":
        raise ConfigError(f"{folder}: the run is {record['status']}, expected a tested one: a card tells its results")
    if record.get("weights_sha256") and run.checkpoint is not None:
        found = weights_sha256(learned_state(load_checkpoint(run.checkpoint), run.checkpoint))
        if found != record["weights_sha256"]:
            raise ConfigError(f"{folder}: its result is of other weights than {run.checkpoint} holds; test those again")
    if [row["classname"] for row in record["per_class"]] != run.classnames:
        raise ConfigError("a model card tells the results of a run: export it with the class names that it has")
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.loader = jinja2.PackageLoader("mocoop.export", ".")
    entry = run.method.entry
    return environment.get_template("card.md").render(
        front_matter=_yaml(front_matter(record)),
        title=_title(record),
        backbone=Path(record["backbone"]).name if Path(record["backbone"]).is_absolute() else record["backbone"],
        method=f"{entry.name} ({entry.title})" if entry.title else entry.name,
        training=_training(record),
        version=record["versions"]["mocoop"],
        classes=len(run.classnames),
        experts=len(run.group_names),
        top_k=record["routing"] and record["routing"]["top_k"],
        onnx=onnx,
        tables=[to_markdown(table) for table in results_tables(folder, record)],
        seed=record["seed"],
        selection=SELECTIONS.get(record["selection"], ""),
        knowledge=record.get("knowledge"),
        settings=_yaml(portable_config(record["config"])),
        versions=", ".join(f"{package} {version}" for package, version in record["versions"].items()),
        clip_terms=_clip_terms(record["backbone"], with_backbone),
        data_terms=_data_terms(record["dataset"]),
        citations=_citations(run),
    )


def front_matter(record: dict) -> dict:
    """What a hub reads: kind, licence, base model, and the run's own measurements."""
    measured = {"accuracy": "accuracy", "macro_f1": "macro-F1", "ece": "calibration error"}
    metrics = [
        {"type": kind.replace("macro_", ""), "name": name, "value": round(record["metrics"][kind], 2)}
        for kind, name in measured.items()
        if kind in record["metrics"]
    ]
    dataset = {"type": record["dataset"], "name": f"{record['dataset']}, {record['subsample_classes']} classes"}
    task = {"type": "image-classification", "name": "Image classification"}
    results = [{"task": task, "dataset": dataset | {"split": record["split"]}, "metrics": metrics}]
    base_model = HUB_NAMES.get(record["backbone"])
    return {
        "license": "mit",
        "library_name": "mocoop",
        "pipeline_tag": "image-classification",
        "tags": ["clip", "prompt-learning", record["method"]],
        **({"base_model": base_model} if base_model else {}),
        "model-index": [{"name": _title(record), "results": results}],
    }


def _title(record: dict) -> str:
    return one_line(f"{record['method']} on {record['dataset']}", 100)


def _training(record: dict) -> str:
    """What was learned from, in words."""
    if record["epoch"] is None:
        return "with hand-written prompts; nothing was learned"
    kind = {"all": "", "base": "base ", "new": "new "}[record["subsample_classes"]]
    images = f"{record['shots']} images of each" if record["shots"] > 0 else "all training images"
    return f"learned from {images} of the {record['num_classes']} {kind}classes of {record['dataset']}"


def _clip_terms(backbone: str, included: bool) -> str:
    where = "in this folder" if included else "not in it"
    if backbone in EMBEDDED:
        return f"CLIP's weights are {where}; they are mocoop's own, under the MIT licence."
    whose = "OpenAI's, under the MIT licence" if backbone in MODEL_URLS else "under the terms of whoever trained them"
    return f"CLIP's weights are {where}; they are {whose}."


def _data_terms(dataset: str) -> str:
    source = load_sources().get(dataset)
    if source is None:
        return f"The images of {dataset}, of which none is here, are under their owners' terms."
    return f"The images of {source.title} ({source.home}), of which none is here: {source.license}."


def _citations(run: TrainedRun) -> list[str]:
    """Where the method is published, as its file says, and CLIP."""
    entry = run.method.entry
    source = inspect.getdoc(sys.modules[entry.build.__module__]) or ""
    papers = re.findall(r"arXiv (\d{4}\.\d{4,5})", source)
    own = [f"{entry.name}: https://arxiv.org/abs/{number}" for number in papers[:1]]
    return [*own, *([CLIP_PAPER] if CLIP_PAPER.split("/")[-1] not in papers else []), "mocoop: its CITATION.cff"]


def _yaml(values: dict) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def results_tables(folder: Path, record: dict) -> list[Table]:
    """The tables of every protocol that the run was trained for, of its method and configuration alone.

    A run outside the layout of `mocoop.results.runs` is its own experiment.
    """
    place = layout_place(folder)
    tables = [] if place is None else [table for name in PROTOCOLS for table in _of_protocol(name, folder, place)]
    return tables or [_of_record(record)]


def _of_protocol(name: str, folder: Path, place: dict) -> list[Table]:
    protocol, output = PROTOCOLS[name], folder.absolute().parents[6]
    if f"{place['protocol']}/{place['phase']}" not in [phase.folder for phase in protocol.phases]:
        return []
    rest = glob.escape("/".join(folder.absolute().parts[-4:-1]))  # shots, method and configuration
    dataset = "*" if protocol.measure == TRANSFER else glob.escape(place["dataset"])
    found = [path for phase in protocol.phases for path in sorted(output.glob(f"{phase.folder}/{dataset}/{rest}"))]
    if name != place["protocol"] and not any(path.is_relative_to(output / name) for path in found):
        return []  # it shares the training, and tested nothing
    runs, _ = without_other_models(runs_of(merge(list(map(collect, found))).with_gaps(), name), name)
    tables = protocol_tables(runs, name)
    if runs["seed"].nunique() == 1:
        tables[0].notes.insert(0, ALONE)
    return tables


def _of_record(record: dict) -> Table:
    cells = [Cell(record["metrics"][name], spread=None) for name in NAMES if name in record["metrics"]]
    heads = [head for name, head in NAMES.items() if name in record["metrics"]]
    images = f"{record['dataset']}, {record['subsample_classes']} classes"
    images += ", validation images" if record["split"] == VALIDATION else ""
    return Table("Results", ["Images", *heads], [[images, *cells]], [f"In percent. {ALONE}"])
