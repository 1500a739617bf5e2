"""Writes one HTML file with the tables, figures and settings of an output tree.

mocoop report                                     all that is below output/, into output/report.html
mocoop report output --to paper.html              into another file
mocoop report output --protocol few_shot          one protocol only
mocoop report output --figures figures            each figure as a PDF, too
"""

import argparse
from pathlib import Path

from mocoop.protocols.plan import find_protocol
from mocoop.tools._arguments import PROTOCOL_NAMES, Numbers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", nargs="?", default="output", help="folder of results (default: %(default)s)")
    parser.add_argument("--to", type=Path, metavar="FILE", help="file to write (default: OUTPUT/report.html)")
    parser.add_argument("--protocol", type=find_protocol, metavar="P", help=f"one of {PROTOCOL_NAMES} (default: all)")
    parser.add_argument("--seeds", action=Numbers, metavar="N,M", help="these are expected (default: all that occur)")
    parser.add_argument("--root", type=Path, metavar="DIR", help="data root, for images (default: that of the runs)")
    parser.add_argument("--no-similarity", action="store_true", help="do not compare the trained models' experts")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write each figure as a PDF there, too")
    parser.add_argument("--force", action="store_true", help="replace FILE, and files in DIR, if they exist")


def run(args: argparse.Namespace) -> int:
    """Writes the report and prints where it is."""
    from mocoop.report import write_report

    path = write_report(
        Path(args.output),
        args.to,
        args.protocol,
        seeds=args.seeds,
        data_root=args.root,
        similarity=not args.no_similarity,
        figures=args.figures,
        force=args.force,
    )
    print(path)
    return 0
