"""The judge behind an endpoint, against a real server that fails in every way."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from editverdict.evaluation.judge_prompt import SCHEMA
from editverdict.evaluation.judging import Item, JudgeError, Judgement, JudgeNeeds, cost_of
from editverdict.evaluation.openai_judge import OpenAIJudge
from suites.selftest.evaluation.endpoint import KEY, RIGHT, VARIABLE, WRONG, Endpoint, free_port


def many(n: int, answer: str = "Paris") -> list[Item]:
    return [Item(f"What is the capital of country {i}?", ("Paris",), f"{answer} {i}") for i in range(n)]


def gaps(stats: dict[str, Any]) -> list[float]:
    return [b - a for a, b in zip(stats["times"], stats["times"][1:], strict=False)]


# --------------------------------------------------------------------------- a server that works
def test_verdicts_and_what_is_sent(endpoint: Endpoint) -> None:
    said = endpoint.judge("honest").judge_many([RIGHT, WRONG, RIGHT])
    assert [one.verdict for one in said] == ["yes", "no", "yes"]
    assert [one.correct for one in said] == [True, False, True]
    assert said[0] == Judgement("yes", "looked at the words", 1, 100, 10)
    stats = endpoint.stats()
    assert stats["keys"] == [f"Bearer {KEY}"] * 3
    for body in stats["bodies"]:
        assert body["temperature"] == 0 and body["max_tokens"] == 200 and body["model"] == "honest"
        assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    cost = cost_of(said)
    assert (cost.judged, cost.undecided, cost.tokens_in, cost.tokens_out, cost.uncounted) == (3, 0, 300, 30, 0)


def test_order_of_results_is_that_of_the_items(endpoint: Endpoint) -> None:
    items = [Item("?", ("Paris",), f"{'Paris' if i % 3 else 'Rome'} {i}") for i in range(30)]
    said = endpoint.judge("honest").judge_many(items)
    assert [one.verdict for one in said] == ["yes" if i % 3 else "no" for i in range(30)]


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"structured": "none"}, None),
        ({"structured": "json_object"}, {"type": "json_object"}),
        ({"limit_as": "max_completion_tokens", "max_tokens": 77}, ...),
    ],
)
def test_servers_that_know_less(endpoint: Endpoint, settings: dict[str, Any], sent: Any) -> None:
    assert endpoint.judge("honest", **settings).judge_many([RIGHT])[0].verdict == "yes"
    (body,) = endpoint.stats()["bodies"]
    if sent is ...:
        assert body["max_completion_tokens"] == 77 and "max_tokens" not in body
    else:
        assert body.get("response_format") == sent


def test_tokens_that_are_not_counted_are_unknown_and_not_zero(endpoint: Endpoint) -> None:
    said = endpoint.judge("uncounted").judge_many([RIGHT])
    assert said[0].tokens_in is None and cost_of(said).uncounted == 1


def test_nothing_to_judge_asks_nobody() -> None:
    assert OpenAIJudge(Endpoint(free_port()).spec("honest")).judge_many([]) == []


def test_a_reply_of_another_form(endpoint: Endpoint) -> None:
    """The same client for what is no verdict: the prompt is all that is sent, and the form is the caller's."""
    form = {"type": "object", "properties": {"triples": {"type": "array"}}, "required": ["triples"]}
    prompt = json.dumps({"accepted_answers": ["Paris"], "answer": "Paris"})
    said = endpoint.judge("honest").complete(prompt, "triples", form)
    (body,) = endpoint.stats()["bodies"]
    assert json.loads(said)["verdict"] == "yes"  # what it says is handed on as it is
    assert [one["content"] for one in body["messages"]] == [prompt]
    sent = body["response_format"]["json_schema"]
    assert (sent["name"], sent["schema"]) == ("triples", form)
    with pytest.raises(JudgeError, match="access refused"):
        endpoint.judge("status:9:401").complete(prompt, "triples", form)


