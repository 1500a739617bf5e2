"""Lists, describes, checks and prepares datasets, and sets up your own images.

mocoop datasets list                               what there is
mocoop datasets prepare OxfordPets --root DATA     download and extract what can be, explain the rest
mocoop datasets check all --root DATA              what is missing or damaged; exit status 1 if anything is
mocoop datasets new ROOT                           a config for your own class folders or csv
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, cast

from yacs.config import CfgNode

from mocoop.checkout import config_names, find_checkout, find_config, import_datasets
from mocoop.config import merge_file
from mocoop.data import exchange
from mocoop.data.own_images import OwnImages
from mocoop.data.paths import doubled_folder
from mocoop.data.sources import BUNDLED, Source, load_sources
from mocoop.errors import ConfigError, DataError, one_line
from mocoop.files import check_unused, write_file
from mocoop.names import check_path_word
from mocoop.protocols.configs import setting
from mocoop.protocols.plan import DATASETS
from mocoop.tools._arguments import Numbers

if TYPE_CHECKING:
    from mocoop.data.base import BenchmarkDataset

Action = Callable[[argparse.Namespace], int]
SHOWN = 5  # problems of a split that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(function: Action, name: str, summary: str, root: bool = True) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=summary, description=summary)
        sub.set_defaults(action=function)
        if root:
            text = "data root; default: of own images that of their config, else $DATA or data"
            sub.add_argument("--root", help=text)
        return sub

    action(_list, "list", "list the datasets, and which of them are under the data root")
    sub = action(_info, "info", "what a dataset is, where it comes from, what belongs where")
    sub.add_argument("name", type=_registered)
    sub = action(_check, "check", "compare the files with the split and the published counts")
    sub.add_argument("names", nargs="+", metavar="NAME", help="datasets or configs, or all")
    sub.add_argument("--images", action="store_true", help="read every image as well")
    sub.add_argument("--reduced", action="store_true", help="a reduced copy: its counts need not be the published ones")
    sub = action(_prepare, "prepare", "download, verify and extract what can be; explain the rest")
    sub.add_argument("names", nargs="+", type=_registered, metavar="NAME", help="datasets, or all")
    sub.add_argument("--sources", default=BUNDLED, metavar="FILE", help="other addresses, in the form of sources.json")
    sub = action(_new, "new", "write a config for your own images", root=False)
    sub.add_argument("root", metavar="ROOT", help="folder with a folder of images for each class, or with --csv")
    sub.add_argument("--name", help="name of the config (default: that of ROOT)")
    sub.add_argument("--csv", default="", metavar="FILE", help="csv in ROOT: path,label[,split][,domain]")
    sub.add_argument("--csv-columns", default="", metavar="NAMES", help="what it calls them: image=file,label=breed")
    sub.add_argument("--follow-links", action="store_true", help="read images behind links that lead out of ROOT")
    sub.add_argument("--classnames", default="", metavar="FILE", help="csv in ROOT: label,classname")
    sub.add_argument("--templates", type=Path, metavar="FILE", help="groups: lines below a group's [name]; or auto")
    sub = action(_import_split, "import-split", "take over a few-shot subset of CoOp (.pkl), 2SFS (.jsonl) or ours")
    sub.add_argument("name")
    sub.add_argument("file", type=Path)
    sub.add_argument("--shots", type=int, help="images a class; default: from the file's name")
    sub.add_argument("--seed", type=int, help="seed of the draw; default: from the file's name")
    sub = action(_export_splits, "export-splits", "write few-shot subsets, for another project or for DATASET.SPLITS")
    sub.add_argument("names", nargs="+", metavar="NAME", help="datasets or configs, or all")
    sub.add_argument("--shots", action=Numbers, required=True, metavar="N,M", help="images a class")
    sub.add_argument("--seeds", action=Numbers, default=(1, 2, 3), metavar="N,M", help="of the draws; default: 1,2,3")
    sub.add_argument("--format", choices=exchange.FORMATS, default="manifest", help="default: %(default)s")
    sub.add_argument("--output", type=Path, default=Path("."), metavar="DIR", help="default: the current folder")


def run(args: argparse.Namespace) -> int:
    """Runs the action; returns 0, or 1 when a dataset is not complete."""
    args.asked_root, args.root = args.root, args.root or os.environ.get("DATA") or "data"
    return args.action(args)


def _registered(name: str) -> str:
    """The registry's name of a dataset, which may be called as its config is."""
    return setting(find_config(find_checkout(), f"{DATASETS}/{name}.yaml"), "DATASET.NAME", name)


def _dataset_class(name: str) -> "type[BenchmarkDataset]":
    registry = import_datasets()
    if name not in registry.registered_names():
        raise ConfigError(f"got the dataset {name!r}, expected one of {', '.join(sorted(load_sources()))}")
    return cast("type[BenchmarkDataset]", registry.get(name))


