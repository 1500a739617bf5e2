"""The page in gradio: boxes for images and class names, the pictures, and the answers for the one that is chosen.

gradio is imported when a page is built, after `quiet_gradio` sets it to stay on this machine. What the page shows
is HTML of templates, which escape everything that comes from files and visitors.
"""

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import jinja2

from mocoop.errors import ConfigError, MocoopError, one_line
from mocoop.images import IMAGE_SUFFIXES
from mocoop.runs.trained_run import TrainedRun
from mocoop.serve.session import Answer, AnsweredImage, Expert, Session

if TYPE_CHECKING:
    from gradio import Blocks

_LOADER = jinja2.PackageLoader("mocoop.serve", "template")
_ENVIRONMENT = jinja2.Environment(
    loader=_LOADER,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def asset(name: str) -> str:
    """A file of the template folder as text."""
    return _LOADER.get_source(_ENVIRONMENT, name)[0]


def heading(runs: Sequence[TrainedRun]) -> str:
    """The page's head: which runs answer."""
    return _ENVIRONMENT.get_template("heading.html").render(runs=[(title(run), facts(run)) for run in runs])


def title(run: TrainedRun) -> str:
    return one_line(f"{run.method.entry.name} on {run.cfg.DATASET.NAME}", 80)


def facts(run: TrainedRun) -> str:
    """What tells a run from others of its method and data."""
    shots = [f"{run.cfg.DATASET.NUM_SHOTS} shots"] if run.checkpoint and run.cfg.DATASET.NUM_SHOTS > 0 else []
    experts = [f"{len(run.group_names)} experts"] if run.group_names else []
    backbone = run.cfg.MODEL.BACKBONE.NAME.rsplit("/", 1)[-1] if "." in run.cfg.MODEL.BACKBONE.NAME else None
    return " · ".join([f"CLIP {backbone or run.cfg.MODEL.BACKBONE.NAME}", *shots, *experts, f"seed {run.cfg.SEED}"])


def notice(text: str, is_error: bool = False) -> str:
    """One line above the answers; empty for an empty text."""
    return _ENVIRONMENT.get_template("notice.html").render(text=one_line(text, 500), is_error=is_error) if text else ""


def caption(seen: AnsweredImage) -> str:
    """What stands below a picture among others."""
    name, probability = seen.answers[0].classes[0]
    return f"{'' if seen.agreed else '≠ '}{one_line(name, 40)} {100 * probability:.0f}\u00a0%"


def summary(images: Sequence[AnsweredImage]) -> str:
    """How many images there are, and for two runs, on how many they agree."""
    if len(images) == 1:
        return "1 image."
    agreed = f"; both runs name the same class for {sum(seen.agreed for seen in images)}"
    return f"{len(images)} images{agreed if len(images[0].answers) > 1 else ''}. Choose one to see why."


def details(seen: AnsweredImage, runs: Sequence[TrainedRun]) -> str:
    """The answers to one image, a card for each run."""
    cards = [(title(run), facts(run), answer, why(answer)) for run, answer in zip(runs, seen.answers)]
    return _ENVIRONMENT.get_template("answers.html").render(seen=seen, cards=cards, bar=bar)


def why(answer: Answer) -> str:
    """Who answered, and whether the groups' own similarity would have chosen the same; empty without experts."""
    if not answer.experts:
        return ""
    chosen = [expert for expert in answer.experts if expert.weight is not None]
    nearest = sorted(answer.experts, key=lambda expert: -expert.similarity)[: len(chosen)]
    shared = {expert.name for expert in chosen} & {expert.name for expert in nearest}
    who = _and([f"{expert.name} ({100 * (expert.weight or 0):.0f} %)" for expert in chosen])
    agreement = "the same" if len(shared) == len(chosen) else _and([expert.name for expert in nearest])
    return f"{who} answered. Nearest by hand-written prompts: {agreement}."


def bar(value: float, experts: Sequence[Expert]) -> float:
    """Width in percent of a similarity's bar, from the least similar group to the most similar."""
    values = [expert.similarity for expert in experts]
    low, high = min(values), max(values)
    return 100 * (value - low) / (high - low) if high > low else 100


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


HINT = "Images appear here once you drop some."
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]  # of the visitor's machine
LARGEST_FILE = "64mb"
# The browser itself refuses whatever is not from this server.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "form-action 'self'; frame-ancestors 'none'"
)


