"""Names the classes of images by a trained run, with probabilities and the experts that answered.

mocoop predict photo.jpg --model output/try                    one image, to be read
mocoop predict photos/ --model output/try --format csv         a folder and those in it, one row per class shown
mocoop predict photos/ --model output/try --classes "cat,dog"  the learned prompts with other class names

Images are read and reported as they come. One that cannot be read is named on stderr and left out; the exit status is
then 1.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from mocoop.errors import ConfigError
from mocoop.files import atomic_write, check_unused
from mocoop.runs.prediction import FORMATS, Predictor, find_images
from mocoop.tools._arguments import add_class_arguments, add_run_arguments, open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE|DIR", help="images, and folders of images")
    parser.add_argument("--model", required=True, metavar="RUN", help="a run's output folder, or a checkpoint")
    add_class_arguments(parser)
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="classes shown of an image (default: %(default)s)"
    )
    parser.add_argument("--format", choices=sorted(FORMATS), help="default: by the ending of FILE, else table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to a file instead of the screen")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="images at a time (default: %(default)s)")
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the predictions; returns 1 when an image was left out."""
    for flag, value in (("--top", args.top), ("--batch", args.batch)):
        if value < 1:
            raise ConfigError(f"{flag} is {value}, expected 1 or more")
    if args.out is not None:
        check_unused(args.out, args.force)
    paths = find_images(args.images)
    predictor = Predictor(open_run(args.model, args), args.top, args.batch)
    predictions = predictor.predict(paths)
    text = FORMATS[args.format or _format_of(args.out)]
    if args.out is None:
        for piece in text(predictions):
            print(piece, end="", flush=True)
    else:
        with atomic_write(args.out) as file:
            file.writelines(text(tqdm(predictions, disable=None, unit=" images")))
    return 1 if predictor.unreadable else 0


def _format_of(out: Path | None) -> str:
    ending = out.suffix[1:].lower() if out is not None else ""
    return ending if ending in FORMATS else "table"
