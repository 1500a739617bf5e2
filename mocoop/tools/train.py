"""Trains or evaluates a method, with the flags of CoOp's train.py.

mocoop train --root data --seed 1 --trainer MoCoOp --dataset-config-file configs/datasets/shapes_both.yaml \\
    --config-file configs/trainers/MoCoOp/tiny.yaml --output-dir output/try DATASET.SUBSAMPLE_CLASSES base

What follows the flags are KEY VALUE overrides of the config. A file below configs/ that is not in the current folder is
the one that comes with this package. Several GPUs: torchrun --nproc_per_node N -m mocoop.train ...
"""

import argparse
import logging

from mocoop import train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Trains and tests, or evaluates; the exit status is that of train.py."""
    library = logging.getLogger("mocoop")
    library.propagate = False  # a run prints its lines itself, so that they are in its log.txt
    try:
        return train.run(args)
    finally:
        library.propagate = True