def check_gradio_installed() -> None:
    """Raises ConfigError unless the package is there."""
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("the page needs the package gradio: pip install gradio")


@contextlib.contextmanager
def quiet_gradio() -> Iterator[None]:
    """gradio without telemetry and look-ups, its copies of what is uploaded in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mocoop-serve-") as folder:
        os.environ |= {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": folder,
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        yield


class WithPolicy:
    """ASGI middleware that adds POLICY to every answer."""

    def __init__(self, app: Callable):
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def send_with(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with)


def serve(session: Session, host: str = "127.0.0.1", port: int | None = None) -> "Blocks":
    """Serve the page from a thread; the running page, with its address in `local_url`.

    Raises ConfigError where no port is free.
    """
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    page, hues = build(session), {"primary_hue": "blue", "neutral_hue": "slate"}
    theme = gr.themes.Base(**hues, radius_size="lg", font=FONTS, font_mono=["monospace"])
    allowed = ["127.0.0.1", "localhost", "[::1]"] if host in ("127.0.0.1", "localhost", "::1") else ["*"]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=allowed), Middleware(WithPolicy)]
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            run_history=False,
            footer_links=[],
            max_file_size=LARGEST_FILE,
            app_kwargs={"middleware": middleware},
            theme=theme,
            css=asset("style.css"),
            head=f"<script>{asset('drop.js')}</script>",
        )
    except OSError as error:
        raise ConfigError(f"the page cannot be served on {host}: {error}") from error
    return page


def build(session: Session) -> "Blocks":
    """The page as gradio's Blocks."""
    import gradio as gr

    def show(paths: list[str], text: str) -> tuple:
        """Everything that the answers to some files change."""
        if not paths:
            return paths, [], gr.Gallery(visible=False), notice(HINT), ""
        try:
            images, left_out = session.answer(paths, session.names_in(text))
        except MocoopError as error:
            return paths, [], gr.Gallery(visible=False), notice(str(error), is_error=True), ""
        gallery = gr.Gallery([(seen.picture, caption(seen)) for seen in images], visible=True, selected_index=0)
        line = f"{summary(images)} {left_out}"
        return paths, images, gallery, notice(line), details(images[0], session.runs)

    def choose(images: list[AnsweredImage], event: gr.SelectData) -> str:
        return details(images[event.index], session.runs)

    with gr.Blocks(title="mocoop", analytics_enabled=False) as page:
        gr.HTML(heading(session.runs), padding=False)
        paths, images = gr.State([]), gr.State([])
        with gr.Row(elem_id="mc-body"):
            with gr.Column():
                files = gr.File(
                    label="Images, or a folder", file_count="multiple", file_types=list(IMAGE_SUFFIXES), height=150,
                    elem_id="mc-images",
                )  # fmt: skip
                folder = gr.UploadButton("Choose a folder", file_count="directory", elem_id="mc-folder", size="sm")
                names = gr.Textbox(
                    "\n".join(session.names), label="Class names, one on each line", lines=8, max_lines=14,
                    elem_id="mc-names",
                )  # fmt: skip
                with gr.Row():
                    use = gr.Button("Use these", variant="primary", min_width=120, elem_id="mc-use")
                    reset = gr.Button("Reset", min_width=120, elem_id="mc-reset")
            with gr.Column():
                line = gr.HTML(notice(HINT), padding=False)
                gallery = gr.Gallery(
                    visible=False, columns=6, allow_preview=False, object_fit="contain", show_label=False,
                    buttons=[], elem_id="mc-gallery",
                )  # fmt: skip
                answers = gr.HTML(padding=False)
        shown = [paths, images, gallery, line, answers]
        quietly = {"api_visibility": "private", "show_progress": "minimal"}
        for box in (files, folder):
            box.upload(show, [box, names], shown, **quietly).then(lambda: None, None, box, **quietly)
        use.click(show, [paths, names], shown, **quietly)
        reset.click(lambda: "\n".join(session.names), None, names, **quietly).then(
            show, [paths, names], shown, **quietly
        )
        gallery.select(choose, images, answers, **quietly)
    return page