@dataclass(frozen=True)
class _Asked:
    """A dataset that was asked for: `name` is the registry's, or of own images that of their config."""

    name: str
    dataset_class: "type[BenchmarkDataset]"
    root: str
    node: CfgNode | None = None  # the config's DATASET, of own images
    published: Source | None = None

    def open(self) -> "BenchmarkDataset":
        return self.dataset_class.open(self.root, node=self.node)


def _asked(name: str, args: argparse.Namespace) -> _Asked:
    registered, file = _registered(name), find_config(find_checkout(), f"{DATASETS}/{name}.yaml")
    dataset_class = _dataset_class(registered)
    if not issubclass(dataset_class, OwnImages):
        return _Asked(registered, dataset_class, args.root, None, load_sources().get(registered))
    from mocoop.engine import get_cfg_default
    from mocoop.methods import extend_cfg

    cfg = get_cfg_default()
    extend_cfg(cfg)
    if file.is_file():
        merge_file(cfg, str(file))
    return _Asked(name, dataset_class, args.asked_root or cfg.DATASET.ROOT or args.root, cfg.DATASET)


def _names(asked: list[str]) -> list[str]:
    return list(load_sources()) if asked == ["all"] else asked


def _config_name(name: str) -> str:
    checkout = find_checkout()
    for config in config_names(checkout, DATASETS):
        if setting(find_config(checkout, f"{DATASETS}/{config}.yaml"), "DATASET.NAME") == name:
            return config
    return "-"


def _list(args: argparse.Namespace) -> int:
    print(f"{'name':<20} {'config':<16} {'classes':>7} {'train':>9} {'val':>7} {'test':>7}  folder under {args.root}")
    for name, source in load_sources().items():
        folder = _dataset_class(name).dataset_dir
        counts = [source.counts.get(split, "-") for split in ("train", "val", "test")]
        state = "" if (Path(args.root) / folder).is_dir() else " (absent)"
        print(
            f"{name:<20} {_config_name(name):<16} {source.classes:>7} {counts[0]:>9} {counts[1]:>7} {counts[2]:>7}  "
            f"{folder}/{state}"
        )
    return 0


def _info(args: argparse.Namespace) -> int:
    dataset_class, source = _dataset_class(args.name), load_sources().get(args.name)
    if source is None:
        raise ConfigError(f"{args.name} is not distributed anywhere; {dataset_class.not_distributed}")
    print(f"{source.title}\n  {dataset_class.__doc__ or ''}\n  home     {source.home}\n  license  {source.license}")
    print(f"  config   configs/datasets/{_config_name(args.name)}.yaml")
    print(f"  classes  {source.classes}; images " + ", ".join(f"{split} {n:,}" for split, n in source.counts.items()))
    print(f"  folder   {args.root}/{dataset_class.dataset_dir}/ with {dataset_class.expected()}")
    for file in source.files:
        origin = ", ".join([*file.urls, *([f"Google Drive {file.drive}"] if file.drive else [])]) or "by hand"
        print(f"  file     {file.name}{'' if file.needed else ' (only without the split file)'}: {origin}")
    for address in source.dead:
        print(f"  dead     {address}")
    if source.notes:
        print(f"  note     {source.notes.replace('{folder}', f'{args.root}/{dataset_class.dataset_dir}')}")
    return 0


def _check(args: argparse.Namespace) -> int:
    return max([_check_one(name, args) for name in _names(args.names)])


def _check_one(name: str, args: argparse.Namespace) -> int:
    from mocoop.data.prepare import check

    asked, dataset = _asked(name, args), None
    try:
        dataset = asked.open()
        reports = check(dataset, asked.published.counts if asked.published and not args.reduced else {}, args.images)
    except DataError as error:
        print(f"{asked.name}: cannot be read\n  {error}")
        if dataset is not None:
            _print_notes(dataset)
        return 1
    complete = all(report.complete for report in reports) and not dataset.unreadable
    print(f"{asked.name}: {'complete' if complete else 'NOT COMPLETE'}  ({dataset.dataset_dir})")
    _print_notes(dataset)
    for report in reports:
        unread = "" if report.unreadable is None else f", {len(report.unreadable)} unreadable"
        expected = "" if report.published is None else f", expected {report.published}"
        counts = f"{report.found} found{expected}, {report.listed} listed, {len(report.missing)} missing{unread}"
        print(f"  {report.split:<5} {counts}")
        _print_some([f"missing: {path}" for path in report.missing] + (report.unreadable or []))
    missing = next((path for report in reports for path in report.missing), "")
    if deeper := doubled_folder(missing):
        print(f"  next: the images lie in {deeper}, one folder too deep; move what is in it one folder up")
    elif asked.published and not complete:
        print(
            "  next: put back what is missing, or move the folder it belongs to away and run "
            f"`mocoop datasets prepare {asked.name} --root {args.root}`; a reduced copy is checked with --reduced"
        )
    return 0 if complete else 1


def _print_notes(dataset: "BenchmarkDataset") -> None:
    if dataset.notes:
        print("look at:\n" + "\n".join(f"  - {one_line(note)}" for note in dataset.notes))


