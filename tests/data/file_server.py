"""A local file server with the quirks and faults of real ones."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclasses.dataclass
class Served:
    """A file and how it is sent."""

    content: bytes
    version: dict[str, str] = dataclasses.field(default_factory=lambda: {"ETag": '"1"'})
    status: int = 200
    kind: str = "application/octet-stream"
    ranges: bool = True  # whether it serves parts of the file
    sizes: list[int] = dataclasses.field(
        default_factory=list
    )  # the first replies break after so many bytes
    hold: threading.Event | None = None  # a reply waits for it before it breaks


class Server:
    """Files by path, and the path and headers of all requests so far."""

    def __init__(self, url: str):
        self.url = url
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def parts(self) -> list[str | None]:
        """The Range of each request."""
        return [headers.get("Range") for _, headers in self.requests]


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append((self.path, dict(self.headers)))
            served = server.files[self.path]
            content, start = served.content, 0
            asked = self.headers.get("Range")
            same = self.headers.get("If-Range") in served.version.values()
            if served.status == 200 and served.ranges and asked and same:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(served.status)
            for name, value in served.version.items():
                self.send_header(name, value)
            self.send_header("Content-Type", served.kind)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            most = served.sizes.pop(0) if served.sizes else len(content)
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content[start : start + most])
            if served.hold and start + most < len(content):
                served.hold.wait(60)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            for served in server.files.values():
                if served.hold:
                    served.hold.set()
            http.shutdown()
            thread.join()
