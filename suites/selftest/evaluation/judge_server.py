"""A server of chat completions as a process of its own, which behaves or misbehaves as the name of the model says.

``python judge_server.py`` prints its port. ``MODEL`` in a request is ``behaviour[:argument…]``; a behaviour with a
count N misbehaves towards each item N times and then judges as ``honest`` does: yes if an accepted answer is in the
answer, letter case aside. ``GET /stats`` tells what was asked. Nothing but the standard library: it must start at
once.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GUARD = threading.Lock()
SEEN: Counter[str] = Counter()
STATS: dict[str, Any] = {"requests": 0, "most": 0, "times": [], "bodies": [], "keys": []}
UNDER_WAY = 0
CONTENTS = {
    "prose": "Yes, I think that is right.",
    "half": '{"verdict": "yes", "rea',
    "fields": '{"correct": true}',
    "maybe": '{"verdict": "maybe", "reason": "who knows"}',
    "empty": "",
    "two": '{"verdict": "yes", "reason": "a"} {"verdict": "no", "reason": "b"}',
    "twice": '{"verdict": "yes", "verdict": "no", "reason": "a"}',
    "list": '["yes"]',
}


def honest(item: dict[str, Any]) -> str:
    right = any(one.casefold() in item["answer"].casefold() for one in item["accepted_answers"])
    return json.dumps({"verdict": "yes" if right else "no", "reason": "looked at the words"})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two packets: the second would wait 40 ms for the first's receipt

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        with GUARD:
            self.reply(200, {**STATS, "items": dict(SEEN)})

    def do_POST(self) -> None:
        global UNDER_WAY
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with GUARD:
            UNDER_WAY += 1
            STATS["requests"] += 1
            STATS["most"] = max(STATS["most"], UNDER_WAY)
            STATS["times"].append(time.monotonic())
            STATS["bodies"].append(body)
            STATS["keys"].append(self.headers.get("authorization"))
            user = body["messages"][:2][-1]["content"]  # behind the rules, where there are any
            SEEN[user] += 1
            nth = SEEN[user]
        try:
            self.behave(body, json.loads(user), nth)
        finally:
            with GUARD:
                UNDER_WAY -= 1

    def behave(self, body: dict[str, Any], item: dict[str, Any], nth: int) -> None:
        what, *rest = body["model"].split(":")
        key = self.headers.get("authorization", "").removeprefix("Bearer ")
        times = int(rest[0]) if rest and rest[0].isdigit() else 0
        if what in CONTENTS and nth <= times:
            return self.say(CONTENTS[what], cut=what == "half")
        if what == "refusal" and nth <= times:
            return self.say(None, refusal="I would rather not.")
        if what == "status" and nth <= times:
            return self.fail(int(rest[1]), *rest[2:])
        if what == "hang" and nth <= times:
            time.sleep(float(rest[1]))
            return self.say(honest(item))
        if what == "broken" and nth <= times:
            return self.broken()
        if what == "html" and nth <= times:
            return self.raw(200, b"<html>Welcome</html>", "text/html")
        if what == "torn" and nth <= times:
            return self.raw(200, b'{"choices": [', "application/json")
        if what == "envelope" and nth <= times:
            return self.reply(200, {"object": "list", "data": []})
        if what == "strange" and nth <= times:
            return self.reply(200, {"choices": ["yes"]})
        if what == "slow":
            time.sleep(float(rest[0]))
        if what == "poison" and rest[0] in item["answer"] and nth <= int(rest[2]):
            return self.fail(int(rest[1]))
        if what == "mixed":
            return self.fail(404 if item["answer"] == "refused" else 500)
        if what == "echo":
            return self.say(json.dumps({"verdict": "yes", "reason": f"your key is {key}"}))
        if what == "echo-field":
            return self.say(json.dumps({key: 1}))
        if what == "echo-status":
            return self.reply(int(rest[0]), {"error": {"message": f"Incorrect API key: {key}", "code": "x"}})
        if what == "yes":
            return self.say(json.dumps({"verdict": "yes", "reason": "always"}))
        return self.say(honest(item), usage=what != "uncounted")

    def say(self, text: str | None, *, cut: bool = False, refusal: str | None = None, usage: bool = True) -> None:
        message = {"role": "assistant", "content": text, "refusal": refusal}
        choice = {"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}
        counts = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        made = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        self.reply(200, {**made, **({"usage": counts} if usage else {})})

    def fail(self, status: int, after: str | None = None) -> None:
        headers = {"Retry-After": after.replace("_", ":")} if after else {}
        self.reply(status, {"error": {"message": "no luck", "type": "t", "param": None, "code": None}}, headers)

    def broken(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [{"mess')
        self.close_connection = True

    def reply(self, status: int, record: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self.raw(status, json.dumps(record).encode(), "application/json", headers)

    def raw(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in {"content-type": kind, "content-length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the client did not wait


class Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler)
    print(server.server_address[1], flush=True)  # noqa: T201
    server.serve_forever()
