"""A page to try a trained run in the browser, or to compare two, on this machine alone.

mocoop serve output/try                                     drop images, edit class names, see who answers and why
mocoop serve output/coop/seed1 output/mocoop/seed1          two runs beside each other, over the first one's classes
mocoop serve output/try --classes "red fox,dog"             the learned prompts with other class names

Needs the package gradio. The page is served to this machine only, loads nothing from elsewhere and sends nothing
anywhere; what is dropped on it is deleted when the command ends. --host 0.0.0.0 shows it to the network.
"""

import argparse

from mocoop.console import interrupted
from mocoop.errors import ConfigError
from mocoop.serve.page import check_gradio_installed, quiet_gradio, serve
from mocoop.serve.session import Session
from mocoop.tools._arguments import add_class_arguments, add_run_arguments, open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's output folder, or a checkpoint; one or two")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: %(default)s, this machine")
    parser.add_argument("--port", type=int, metavar="N", help="default: the first free one from 7860")
    add_class_arguments(parser)
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serves the page until it is asked to end."""
    if len(args.runs) > 2:
        raise ConfigError(f"got {len(args.runs)} runs, expected one, or two to compare")
    check_gradio_installed()
    session = Session([open_run(path, args) for path in args.runs])
    with interrupted(), quiet_gradio():
        page = serve(session, args.host, args.port)
        print(f"serving {page.local_url}, until Ctrl-C", flush=True)
        page.block_thread()
    return 0
