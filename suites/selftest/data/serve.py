"""A small server of files for tests, run as a process of its own: a hub's way of naming files, and ways to fail.

``python serve.py FOLDER`` prints its port. ``/files/NAME`` and ``/datasets/OWNER/REPO/resolve/REVISION/NAME`` give
``FOLDER/NAME``; ``/short/NAME`` breaks off half-way, ``/error/NAME`` answers 500. ``requests.log`` says what was asked.
"""

from __future__ import annotations

import hashlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[1])
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        with (FOLDER / "requests.log").open("a", encoding="utf-8") as log:
            log.write(f"{self.command} {self.path}\n")
        parts = self.path.split("?")[0].strip("/").split("/")
        way = parts[0]
        name = "/".join(parts[5:] if way == "datasets" else parts[1:])
        file = FOLDER / name
        if way == "error":
            return self.send_error(500)
        if way not in ("files", "short", "datasets") or not file.is_file():
            return self.send_error(404)
        data = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if way == "short" else data)
        self.close_connection = True


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
