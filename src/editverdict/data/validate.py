"""Proves that edits can be chained: nothing that one record asks for is spoilt by another.

The checks run over the whole list and over pairs of its records. Whatever they find absent from the list is absent
from every ordered chain drawn from it, of any length: each property is either one record's own or about two records.
For data of others the same findings are warnings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from editverdict.data.kinds import missing_kinds
from editverdict.data.records import EditRecord, Fact, Probe
from editverdict.data.text import Words, any_overlap, contains, overlap, spans, words

FactKey = tuple[Words, Words]


def validate_edits(records: Sequence[EditRecord]) -> list[str]:
    """Check a list of edits, record by record and against one another.

    Proved when the list is empty of findings: ids and subjects are unique (no subject occurs in another subject or in
    another record's prompts), prompts name their subject once, old and new object can be told apart, no answer occurs
    in its prompt, no locality fact and no hop is edited by any record, hops start at the new object, inverses belong
    to relations that are one to one, no two prompts contradict each other, the splits share no fact, and ``lacks`` is
    what is missing.

    Parameters
    ----------
    records
        The whole dataset, all splits.

    Returns
    -------
    list of str
        One finding per violation, beginning with the record's id; empty if there is none.
    """
    findings = [f"{record.id}: {text}" for record in records for text in _own(record)]
    findings += _duplicates(records)
    findings += _foreign_subjects(records)
    findings += _edited_facts(records)
    findings += _inverses(records)
    findings += _contradictions(records)
    return findings + _unprovable(records)


# ------------------------------------------------------------------------------------------------------ one record
def _new(record: EditRecord) -> tuple[str, ...]:
    return (record.target_new, *record.target_new_aliases)


def _old(record: EditRecord) -> tuple[str, ...]:
    return () if record.target_old is None else (record.target_old, *record.target_old_aliases)


def _own(record: EditRecord) -> Iterator[str]:
    if not record.bare_event:
        yield from _prompts(record)
        yield from _objects(record)
    for probe in record.locality:
        yield from _locality(record, probe)
    for probe in record.portability:
        yield from _portability(record, probe)
    missing = missing_kinds(record.rephrases, record.locality, record.portability)
    # A rephrase that an alias stands in for is there, and 'lacks' may still say that the data set has none.
    if set(missing) - set(record.lacks) or set(record.lacks) - set(missing) - {"rephrase"}:
        yield f"'lacks' says {sorted(record.lacks)}, but what is missing is {sorted(missing)}"


def _prompts(record: EditRecord) -> Iterator[str]:
    number = record.prompt.count(record.subject)
    if number != 1:
        yield f"the prompt contains the subject {record.subject!r} {number} times, expected once: {record.prompt!r}"
    for rephrase in record.rephrases:
        if "rephrase" not in record.lacks and not contains(rephrase, record.subject):
            yield f"a rephrase does not contain the subject {record.subject!r}: {rephrase!r}"
    wordings = [words(text) for text in (record.prompt, *record.rephrases)]
    if len(set(wordings)) != len(wordings):
        yield "prompt and rephrases are not all different"


def _objects(record: EditRecord) -> Iterator[str]:
    if any_overlap(_new(record), _old(record)):
        yield f"new object {record.target_new!r} and old object {record.target_old!r} cannot be told apart"
    for text in (record.prompt, *record.rephrases):
        for answer in (*_new(record), *_old(record)):
            if contains(text, answer):
                yield f"the object {answer!r} occurs in its prompt {text!r}"


def _locality(record: EditRecord, probe: Probe) -> Iterator[str]:
    yield from _given_away(probe, "locality")
    if any_overlap(probe.answers, _new(record)):
        yield f"locality answer {probe.answers[0]!r} is the new object, spill-over would be unseen: {probe.prompt!r}"
    # An event has several entities, and its locality may be about any of them.
    if probe.kind == "other-relation" and not record.bare_event and not contains(probe.prompt, record.subject):
        yield f"an other-relation prompt does not name the subject: {probe.prompt!r}"
    if probe.kind == "same-relation":
        if contains(probe.prompt, record.subject):
            yield f"a same-relation prompt names the edited subject: {probe.prompt!r}"
        if record.relation is not None and any(fact.relation != record.relation for fact in probe.facts):
            yield f"a same-relation prompt rests on another relation: {probe.prompt!r}"


def _portability(record: EditRecord, probe: Probe) -> Iterator[str]:
    yield from _given_away(probe, "portability")
    if probe.kind == "alias":
        if contains(probe.prompt, record.subject):
            yield f"an alias prompt contains the subject itself: {probe.prompt!r}"
        if not any_overlap(probe.answers, _new(record)):
            yield f"the answer of an alias prompt is not the new object: {probe.answers[0]!r}"
    elif probe.kind == "inverse":
        if not contains(probe.prompt, record.target_new) or contains(probe.prompt, record.subject):
            yield f"an inverse prompt must name the new object and not the subject: {probe.prompt!r}"
        if not any(overlap(answer, record.subject) for answer in probe.answers):
            yield f"the answer of an inverse prompt is not the subject: {probe.answers[0]!r}"
    elif probe.kind == "two-hop":
        if not contains(probe.prompt, record.subject):
            yield f"a two-hop prompt does not name the subject: {probe.prompt!r}"
        names = {words(name) for name in _new(record)}
        if probe.facts and words(probe.facts[0].subject) not in names:
            yield f"a hop starts at {probe.facts[0].subject!r}, not at the new object {record.target_new!r}"


def _given_away(probe: Probe, where: str) -> Iterator[str]:
    for answer in probe.answers:
        if contains(probe.prompt, answer):
            yield f"{where}: the answer {answer!r} occurs in its prompt {probe.prompt!r}"


# ------------------------------------------------------------------------------------------------------ all records
def _duplicates(records: Sequence[EditRecord]) -> list[str]:
    findings = []
    ids: dict[str, EditRecord] = {}
    subjects: dict[Words, EditRecord] = {}
    for record in records:
        if record.id in ids:
            findings.append(f"{record.id}: the id occurs twice")
        ids.setdefault(record.id, record)
        # The facts of one event may share their subject: they are edited together.
        other = subjects.setdefault(words(record.subject), record) if record.subject else record
        if other is not record and (record.part_of is None or other.part_of != record.part_of):
            splits = "" if other.split == record.split else f" (splits {other.split!r} and {record.split!r})"
            findings.append(f"{record.id}: the subject {record.subject!r} is edited by {other.id} too{splits}")
    return findings


def _foreign_subjects(records: Sequence[EditRecord]) -> list[str]:
    """Find edited subjects inside other records' subjects and prompts (an alias that is another's subject, too)."""
    owners: dict[Words, list[EditRecord]] = defaultdict(list)
    for record in records:
        if record.subject:
            owners[words(record.subject)].append(record)
    longest = max((len(subject) for subject in owners), default=0)
    findings = []
    for record in records:
        own = words(record.subject)
        for what, text in _texts(record):
            for span in set(spans(words(text), longest)):
                findings += [
                    f"{record.id}: the edited subject {other.subject!r} ({other.id}) occurs in its {what} {text!r}"
                    for other in owners.get(span, ())
                    if span != own
                ]
    return findings


def _texts(record: EditRecord) -> Iterator[tuple[str, str]]:
    yield "subject", record.subject
    yield "prompt", record.prompt
    for rephrase in record.rephrases:
        yield "rephrase", rephrase
    for probe in (*record.locality, *record.portability):
        yield f"{probe.kind} prompt", probe.prompt


def _key(fact: Fact) -> FactKey:
    return words(fact.subject), words(fact.relation)


def _edited_facts(records: Sequence[EditRecord]) -> list[str]:
    """Find locality facts and hops that some record edits."""
    edited = {_key(Fact(subject=r.subject, relation=r.relation)): r for r in records if r.relation is not None}
    findings = []
    for record in records:
        for probe in (*record.locality, *record.portability):
            for fact in probe.facts:
                other = edited.get(_key(fact))
                if other is not None:
                    findings.append(
                        f"{record.id}: its {probe.kind} probe rests on ({fact.subject}, {fact.relation}), "
                        f"which {other.id} edits: {probe.prompt!r}"
                    )
    return findings


def _inverses(records: Sequence[EditRecord]) -> list[str]:
    """Find inverses whose answer is not unique: a relation must be one to one, over edits and over facts that stay."""
    relations = {r.relation for r in records if any(p.kind == "inverse" for p in r.portability)}
    findings = []
    for relation in sorted(relations, key=str):
        holders = [r for r in records if r.relation == relation]
        findings += _not_one_to_one(relation, "new", [(r, _new(r)) for r in holders])
        findings += _not_one_to_one(relation, "old", [(r, _old(r)) for r in holders])
        claimed = {words(name): r for r in holders for name in _new(r)}
        for record in records:
            for probe in (*record.locality, *record.portability):
                stays = any(fact.relation == relation for fact in probe.facts)
                taken = [claimed[words(a)] for a in probe.answers if words(a) in claimed] if stays else []
                if taken:
                    findings.append(
                        f"{record.id}: its {probe.kind} probe gives {probe.answers[0]!r} to another subject, "
                        f"but {taken[0].id} makes it the {relation} of {taken[0].subject!r} and asks for the inverse"
                    )
    return findings


def _not_one_to_one(
    relation: str | None,
    which: str,
    objects: Iterable[tuple[EditRecord, tuple[str, ...]]],
) -> list[str]:
    seen: dict[Words, EditRecord] = {}
    findings = []
    for record, names in objects:
        clash = next((seen[words(n)] for n in names if words(n) in seen and seen[words(n)] is not record), None)
        if clash is not None:
            findings.append(
                f"{record.id}: relation {relation!r} has inverses but is not one to one: "
                f"the {which} object {names[0]!r} is that of {clash.id} too"
            )
        seen.update({words(name): record for name in names})
    return findings


def _contradictions(records: Sequence[EditRecord]) -> list[str]:
    """Find equal prompts, and equal unedited facts, that want different answers."""
    asked: dict[tuple[Words, ...], tuple[EditRecord, tuple[str, ...]]] = {}
    findings = []
    for record in records:
        claims: list[tuple[tuple[Words, ...], str, tuple[str, ...]]]
        asked_now = () if record.bare_event else (record.prompt, *record.rephrases)
        claims = [((words(text),), text, _new(record)) for text in asked_now]
        for probe in (*record.locality, *record.portability):
            claims.append(((words(probe.prompt),), probe.prompt, probe.answers))
            if len(probe.facts) == 1:
                fact = probe.facts[0]
                claims.append((_key(fact), f"({fact.subject}, {fact.relation})", probe.answers))
        for key, text, answers in claims:
            other, wanted = asked.setdefault(key, (record, answers))
            if {words(a) for a in answers}.isdisjoint(words(a) for a in wanted):
                findings.append(f"{record.id}: wants {answers[0]!r} where {other.id} wants {wanted[0]!r}: {text}")
    return findings


def _unprovable(records: Sequence[EditRecord]) -> list[str]:
    """Report probes that name no fact, once: nothing shows that a chain leaves their facts alone."""
    local = sum(not probe.facts for record in records for probe in record.locality)
    hops = sum(not p.facts for record in records for p in record.portability if p.kind == "two-hop")
    nameless = sum(record.relation is None for record in records)
    if not local and not hops and not nameless:
        return []
    return [
        f"dataset: {local} locality and {hops} two-hop probes name no fact and {nameless} records no relation: "
        "that no edit of a chain touches them cannot be proved"
    ]
