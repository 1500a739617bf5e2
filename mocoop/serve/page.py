"""The page in gradio: boxes for images and class names, the pictures, and the answers for the one that is chosen.

gradio is imported when a page is built, after `quiet_gradio` has told it to stay on this machine.
"""

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mocoop.errors import ConfigError, MocoopError
from mocoop.images import IMAGE_SUFFIXES
from mocoop.serve import view
from mocoop.serve.session import Seen, Session

if TYPE_CHECKING:
    from gradio import Blocks
    from gradio.themes import Base

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
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    page = build(session)
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
            theme=_theme(),
            css=view.asset("style.css"),
            head=f"<script>{view.asset('drop.js')}</script>",
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
            return paths, [], gr.Gallery(visible=False), view.notice(HINT), ""
        try:
            images, left_out = session.look(paths, session.names_in(text))
        except MocoopError as error:
            return paths, [], gr.Gallery(visible=False), view.notice(str(error), is_error=True), ""
        gallery = gr.Gallery([(seen.picture, view.caption(seen)) for seen in images], visible=True, selected_index=0)
        line = f"{view.summary(images)} {left_out}"
        return paths, images, gallery, view.notice(line), view.details(images[0], session.runs)

    def choose(images: list[Seen], event: gr.SelectData) -> str:
        return view.details(images[event.index], session.runs)

    with gr.Blocks(title="mocoop", analytics_enabled=False) as page:
        gr.HTML(view.heading(session.runs), padding=False)
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
                notice = gr.HTML(view.notice(HINT), padding=False)
                gallery = gr.Gallery(
                    visible=False, columns=6, allow_preview=False, object_fit="contain", show_label=False,
                    buttons=[], elem_id="mc-gallery",
                )  # fmt: skip
                answers = gr.HTML(padding=False)
        shown = [paths, images, gallery, notice, answers]
        quietly = {"api_visibility": "private", "show_progress": "minimal"}
        for box in (files, folder):
            box.upload(show, [box, names], shown, **quietly).then(lambda: None, None, box, **quietly)
        use.click(show, [paths, names], shown, **quietly)
        reset.click(lambda: "\n".join(session.names), None, names, **quietly).then(
            show, [paths, names], shown, **quietly
        )
        gallery.select(choose, images, answers, **quietly)
    return page


def _theme() -> "Base":
    import gradio as gr

    return gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", radius_size="lg", font=FONTS, font_mono=["monospace"]
    )
