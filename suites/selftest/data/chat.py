"""An OpenAI-compatible chat server for tests, run as a process: ``python chat.py ANSWERS.json LOG`` prints its port.

``ANSWERS.json`` is event -> list of answers, the first for the first question about it and so on (the last one again
and again); a number is an HTTP status to fail with.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

ANSWERS = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
LOG = Path(sys.argv[2])
LOCK = Lock()
ASKED: dict[str, int] = {}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        event = next(event for event in ANSWERS if f"Event: {event}" in prompt)
        with LOCK:
            number = ASKED.get(event, 0)
            ASKED[event] = number + 1
            with LOG.open("a", encoding="utf-8") as log:
                log.write(event + "\n")
        answer = ANSWERS[event][min(number, len(ANSWERS[event]) - 1)]
        if isinstance(answer, int):
            return self.send_error(answer)
        message = {"role": "assistant", "content": answer}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        text = json.dumps(
            {"id": "c", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
