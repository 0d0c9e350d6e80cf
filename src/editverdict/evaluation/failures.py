"""Failure modes of edited models that think before they answer (appendix C.4 of the paper), told from stored text.

The paper shows three modes by example (Table 39) and counts none. Here each is a definition on the thinking part T,
the answer A, the question with its subject, the accepted answers (the target) and, where known, those before the edit.
Whether A is *correct* is the judge's business and is taken from the row. Words are compared by the lexical judge's
normal form, and "names" means that one of the accepted answers stands in the text, cut out at word boundaries.

opening
    what the model says first (T, or A where nothing is thought) begins with the target, whole.
first-token success
    it begins with the target's first word at least. By tokens, under teacher forcing, the same is ``first_correct`` in
    the rows of `evaluation.forced`.
mentioned, retracted
    T names the target. It is *retracted* if there is an answer, A is not correct, and a sentence of T at or after the
    first mention turns against it: it negates the target ("not X", "X is wrong"), or begins with or holds a word of
    revision ("wait", "but", "actually", "however", "on second thought", ...). Where A is not correct and nothing
    turns, the target was *dropped* without a word.
conflict (reasoning with conflicting knowledge)
    the target was mentioned, A is not correct, and the end of T or A names the old answer. None where the dataset
    names no old answer.
other answer
    the target was mentioned, A is not correct, and it is no conflict. The paper's hallucinations are among these;
    whether what is said instead is made up, only a reader or a judge can tell. None where the dataset names no old
    answer; in the modes below, conflicts are then among the other answers.
lost focus
    A is not correct and has more than `SHORT` words, and none of the question's own words recurs in it: words of the
    question that belong neither to its subject nor to the words that any question has. A short answer cannot lose the
    question, and a question without words of its own gives None.
unfinished
    the thinking part did not come to its end within the token limit: no answer at all.

Every failing answer also has one *mode*, the first that applies: unfinished, lost-focus, conflict, other-answer (target
mentioned), never-mentioned.

Limitations: words, not meaning. A synonym ("father" for "male parent") counts as a word that does not recur, so lost
focus is an upper bound for questions with words of their own; a sentence of revision may speak of something else; a
negation is seen only where it stands at most two words before the target. ``on_topic`` puts a judge in the place of the
word rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from editverdict.evaluation.dimensions import require_one_score_id
from editverdict.evaluation.lexical import LexicalJudge, normalise

Mode = Literal["none", "unfinished", "lost-focus", "conflict", "other-answer", "never-mentioned"]
MODES: tuple[Mode, ...] = ("none", "unfinished", "lost-focus", "conflict", "other-answer", "never-mentioned")
OnTopic = Callable[[str, str], bool]
"""(question, answer) -> whether the answer is about the question."""

SHORT = 8
"""An answer of at most so many words cannot lose focus: a name alone repeats nothing of its question."""
END = 3
"""Sentences at the end of the thinking part that are read as its conclusion."""
STEM = 4
"""Words of the question recur if they agree in so many first letters (``married``, ``marriage``)."""

_BEGINS, _NAMES = LexicalJudge("starts-with"), LexicalJudge("contains")
_SENTENCE = re.compile(r"(?<=[.!?;:])[\"'”’)\]]*\s+|\n+")
_TURNS = re.compile(
    r"\b(wait|hmm|actually|however|but|instead|rather|although|though|no|incorrect|wrong|mistaken|mistake|confused|"
    r"confusing|inaccurate|on second thought|double check|reconsider|correct myself)\b"
)
_AGAINST = re.compile(r"^(?: \w+)? (?:is|was|are|were) (?:not|wrong|incorrect|inaccurate|mistaken)\b")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and answer are as at be by called complete did do does following for from give has have he her his how "
        "in is it its known me my name named of on one or please question she tell that the their them there they "
        "this to was were what when where which who whom whose why will with would you your",
    )
)
"""Words that any question may have."""


@dataclass(frozen=True)
class Failure:
    """What became of the target in one answer; None: cannot be told."""

    correct: bool
    """The judge's verdict on the answer."""
    opening: bool
    first_token: bool
    mentioned: bool
    retracted: bool
    dropped: bool
    conflict: bool | None
    other_answer: bool | None
    lost_focus: bool | None
    unfinished: bool
    mode: Mode


