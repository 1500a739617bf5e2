"""A web server on the loopback interface that misbehaves as told, for the tests of downloads."""

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What a path answers. Faults: the first `cuts` answers end after `cut_at` bytes, the first `stalls` pause."""

    body: bytes = b""
    status: int = 200
    etag: str = '"1"'
    ranges: bool = True
    cuts: int = 0
    cut_at: int = 0
    stalls: int = 0
    stall: float = 0.0
    length: bool = True


class Server:
    """`pages` by path; `requests` is the list of (path, Range header) that came in."""

    def __init__(self):
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str | None]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def put(self, path: str, body: bytes, **faults) -> str:
        self.pages[path] = Page(body, **faults)
        return f"http://127.0.0.1:{self._http.server_port}{path}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append((self.path, self.headers.get("Range")))
                page = server.pages.get(self.path, Page(status=404))
                try:
                    _answer(self, page)
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def log_message(self, *args):
                pass

        return Handler


def _answer(handler, page: Page) -> None:
    start, wanted = 0, handler.headers.get("Range")
    current = handler.headers.get("If-Range") in (None, page.etag)
    if wanted and page.ranges and current and page.status == 200:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    if start and start >= len(page.body):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(page.body)}")
        handler.end_headers()
        return
    body = page.body[start:]
    handler.send_response(206 if start else page.status)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(page.body) - 1}/{len(page.body)}")
    if page.etag:
        handler.send_header("ETag", page.etag)
    if page.length:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if page.cuts > 0:
        page.cuts -= 1
        body = body[: page.cut_at]
    handler.wfile.write(body[: len(body) // 2])
    if page.stalls > 0:
        page.stalls -= 1
        handler.wfile.flush()
        time.sleep(page.stall)
    handler.wfile.write(body[len(body) // 2 :])
