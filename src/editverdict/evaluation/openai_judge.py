"""A model behind an OpenAI-compatible endpoint as the judge.

The package's own retries are switched off: their pauses cannot be set, and they are not counted. Requests go out from a
few threads, no more than the spec allows at once. What goes wrong is of two kinds. Either the *endpoint* failed (nobody
there, overloaded, an internal error, silence, half a response, no chat completion): the request is repeated after a
pause, and if it fails to the last, judging ends with a `JudgeError` and nothing is noted about the answer. Or the
*model* gave no verdict (no JSON, half of it, other fields, a refusal): it is told so and asked again, and if it fails
to the last, the answer is undecided.

The key is read from the environment when it is needed, handed to the client, and taken out of every text that the
endpoint sends, should it send it back.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from editverdict.evaluation.judge_prompt import (
    FORM,
    RULES,
    SCHEMA,
    SHOWN,
    Undecidable,
    again,
    item_text,
    prompt_hash,
    read_reply,
)
from editverdict.evaluation.judging import Item, JudgeError, Judgement, JudgeNeeds, Keep, make_now
from editverdict.schema.judges import OpenAIJudgeSpec

if TYPE_CHECKING:
    from openai import OpenAI

ADDRESS = "OPENAI_BASE_URL"
DEFAULT_ADDRESS = "https://api.openai.com/v1"
SHORTEST_KEY = 8
"""A shorter one (``none``, ``EMPTY``) is no secret, and could not be told from ordinary words."""
TEMPERATURE = 0.0
_AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may succeed."""
_Form = tuple[str, dict[str, Any]]
"""Name and JSON Schema of a reply's form."""
VERDICT: _Form = ("verdict", SCHEMA)
_LOG = logging.getLogger("editverdict.judge")


class _Failed(Exception):
    """One attempt failed; another may not."""

    def __init__(self, what: str, pause: float | None = None) -> None:
        super().__init__(what)
        self.pause = pause
        """Seconds that the endpoint asks to wait."""


class _Stopped(JudgeError):
    """Given up because another request failed, which is the error to tell."""


@dataclass(frozen=True)
class _Said:
    """What came back from one request."""

    text: str | None
    cut: bool
    refusal: str | None
    tokens_in: int | None
    tokens_out: int | None