def failure_of(
    *,
    question: str,
    subject: str,
    accepted: Sequence[str],
    thinking: str | None,
    answer: str,
    correct: bool,
    closed: bool | None = None,
    old: Sequence[str] = (),
    on_topic: OnTopic | None = None,
) -> Failure:
    """Classify one answer by the definitions above.

    Parameters
    ----------
    question, subject : str
        The prompt, and its subject.
    accepted : sequence of str
        What counts as the target.
    thinking : str or None
        None: nothing was thought; the answer then stands for the thinking part, too.
    answer : str
        Without the thinking part.
    correct : bool
        Whether the answer is right, by the judge.
    closed : bool, optional
        Whether the thinking part came to its end.
    old : sequence of str, optional
        Answers before the edit; spellings of the target among them do not count.
    on_topic : callable, optional
        Decides lost focus in place of the words.

    Raises
    ------
    ValueError
        If no accepted answer has any text.
    """
    said = answer if thinking is None else thinking
    unfinished = closed is False
    mentioned = _NAMES.judge(said, accepted)
    wrong = not correct and not unfinished
    known = [text for text in old if text.strip() and not any(normalise(text) == normalise(one) for one in accepted)]
    turned = wrong and mentioned and turns_against(said, accepted)
    ended = f"{' '.join(_sentences(said)[-END:])}\n{answer}"
    back = bool(known) and wrong and mentioned and _NAMES.judge(ended, known)
    lost = _lost(question, subject, answer, on_topic) if wrong else False
    return Failure(
        correct=correct,
        opening=_BEGINS.judge(said, accepted),
        first_token=begins_with_first_word(said, accepted),
        mentioned=mentioned,
        retracted=turned,
        dropped=wrong and mentioned and not turned,
        conflict=back if known else None,
        other_answer=wrong and mentioned and not back if known else None,
        lost_focus=lost,
        unfinished=unfinished,
        mode=_mode(correct, unfinished, lost, back, mentioned),
    )


def begins_with_first_word(text: str, accepted: Sequence[str]) -> bool:
    """Whether a text begins with the first word of one of the accepted answers, in normal form."""
    return _BEGINS.judge(text, [word for one in accepted for word in normalise(one).split()[:1]] or accepted)


def _mode(correct: bool, unfinished: bool, lost: bool | None, back: bool, mentioned: bool) -> Mode:
    if unfinished:
        return "unfinished"
    if correct:
        return "none"
    if lost:
        return "lost-focus"
    if back:
        return "conflict"
    return "other-answer" if mentioned else "never-mentioned"


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def turns_against(text: str, accepted: Sequence[str]) -> bool:
    """Whether a sentence at or after the first mention of the target revises or negates it.

    Words of revision that have nothing to do with the target count, too: an upper bound.
    """
    sentences = _sentences(text)
    named = [i for i, sentence in enumerate(sentences) if _NAMES.judge(sentence, accepted)]
    if not named:  # the mention itself spans a break
        return any(_TURNS.search(normalise(sentence)) for sentence in sentences)
    return any(
        _TURNS.search(_after_mention(sentence, accepted) if i == named[0] else normalise(sentence))
        or _negates(sentence, accepted)
        for i, sentence in enumerate(sentences)
        if i >= named[0]
    )


def _after_mention(sentence: str, accepted: Sequence[str]) -> str:
    """Of the sentence that first names the target, what follows the name: what stands before it turns to it."""
    words = normalise(sentence)
    places = [f" {words} ".find(f" {normalise(one)} ") + len(normalise(one)) for one in _spelt(words, accepted)]
    return words[min(places) :] if places else words


def _negates(sentence: str, accepted: Sequence[str]) -> bool:
    """Whether the target is denied: ``not X``, ``not a X``, ``X is not``, ``X was wrong``."""
    words = normalise(sentence)
    for one in _spelt(words, accepted):
        name = normalise(one)
        if re.search(rf"\b(?:not|never|isnt|wasnt)(?: \w+)? {re.escape(name)}\b", words):
            return True
        after = words[f" {words} ".find(f" {name} ") + len(name) :]
        if _AGAINST.match(after):
            return True
    return False


def _spelt(words: str, accepted: Sequence[str]) -> list[str]:
    """The accepted answers that stand in normalised words."""
    return [one for one in accepted if normalise(one) and f" {normalise(one)} " in f" {words} "]


