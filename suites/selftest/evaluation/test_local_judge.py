"""A transformers model as the judge: by the more probable word, and by what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from editverdict.evaluation import local_judge
from editverdict.evaluation.judge_prompt import CHOICE, RULES, item_text
from editverdict.evaluation.judging import Item, Judgement
from editverdict.evaluation.local_judge import LocalJudge, _chosen
from editverdict.generation.decode import Answer
from editverdict.schema.judges import LocalJudgeSpec
from suites.selftest.evaluation.endpoint import RIGHT, WRONG
from suites.selftest.models.toys import assert_untouched, toy

TOY = "rehearsal-llama"
YES, NO = '{"verdict": "yes", "reason": "r"}', '{"verdict": "no", "reason": "r"}'


def judge(**settings: Any) -> LocalJudge:
    fields = {"id": "j", "format": "local", "model": TOY, "prompt_form": "completion", **settings}
    return LocalJudge(LocalJudgeSpec.model_validate(fields), toy(TOY))


def test_the_more_probable_word_decides() -> None:
    """Against a forward pass by hand, one item at a time."""
    one = judge(reply="choice", batch_size=2)
    said = one.judge_many([RIGHT, WRONG, Item("?", ("a",), "b")])
    loaded = toy(TOY)
    for item, judgement in zip([RIGHT, WRONG, Item("?", ("a",), "b")], said, strict=True):
        prompt = f"{RULES}\n\n{CHOICE}\n\n{item_text(item)}\n\nVerdict:"
        ids = loaded.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = loaded.model(ids).logits[0, -1]
        yes, no = (logits[loaded.tokenizer(f" {word}")["input_ids"][0]].item() for word in ("yes", "no"))
        assert judgement.verdict == ("yes" if yes > no else "no")
        assert float(judgement.reason.rpartition("= ")[2]) == pytest.approx(yes - no, abs=2e-3)
        assert (judgement.replies, judgement.tokens_in, judgement.tokens_out) == (1, ids.shape[1], 0)
    assert_untouched(loaded)


def test_equal_probabilities_decide_nothing() -> None:
    assert _chosen(-1.5, -1.5, 7) == Judgement("undecided", "yes and no are equally probable", 1, 7, 0)


@pytest.mark.parametrize("form", ["completion", "chat"])
def test_a_model_that_writes_nonsense_decides_nothing(form: str) -> None:
    said = judge(reply="text", prompt_form=form, max_tokens=16, replies=2).judge_many([RIGHT, WRONG])
    for one in said:
        assert one.verdict == "undecided" and one.correct is None and one.replies == 2
        assert one.reason.startswith("the last reply: ") and (one.tokens_in or 0) > 200 and (one.tokens_out or 0) >= 2
    assert_untouched(toy(TOY))


def test_what_it_writes_is_read_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies put into its mouth: the first is read, the second only at the second time, the third never."""
    script = {RIGHT.answer: [YES], WRONG.answer: ["Hm.", NO], "b": ["Hm.", YES[:-1]]}
    seen: list[list[str]] = []

    def replies(_model: Any, _tokenizer: Any, prompts: Sequence[str], *_: Any, **__: Any) -> list[Answer]:
        seen.append(list(prompts))
        turn = len(seen) - 1
        texts = [next(said[turn] for answer, said in script.items() if f'"{answer}"' in prompt) for prompt in prompts]
        return [Answer(text, text, (1, 2, 3), "limit" if text == YES[:-1] else "eos") for text in texts]

    monkeypatch.setattr(local_judge, "greedy_answers", replies)
    said = judge(reply="text", replies=2).judge_many([RIGHT, WRONG, Item("?", ("a",), "b")])
    assert [(one.verdict, one.replies, one.tokens_out) for one in said] == [
        ("yes", 1, 3),
        ("no", 2, 6),
        ("undecided", 2, 6),
    ]
    assert "cut off" in said[2].reason
    assert [len(prompts) for prompts in seen] == [3, 2], "only what is open is asked again"
    assert seen[1][0].startswith(seen[0][1].removesuffix("\nReply:")) and "Hm." in seen[1][0]
    assert all(prompt.endswith("\nReply:") for prompts in seen for prompt in prompts)


def test_batches_are_kept_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption in the second batch leaves the verdicts of the first."""
    kept: list[int] = []
    one = judge(reply="choice", batch_size=2)
    choose = one._choose

    def once(items: Sequence[Item]) -> list[Judgement]:
        if kept:
            raise KeyboardInterrupt
        return choose(items)

    monkeypatch.setattr(one, "_choose", once)

    def keep(number: int, make: Any) -> Judgement:
        made: Judgement = make()
        kept.append(number)
        return made

    with pytest.raises(KeyboardInterrupt):
        one.judge_many([RIGHT, WRONG, RIGHT], keep)
    assert kept == [0, 1]


def test_the_id_holds_what_a_verdict_depends_on() -> None:
    first = judge().id
    assert judge(batch_size=3).id == first and judge(id="other").id == first
    others = [judge(reply="choice"), judge(replies=1), judge(max_tokens=20), judge(prompt_form="chat")]
    assert len({first, *(one.id for one in others)}) == 5