# --------------------------------------------------------------------------- an endpoint that fails
@pytest.mark.parametrize(
    "model",
    [
        *("status:2:429", "status:2:500", "status:2:503", "status:2:408", "hang:1:2"),
        *("broken:2", "html:2", "torn:2", "envelope:2", "strange:2"),
    ],
)
def test_a_failure_that_passes_is_asked_again(endpoint: Endpoint, model: str) -> None:
    said = endpoint.judge(model, timeout_seconds=0.5).judge_many([RIGHT, WRONG])
    assert [one.verdict for one in said] == ["yes", "no"]
    assert [one.replies for one in said] == [1, 1], "a failed request is no reply of the model"
    assert endpoint.stats()["requests"] == 2 * (1 + (1 if model.startswith("hang") else 2))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("status:9:429", "status 429"),
        ("status:9:500", "status 500"),
        ("hang:9:0.6", "silence for 0.2 s"),
        ("broken:9", "broke off"),
        ("html:9", "no chat completion"),
        ("torn:9", "cannot be read"),
        ("envelope:9", "no chat completion"),
        ("strange:9", "no chat completion"),
    ],
)
def test_a_failure_that_stays_is_an_error_and_no_verdict(endpoint: Endpoint, model: str, words: str) -> None:
    kept: list[Judgement] = []

    def keep(_number: int, make: Any) -> Judgement:
        kept.append(make())
        return kept[-1]

    with pytest.raises(JudgeError) as error:
        endpoint.judge(model, timeout_seconds=0.2, attempts=3).judge_many([RIGHT], keep)
    assert words in str(error.value) and "3 times in a row" in str(error.value)
    assert "'served'" in str(error.value) and endpoint.url in str(error.value)
    assert kept == [] and endpoint.stats()["requests"] == 3


def test_nobody_there() -> None:
    nowhere = Endpoint(free_port())
    start = time.monotonic()
    with pytest.raises(JudgeError, match=r"no connection.*ConnectError.*3 times in a row.*0 of 1 answers"):
        OpenAIJudge(nowhere.spec("honest", key_env=None, attempts=3)).judge_many([RIGHT])
    assert time.monotonic() - start >= 0.02 + 0.04


def test_pauses_double_up_to_the_longest(endpoint: Endpoint) -> None:
    settings = {"attempts": 6, "backoff_seconds": 0.1, "backoff_max_seconds": 0.3}
    endpoint.judge("status:5:500", **settings).judge_many([RIGHT])
    found = gaps(endpoint.stats())
    assert len(found) == 5
    for gap, pause in zip(found, [0.1, 0.2, 0.3, 0.3, 0.3], strict=True):
        assert pause <= gap < pause + 0.25


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_longer_pause_that_the_endpoint_asks_for_wins(endpoint: Endpoint, form: str) -> None:
    # A date has whole seconds: two from now is between one and two seconds away.
    after = "0.4" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    judge = endpoint.judge(f"status:1:429:{after.replace(':', '_')}", backoff_max_seconds=5.0)
    assert judge.judge_many([RIGHT])[0].verdict == "yes"
    (gap,) = gaps(endpoint.stats())
    assert gap >= 0.4


@pytest.mark.parametrize("after", ["soon", "nan", "-3"])
def test_a_pause_that_makes_no_sense_is_passed_over(endpoint: Endpoint, after: str) -> None:
    assert endpoint.judge(f"status:1:429:{after}").judge_many([RIGHT])[0].verdict == "yes"


@pytest.mark.parametrize("after", ["3600", "inf"])
def test_a_pause_longer_than_allowed_ends_it(endpoint: Endpoint, after: str) -> None:
    with pytest.raises(JudgeError, match=rf"asks to wait {after} s, and 'backoff_max_seconds' is 0.5"):
        endpoint.judge(f"status:9:429:{after}").judge_many([RIGHT])
    assert endpoint.stats()["requests"] == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "structured: none"),
        (401, f"check the key in the variable {VARIABLE}"),
        (403, "access refused"),
        (404, "no luck"),
    ],
)
def test_what_no_repetition_can_mend_is_not_repeated(endpoint: Endpoint, status: int, words: str) -> None:
    with pytest.raises(JudgeError) as error:
        endpoint.judge(f"status:9:{status}").judge_many([RIGHT])
    assert words in str(error.value) and endpoint.stats()["requests"] == 1


def test_one_that_fails_for_good_ends_the_pauses_of_the_others(endpoint: Endpoint) -> None:
    """Four in a pause of a minute; the one that is refused ends them all, and its error is the one that is told."""
    items = [*many(4), Item("?", ("a",), "refused")]
    judge = endpoint.judge("mixed", backoff_seconds=60.0, backoff_max_seconds=60.0, concurrency=5)
    start = time.monotonic()
    with pytest.raises(JudgeError, match=r"no luck.*0 of 5 answers were judged, and are kept"):
        judge.judge_many(items)
    assert time.monotonic() - start < 20 and endpoint.stats()["requests"] == 5


