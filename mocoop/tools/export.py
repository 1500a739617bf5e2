"""Writes a trained run as a folder that needs neither Dassl nor this library.

mocoop export output/try --to pets                        the classes it was trained on
mocoop export output/try --to pets --classes "cat,dog"    the learned prompts with other class names
mocoop export RUN --hub pets                              with a model card, as model hubs take it; nothing is uploaded

The folder holds model.safetensors (the experts' text features, the router, the scale, the LayerNorms that were
tuned), classes.json, model.json (preprocessing, backbone, versions), model.onnx (preprocessed images to logits) and
example.py, which uses them with plain clip. CLIP itself is included unless it is one of OpenAI's by name. The model
card, README.md, has the run's results over all seeds that lie beside it, its settings, licence and citation.
"""

import argparse
from pathlib import Path

from mocoop.export import export_run
from mocoop.tools._arguments import add_class_arguments, add_run_arguments, open_run
from mocoop.training.checkpoint import run_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="a run's output folder, or a checkpoint")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--to", type=Path, metavar="FOLDER", help="a new or empty folder")
    place.add_argument("--hub", type=Path, metavar="FOLDER", help="the same, with a model card for a hub")
    add_class_arguments(parser)
    parser.add_argument("--no-onnx", action="store_true", help="leave out model.onnx, which needs the package onnx")
    parser.add_argument("--with-backbone", action="store_true", help="include the weights of a CLIP of OpenAI's too")
    parser.add_argument("--force", action="store_true", help="replace an earlier export in FOLDER, and nothing else")
    add_run_arguments(parser, device=False)


def run(args: argparse.Namespace) -> int:
    """Writes the folder and prints its files."""
    trained = open_run(args.run_folder, args)
    card_of = None if args.hub is None else run_folder(args.run_folder)
    for path in export_run(
        trained, args.hub or args.to, not args.no_onnx, args.with_backbone, args.force, card_of=card_of
    ):
        print(f"{path.stat().st_size / 1024:10,.1f} KiB  {path}")
    return 0