def own_words(question: str, subject: str) -> list[str]:
    """Words of a question that belong neither to its subject nor to the words that any question has."""
    about = set(normalise(subject).split())
    return [word for word in normalise(question).split() if word not in about and word not in _COMMON]


def _lost(question: str, subject: str, answer: str, on_topic: OnTopic | None) -> bool | None:
    if on_topic is not None:
        return not on_topic(question, answer)
    said = normalise(answer).split()
    if len(said) <= SHORT:
        return False
    words = own_words(question, subject)
    if not words:
        return None
    return not any(word[:STEM] == other[:STEM] for word in words for other in said)


# --------------------------------------------------------------------------- over stored rows
def failure_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    subjects: Mapping[str, str],
    old: Mapping[str, Sequence[str]] | None = None,
    dimension: str = "rel",
    on_topic: OnTopic | None = None,
) -> list[dict[str, Any]]:
    """Classify stored answers.

    Parameters
    ----------
    rows : iterable of mapping
        Judged answer rows, ``thinking`` and ``thinking_closed`` where the protocol parts them; those that the judge
        left undecided (``correct`` is None) are left out.
    subjects : mapping of str to str
        Edit id -> subject.
    old : mapping, optional
        Edit id -> answers before the edit.
    dimension : str, optional
        Which questions.
    on_topic : callable, optional
        See `failure_of`.

    Returns
    -------
    list of dict
        ``edit_id``, ``subject``, ``prompt``, ``target``, ``thinking``, ``answer``, ``protocol`` and the fields of
        `Failure`.

    Raises
    ------
    ProtocolMismatch
        If the rows carry different protocol or judge ids.
    """
    chosen = [row for row in rows if row["dimension"] == dimension and row["correct"] is not None]
    require_one_score_id(chosen, "answers whose failures are counted")
    found = []
    for row in chosen:
        edit = str(row["edit_id"])
        failure = failure_of(
            question=row["prompt"],
            subject=subjects[edit],
            accepted=row["accepted"],
            thinking=row.get("thinking"),
            answer=row["answer"],
            correct=bool(row["correct"]),
            closed=row.get("thinking_closed"),
            old=(old or {}).get(edit, ()),
            on_topic=on_topic,
        )
        where = {"edit_id": edit, "subject": subjects[edit], "prompt": row["prompt"], "target": row["accepted"][0]}
        said = {key: row.get(key) for key in ("thinking", "answer", "protocol")}
        found.append({**where, **said, **vars(failure)})
    return found


COUNTED = (
    "correct",
    "opening",
    "first_token",
    "mentioned",
    "retracted",
    "dropped",
    "conflict",
    "other_answer",
    "lost_focus",
    "unfinished",
)


@dataclass(frozen=True)
class Rate:
    """A counted rate."""

    count: int
    of: int
    """Answers for which it can be told."""

    @property
    def share(self) -> float | None:
        """In [0, 1]; None where it can be told of no answer."""
        return self.count / self.of if self.of else None


def failure_rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, Rate]:
    """Count what `failure_rows` found: each of `COUNTED`, and ``mode:NAME`` for each of `MODES` (these add up)."""
    told = {name: [bool(row[name]) for row in rows if row[name] is not None] for name in COUNTED}
    rates = {name: Rate(sum(values), len(values)) for name, values in told.items()}
    return rates | {f"mode:{mode}": Rate(sum(row["mode"] == mode for row in rows), len(rows)) for mode in MODES}


def failure_examples(rows: Sequence[Mapping[str, Any]], per_mode: int = 2) -> dict[str, Any] | None:
    """Some answers of every mode of failure, first ones first, as a picture of kind ``answers`` for the report.

    None if nothing failed.
    """
    picked = [row for mode in MODES[1:] for row in [r for r in rows if r["mode"] == mode][:per_mode]]
    if not picked:
        return None
    return {
        "kind": "answers",
        "title": "How answers fail: examples of every mode that was counted",
        "columns": ["mode", "prompt", "target", "thinking", "answer"],
        "rows": [
            [row["mode"], row["prompt"], row["target"], (row["thinking"] or "").strip(), row["answer"].strip()]
            for row in picked
        ],
    }