# --------------------------------------------------------------------------- a model that gives no verdict
@pytest.mark.parametrize("kind", ["prose", "half", "fields", "maybe", "empty", "two", "twice", "list", "refusal"])
def test_a_reply_that_cannot_be_read_is_asked_again_and_then_undecided(endpoint: Endpoint, kind: str) -> None:
    once, ever = endpoint.judge(f"{kind}:1"), endpoint.judge(f"{kind}:99")
    (mended,) = once.judge_many([RIGHT])
    assert (mended.verdict, mended.replies, mended.tokens_in) == ("yes", 2, 200)
    (open_,) = ever.judge_many([WRONG])
    assert open_.verdict == "undecided" and open_.correct is None and open_.replies == 3
    assert open_.reason.startswith("the last reply: ") and len(open_.reason) > 20
    roles = [[m["role"] for m in body["messages"]] for body in endpoint.stats()["bodies"]]
    assert roles[0] == ["system", "user"] and roles[1] == ["system", "user", "assistant", "user"]
    assert max(map(len, roles)) == 4, "the dialogue does not grow with every reply"
    told = endpoint.stats()["bodies"][1]["messages"][3]["content"]
    assert "cannot be used" in told and "verdict" in told


# --------------------------------------------------------------------------- several at once
@pytest.mark.parametrize(("concurrency", "workers", "most"), [(3, 1, 3), (1, 1, 1), (6, 3, 2), (2, 8, 1)])
def test_the_limit_of_requests_under_way_is_kept(endpoint: Endpoint, concurrency: int, workers: int, most: int) -> None:
    judge = OpenAIJudge(endpoint.spec("slow:0.1", concurrency=concurrency), workers=workers)
    assert {one.verdict for one in judge.judge_many(many(12 if most > 1 else 4))} == {"yes"}
    assert endpoint.stats()["most"] == most


# --------------------------------------------------------------------------- the key
def test_the_key_is_in_no_text(endpoint: Endpoint, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    """Whatever the endpoint sends back, at the most talkative level of every logger."""
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx2", "httpcore2", "httpx", "httpcore", "editverdict"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    texts: list[str] = []
    for model in ("honest", "echo", "echo-field", "status:1:429"):
        judge = endpoint.judge(model)
        texts += [repr(judge), repr(judge.fields()), *(one.reason for one in judge.judge_many([RIGHT]))]
    for status in (400, 401, 403, 404, 422, 429, 500):
        with pytest.raises(JudgeError) as error:
            endpoint.judge(f"echo-status:{status}", attempts=2).judge_many([RIGHT])
        texts += [str(error.value), repr(error.value), str(error.getrepr(style="short"))]
    assert any("[key]" in text for text in texts), "the server did send it back"
    everything = "\n".join([*texts, caplog.text, *capfd.readouterr()])
    assert len(caplog.text) > 1000 and KEY not in everything and KEY[8:] not in everything


def test_a_key_that_is_missing_is_named_by_its_variable(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    judge = endpoint.judge("honest")
    assert len(judge.id) == 16, "the id needs no key"
    with pytest.raises(JudgeNeeds, match=f"needs a key for judge 'served' in the environment variable {VARIABLE}"):
        judge.judge_many([RIGHT])
    assert endpoint.judge("honest", key_env=None).judge_many([RIGHT])[0].verdict == "yes"
    assert endpoint.stats()["keys"] == ["Bearer none"]


def test_an_address_with_a_key_in_it_is_refused_and_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{KEY}@127.0.0.1:1/v1")
    monkeypatch.setenv(VARIABLE, KEY)
    judge = OpenAIJudge(Endpoint(1).spec("honest", base_url=None))
    for use in (lambda: judge.id, lambda: judge.judge_many([RIGHT])):
        with pytest.raises(JudgeError, match="OPENAI_BASE_URL holds a user, a key or a query") as error:
            use()
        assert KEY not in str(error.value)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1/")
    assert judge.fields()["endpoint"] == "http://127.0.0.1:1/v1"


# --------------------------------------------------------------------------- identity
def test_the_id_holds_what_a_verdict_depends_on_and_nothing_else() -> None:
    base = Endpoint(1)
    first = base.judge("honest").id
    for same in ({"concurrency": 2}, {"timeout_seconds": 1.0}, {"attempts": 9}, {"key_env": None}, {"id": "other"}):
        assert base.judge("honest", **same).id == first
    others = ({"model": "yes"}, {"structured": "none"}, {"max_tokens": 50}, {"replies": 1}, {"base_url": "http://h/v1"})
    assert len({first, *(base.judge("honest", **other).id for other in others)}) == 1 + len(others)
    named = [OpenAIJudge(Endpoint(port).spec("honest", weights="m@1")) for port in (1, 2)]
    assert named[0].id == named[1].id != first