def _print_some(lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"    {line}")
    if len(lines) > SHOWN:
        print(f"    and {len(lines) - SHOWN} more")


def _prepare(args: argparse.Namespace) -> int:
    from mocoop.data.prepare import prepare

    sources, status = load_sources(args.sources), 0
    for name in list(sources) if args.names == ["all"] else args.names:
        if name not in sources and (origin := _dataset_class(name).not_distributed):
            print(f"{name}: nothing to prepare; {origin}")
            continue
        folder = Path(args.root).absolute() / _dataset_class(name).dataset_dir
        if name not in sources:
            raise ConfigError(f"{args.sources} has no {name}, expected one of {', '.join(sources)}")
        outcomes = prepare(sources[name], folder)
        print(f"{name} in {folder}")
        for outcome in outcomes:
            reason = f": {outcome.reason}" if outcome.reason else ""
            optional = " (of use only without the split file)" if reason and not outcome.file.needed else ""
            print(f"  {outcome.state:<8} {', '.join(outcome.file.gives)}{optional}{reason}")
        missing = [outcome for outcome in outcomes if outcome.state == "missing" and outcome.file.needed]
        for steps in dict.fromkeys(outcome.steps or "run the command again" for outcome in missing):
            print(f"  to do: {steps}")
        if not missing:
            print(f"  ready; `mocoop datasets check {name} --root {args.root}` looks at every file")
        status = max(status, 1 if missing else 0)
    return status


def _new(args: argparse.Namespace) -> int:
    from mocoop.data.config import config_name, dataset_defaults, read_template_groups, write_config

    root = os.path.abspath(os.path.expanduser(args.root))
    if not Path(root).name:
        raise ConfigError(f"got ROOT {root}, expected a folder with a folder of images for each class, or with --csv")
    name = args.name or config_name(root)
    check_path_word("--name", name)
    node = dataset_defaults()
    node.FOLDER.update({"CSV": args.csv, "CSV_COLUMNS": args.csv_columns, "CLASSNAMES": args.classnames})
    node.FOLLOW_LINKS = args.follow_links
    file, groups = f"{DATASETS}/{name}.yaml", read_template_groups(args.templates)
    path = find_checkout() / file
    if find_config(find_checkout(), file) != path:
        raise ConfigError(f"got the name {name!r}, which a data set of this package has; choose another --name")
    check_unused(path, advice="delete it, or choose another --name")
    dataset = cast(OwnImages, _dataset_class("Folder").open(root, node=node))
    try:
        classes = dataset.survey()
    except DataError:
        _print_notes(dataset)
        raise
    write_config(path, root, node, groups)
    print(f"{path}: {len(classes)} classes, {sum(map(sum, classes.values()))} images")
    print("   train     val    test  class")
    for classname, counts in classes.items():
        print(f"{''.join(f'{count:>8}' for count in counts)}  {classname}")
    _print_notes(dataset)
    print(f"next:\n  mocoop run base2new --methods MoCoOp --datasets {name} --seeds 1")
    return 0


def _import_split(args: argparse.Namespace) -> int:
    from mocoop.data.lists import encode_manifest, text_sha256
    from mocoop.data.subset import subset_path, take_records

    named = exchange.shots_and_seed(args.file) or (None, None)
    shots, seed = (
        given if given is not None else read for given, read in zip((args.shots, args.seed), named, strict=True)
    )
    if shots is None or seed is None:
        raise ConfigError(f"{args.file}: its name says no shots and seed, pass --shots and --seed")
    dataset = _asked(args.name, args).open()
    destination = subset_path(dataset.subset_folder, shots, seed)
    check_unused(destination, advice="move it away first")
    records = exchange.read_subset(args.file)
    subset = take_records(dataset.load_splits(), records, str(args.file), dataset.image_dir)
    text = encode_manifest(subset.train, subset.val, dataset.image_dir)
    write_file(destination, text)
    counts = f"{len(subset.train)} training and {len(subset.val or ())} validation images"
    print(f"{destination}: {counts}, sha256 {text_sha256(text)}")
    return 0


def _export_splits(args: argparse.Namespace) -> int:
    from mocoop.data.subset import few_shot_subset, portable_folder

    if 0 in args.shots:
        raise ConfigError("got --shots 0, expected 1 or more images a class")
    for name in _names(args.names):
        dataset = _asked(name, args).open()
        if dataset.test_only:
            continue  # no subset is drawn
        place, splits = (dataset.subset_folder, dataset.image_dir), dataset.load_splits()
        folder, root = args.output / portable_folder(dataset.subset_folder), os.path.dirname(dataset.dataset_dir)
        for number, seed in product(args.shots, args.seeds):
            subset = few_shot_subset(splits, number, seed, *place)
            stem = folder / f"shot_{number}-seed_{seed}"
            for path in exchange.write_subset(args.format, stem, subset.train, subset.val, dataset.image_dir, root):
                print(path)
    return 0