@dataclass
class OpenAIJudge:
    """Asks an endpoint about every answer."""

    spec: OpenAIJudgeSpec
    workers: int = 1
    """Processes that judge at the same time; each takes its share of the requests under way."""
    reads: bool = field(default=True, init=False)
    _key: str = field(default="", init=False, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    @property
    def address(self) -> str:
        """Where the endpoint is.

        Raises
        ------
        JudgeError
            The address in the environment holds what may be a key.
        """
        address = self.spec.base_url or os.environ.get(ADDRESS) or DEFAULT_ADDRESS
        if any(sign in address for sign in "@?#"):
            raise JudgeError(
                f"judge '{self.spec.id}': the address in {ADDRESS} holds a user, a key or a query; expected one like "
                f"http://host:port/v1, and the key in the variable {self.spec.key_env}"
            )
        return address.rstrip("/")

    def fields(self) -> dict[str, Any]:
        """Model, where it is (or which weights it has), prompt and what shapes the reply."""
        spec = self.spec
        return {
            "format": "openai",
            "model": spec.model,
            "endpoint": None if spec.weights else self.address,
            "weights": spec.weights,
            "prompt": prompt_hash(),
            "temperature": TEMPERATURE,
            "structured": spec.structured,
            "max_tokens": spec.max_tokens,
            "replies": spec.replies,
        }

    @property
    def id(self) -> str:
        """16 hexadecimal digits over the fields."""
        return hashlib.sha256(json.dumps(self.fields(), sort_keys=True).encode()).hexdigest()[:16]

    def judge_many(self, items: Sequence[Item], keep: Keep = make_now) -> list[Judgement]:
        """Judge answers, several at once.

        Raises
        ------
        JudgeNeeds
            The environment has no key.
        JudgeError
            The endpoint refused, or failed to the last attempt; requests that were under way are finished and kept
            first, the others are not begun.
        """
        if not items:
            return []
        client = self._client()
        self._stop.clear()
        share = max(1, self.spec.concurrency // max(self.workers, 1))
        with ThreadPoolExecutor(max_workers=min(share, len(items)), thread_name_prefix="judge") as pool:
            futures = [pool.submit(self._begin, client, item, number, keep) for number, item in enumerate(items)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                # Also on Ctrl-C: pauses end at once, nothing new begins, what is under way is finished and kept.
                self._stop.set()
                for future in futures:
                    future.cancel()
        return _results(futures)

    def complete(self, prompt: str, name: str, schema: dict[str, Any]) -> str:
        """What the model replies to a prompt, of a form that is not a verdict; a refusal is a reply, too.

        Parameters
        ----------
        prompt
            All that the model is told.
        name, schema
            The reply's form, for endpoints that can hold a model to one.

        Raises
        ------
        JudgeNeeds
            The environment has no key.
        JudgeError
            The endpoint refused, or failed to the last attempt.
        """
        client = self._client()
        said = self._ask(client, [{"role": "user", "content": prompt}], (name, schema))
        return self._clean(said.text or said.refusal or "")

    def _begin(self, client: OpenAI, item: Item, number: int, keep: Keep) -> Judgement:
        """Judge and keep one answer, unless another has failed."""
        if self._stop.is_set():
            raise _Stopped(self._told("not begun because another request failed"))
        try:
            return keep(number, lambda: self._judge(client, item))
        except BaseException:
            self._stop.set()
            raise

    # ------------------------------------------------------------------ one answer
    def _judge(self, client: OpenAI, item: Item) -> Judgement:
        """Ask until a reply can be read."""
        messages = [{"role": "system", "content": f"{RULES}\n\n{FORM}"}, {"role": "user", "content": item_text(item)}]
        said: list[_Said] = []
        problem = ""
        for _ in range(self.spec.replies):
            said.append(self._ask(client, messages))
            try:
                found = read_reply(_usable(said[-1]))
            except Undecidable as unread:
                problem = self._clean(str(unread))
                replied = {"role": "assistant", "content": (said[-1].text or "")[:SHOWN]}
                messages = [*messages[:2], replied, {"role": "user", "content": again(problem)}]
                continue
            judgement = found.judgement(len(said), *_tokens(said))
            return Judgement(**{**judgement.record(), "reason": self._clean(judgement.reason)})
        return Judgement("undecided", f"the last reply: {problem}"[:SHOWN], len(said), *_tokens(said))

    def _ask(self, client: OpenAI, messages: list[dict[str, str]], form: _Form = VERDICT) -> _Said:
        """Send one request as often as it takes."""
        pause = self.spec.backoff_seconds
        for attempt in range(1, self.spec.attempts + 1):
            try:
                return self._send(client, messages, form)
            except _Failed as failed:
                what, wanted = str(failed), failed.pause
            if wanted is not None and wanted > self.spec.backoff_max_seconds:
                limit = f"'backoff_max_seconds' is {self.spec.backoff_max_seconds:g}"
                raise JudgeError(self._told(f"{what}; it asks to wait {wanted:g} s, and {limit}"))
            if attempt < self.spec.attempts:
                now = max(min(pause, self.spec.backoff_max_seconds), wanted or 0.0)
                _LOG.info("judge %s: %s; attempt %d in %.3g s", self.spec.id, what, attempt + 1, now)
                if self._stop.wait(now):
                    raise _Stopped(self._told("stopped because another request failed"))
                pause *= 2
        raise JudgeError(self._told(f"{what}, {self.spec.attempts} times in a row"))

    def _send(self, client: OpenAI, messages: list[dict[str, str]], form: _Form) -> _Said:
        """One request.

        Raises
        ------
        _Failed
            A further attempt may succeed.
        JudgeError
            None can.
        """
        import openai

        wanted = _response_format(self.spec, form)
        request: dict[str, Any] = {
            "model": self.spec.model,
            "messages": messages,
            "temperature": TEMPERATURE,
            self.spec.limit_as: self.spec.max_tokens,
            **({"response_format": wanted} if wanted else {}),
        }
        try:
            made = client.chat.completions.create(**request)
        except openai.APITimeoutError:
            raise _Failed(f"silence for {self.spec.timeout_seconds:g} s") from None
        except openai.APIConnectionError as error:
            why = type(error.__cause__).__name__ if error.__cause__ else "no connection"
            raise _Failed(f"no connection, or one that broke off ({why})") from None
        except openai.APIStatusError as error:
            raise self._status(error) from None
        except (openai.OpenAIError, ValueError) as error:
            raise _Failed(f"a response that cannot be read ({type(error).__name__})") from None
        return _said(made)

    def _status(self, error: Any) -> Exception:
        """What a status other than success means: try again, or give up."""
        status = int(error.status_code)
        if status in (401, 403):
            # The endpoint's own words are left out: some quote the key, or parts of it.
            where = f"the key in the variable {self.spec.key_env}" if self.spec.key_env else "'key_env' (it is null)"
            return JudgeError(self._told(f"status {status}, access refused; check {where}"))
        words = " ".join(self._clean(str(error.message)).split())[:SHOWN]
        if (status in _AGAIN or status >= 500) and error.code != "insufficient_quota":
            return _Failed(f"status {status}", _retry_after(error.response.headers.get("retry-after")))
        hint = " (a server that does not know 'response_format' needs 'structured: none')" if status == 400 else ""
        return JudgeError(self._told(f"{words or f'status {status}'}{hint}"))

    # ------------------------------------------------------------------ the client, its key, and words without it
    def _client(self) -> OpenAI:
        """A client with the key.

        Raises
        ------
        JudgeNeeds
            The environment has no key.
        """
        from openai import OpenAI

        variable = self.spec.key_env
        self._key = os.environ.get(variable, "") if variable else ""
        if variable and not self._key:
            raise JudgeNeeds(
                f"needs a key for judge '{self.spec.id}' in the environment variable {variable} (an endpoint without "
                "keys: 'key_env: null' in its spec)"
            )
        return OpenAI(
            api_key=self._key or "none",
            base_url=self.address,
            timeout=self.spec.timeout_seconds,
            max_retries=0,
        )

    def _clean(self, text: str) -> str:
        """A text of the endpoint without the key."""
        return text.replace(self._key, "[key]") if len(self._key) >= SHORTEST_KEY else text

    def _told(self, what: str) -> str:
        place = f"judge '{self.spec.id}' (model {self.spec.model} at {self.address})"
        return self._clean(f"{place}: {what}.")


def _results(futures: Sequence[Future[Judgement]]) -> list[Judgement]:
    """The judgements of all, or the error that ended the judging."""
    ended = [future for future in futures if not future.cancelled()]
    errors = [error for future in ended if (error := future.exception()) is not None]
    if not errors:
        return [future.result() for future in futures]
    error = next((one for one in errors if not isinstance(one, _Stopped)), errors[0])
    if isinstance(error, JudgeError):
        done = len(ended) - len(errors)
        raise JudgeError(f"{error} {done} of {len(futures)} answers were judged, and are kept.") from None
    raise error


def _response_format(spec: OpenAIJudgeSpec, form: _Form) -> dict[str, Any] | None:
    if spec.structured == "json_schema":
        name, schema = form
        return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
    return {"type": "json_object"} if spec.structured == "json_object" else None


def _said(made: Any) -> _Said:
    """Text and counts of a chat completion; the package checks next to nothing, so all is looked at here.

    Raises
    ------
    _Failed
        What came back is no chat completion.
    """
    choices = getattr(made, "choices", None)
    first = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(first, "message", None)
    text, refusal = getattr(message, "content", None), getattr(message, "refusal", None)
    if message is None or not isinstance(text, str | None):
        raise _Failed("a response that is no chat completion")
    usage = getattr(made, "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    read, written = (one if isinstance(one, int) else None for one in counts)
    cut = getattr(first, "finish_reason", None) == "length"
    return _Said(text, cut, refusal if isinstance(refusal, str) else None, read, written)


def _usable(said: _Said) -> str | None:
    """The text of a reply that is whole.

    Raises
    ------
    Undecidable
        The model refused, or was cut off.
    """
    if said.refusal:
        raise Undecidable("it is a refusal")
    if said.cut:
        raise Undecidable("it was cut off for its length")
    return said.text


def _tokens(said: Sequence[_Said]) -> tuple[int | None, int | None]:
    """Sums over the replies; None where one of them was not counted."""
    read, written = [one.tokens_in for one in said], [one.tokens_out for one in said]
    return _sum(read), _sum(written)


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [one for one in counts if one is not None]
    return sum(known) if len(known) == len(counts) else None


def _retry_after(header: str | None) -> float | None:
    """Seconds to wait: a number, or a date; None for anything else."""
    if header is None:
        return None
    try:
        seconds = float(header)
        return None if math.isnan(seconds) else max(seconds, 0.0)
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    return max((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp(), 0.0)
