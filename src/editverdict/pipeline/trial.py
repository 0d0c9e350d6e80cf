"""The composition root: one profile's models, data and store, brought together.

Fixtures, the command line and tests all come through here, so that nothing exists in pytest alone. A ``Trial`` loads
things once and lazily; everything that costs time is an artifact of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from editverdict.capture.texts import TextSample, tokenize_sample
from editverdict.data import (
    DataError,
    DataNotHereError,
    LoadedEdits,
    chains,
    first_chains,
    load_corpus,
    load_dataset,
    single_edits,
)
from editverdict.data.records import EditRecord, kind_of
from editverdict.editors.base import State
from editverdict.editors.deltas import PurityError
from editverdict.generation.protocol import Protocol, decoder_start, end_tokens
from editverdict.ledger.tables import Ledger
from editverdict.models.fingerprint import hash_text, hash_weights
from editverdict.models.sources import LoadedModel, load_model, source_folder
from editverdict.schema.library import SpecLibrary, spec_hash
from editverdict.schema.profiles import ProfileSpec
from editverdict.schema.sources import HubSource, PackagedFile
from editverdict.store import Job, Store
from editverdict.store.packaged import fetch_packaged

GROUP = 5
"""Independent edits whose values are optimised together: enough rows to keep a CPU core busy."""
LOCKSTEP = 6
"""Chains whose values are optimised together, edit by edit."""


class NotHere(RuntimeError):
    """A case needs what this machine does not have; the case is ``not_run`` with this reason."""


@dataclass
class Trial:
    """Everything that the cases of one run share."""

    library: SpecLibrary
    profile: ProfileSpec
    store: Store
    device: torch.device
    run_dir: Path | None = None
    worker: int = 0
    n_workers: int = 1
    report: Callable[[str], None] = field(default=lambda _message: None)
    """Where progress lines go."""
    paper: Ledger | None = None
    """The paper's printed tables, where a spec folder holds them."""
    labelled: Path | None = None
    """Answers with labels, what a judge is held against; of the last spec folder that has any."""
    easyedit_python: Path | None = None
    """The Python of EasyEdit's environment, for the methods ``easyedit:X``."""
    ahead: Callable[[Trial, str], Sequence[Job]] = field(default=lambda _trial, _model: ())
    """(trial, model id) -> work that needs nothing of the base pass, for a process that waits for it."""
    _models: dict[str, LoadedModel] = field(default_factory=dict)
    _samples: dict[str, TextSample] = field(default_factory=dict)
    _datasets: dict[str, LoadedEdits] = field(default_factory=dict)
    _memo: dict[Any, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """In one line: pytest prints the arguments of what fails, and all that is kept here would take it seconds."""
        return f"Trial(profile={self.profile.id!r}, store={str(self.store.root)!r}, run_dir={str(self.run_dir)!r})"

    def model(self, model_id: str) -> LoadedModel:
        """The loaded model; one at a time, because a device holds one base model."""
        self.need_device()
        if model_id not in self._models:
            self._models.clear()
            spec = self.library.models[model_id]
            architecture = self.library.architectures[spec.architecture]
            self.report(f"loading model {model_id}")
            self._models[model_id] = load_model(spec, architecture, self.device, lambda name: self.library.models[name])
        return self._models[model_id]

    def need_device(self) -> None:
        """Nothing of a profile that needs CUDA runs without it.

        Raises
        ------
        NotHere
            The device is another one.
        """
        if self.profile.requires_cuda and self.device.type != "cuda":
            raise NotHere(f"profile '{self.profile.id}' needs CUDA, and the device is {self.device.type}")

    def python_of_easyedit(self) -> Path:
        """The Python of EasyEdit's environment.

        Raises
        ------
        NotHere
            None is named.
        """
        if self.easyedit_python is None:
            raise NotHere("EasyEdit runs in a Python of its own, and none is named: --easyedit-python PATH")
        return self.easyedit_python

    @cached_property
    def corpus(self) -> list[str]:
        """Texts of the profile's corpus, in their fixed order."""
        spec = self.library.corpora[self.profile.corpus]
        if isinstance(spec.source, PackagedFile):
            return load_corpus(spec, fetch_packaged(spec.source))
        return load_corpus(spec, source_folder_of(spec.source))

    def sample(self, model_id: str) -> TextSample:
        """The tokenised base sample of the profile."""
        if model_id not in self._samples:
            sizes = self.profile.sizes
            self._samples[model_id] = tokenize_sample(
                self.model(model_id).tokenizer,
                self.corpus,
                min_texts=sizes.base_texts,
                min_tokens=sizes.base_tokens,
                n_blocks=sizes.text_blocks,
                positions=self.profile.positions,
            )
        return self._samples[model_id]

    def subset(self, model_id: str) -> TextSample:
        """The fixed subset of the base sample on which edited states are measured."""
        return self.sample(model_id).head(max(self.profile.sizes.angle_tokens, self.profile.sizes.norm_tokens))

    def loaded(self, dataset_id: str) -> LoadedEdits:
        """A dataset as loaded: records, and what was wrong with those that were left out.

        Raises
        ------
        NotHere
            Its files cannot be fetched now.
        DataError
            They can, and cannot be used.
        """
        if dataset_id not in self._datasets:
            # Asked again by every case: whoever waited for a network once need not wait for each of them.
            failed = ("not-here", dataset_id)
            if failed in self._memo:
                raise NotHere(self._memo[failed])
            try:
                loaded = load_dataset(self.library.datasets[dataset_id])
            except DataNotHereError as error:
                self._memo[failed] = str(error)
                raise NotHere(str(error)) from error
            if loaded.skipped:
                self.report(f"dataset {dataset_id}: {loaded.skipped} records left out, such as: {loaded.problems[0]}")
            self._datasets[dataset_id] = loaded
        return self._datasets[dataset_id]

    def records(self, dataset_id: str) -> list[EditRecord]:
        """All usable records of a dataset."""
        return list(self.loaded(dataset_id).records)

    def chains(self, dataset_id: str) -> list[list[EditRecord]]:
        """Disjoint chains of the test split; the first goes on to ``long_chain``.

        Drawn by seed and id, or (``chains_from: first``) consecutive records in the order of the data; there the first
        one goes on over the records of the others.

        A dataset too small for the profile gives fewer chains, and a shorter long one: what is missing then shows in
        the number of units.

        Raises
        ------
        NotHere
            There are not even enough records for one chain.
        """
        sizes = self.profile.sizes
        key = ("chains", dataset_id)
        if key not in self._memo:
            records = [record for record in self.records(dataset_id) if record.split == "test"]
            count = min(sizes.chains, len(records) // sizes.chain_length)
            if count == 0:
                raise NotHere(
                    f"needs chains of {sizes.chain_length} edits, and dataset '{dataset_id}' has {len(records)} records"
                )
            left = len(records) - count * sizes.chain_length
            if self.profile.chains_from == "first":
                self._memo[key] = first_chains(records, count, sizes.chain_length, sizes.long_chain)
            else:
                self._memo[key] = chains(
                    records,
                    split="test",
                    n_chains=count,
                    length=sizes.chain_length,
                    long_length=min(sizes.long_chain, sizes.chain_length + left),
                    seed=self.profile.seed,
                )
        found: list[list[EditRecord]] = self._memo[key]
        return found

    def lines(self, dataset_id: str) -> list[list[list[EditRecord]]]:
        """Sequences in which edits are made side by side: the chains; of events, those of their facts.

        An event that is edited alone is a sequence of its own facts, so that there are two lists of them.
        """
        key = ("lines", dataset_id)
        if key not in self._memo:
            drawn = self.chains(dataset_id)
            if kind_of(record for chain in drawn for record in chain) == "facts":
                self._memo[key] = [drawn]
            else:
                from editverdict.pipeline.event_facts import facts_of

                alone = list({record.id: record for chain in drawn for record in chain}.values())
                self._memo[key] = [[facts_of(self, c) for c in drawn], [facts_of(self, [one]) for one in alone]]
        found: list[list[list[EditRecord]]] = self._memo[key]
        return found

    def _lines_here(self) -> Iterator[tuple[str, list[list[list[EditRecord]]]]]:
        """Of the profile's datasets that can be had; one that cannot is no reason to stop the edits of another."""
        for dataset_id in self.profile.datasets:
            try:
                found = self.lines(dataset_id)
            except (NotHere, DataError):
                continue
            yield dataset_id, found

    def companions(self, edit: EditRecord) -> list[EditRecord]:
        """The fixed group in which an edit's first value is optimised.

        Neighbours in the order of the single edits, and of the other edits in that of all chains. Of events the first
        facts.
        """
        for dataset_id, lines in self._lines_here():
            if len(lines) == 1:
                first = self.singles(dataset_id)
                taken = {record.id for record in first}
                rest = {record.id: record for chain in lines[0] for record in chain if record.id not in taken}
                ordered = [*first, *rest.values()]
            else:
                ordered = [facts[0] for facts in lines[1]]
            for start in range(0, len(ordered), GROUP):
                group = ordered[start : start + GROUP]
                if edit in group:
                    return group
        return [edit]

    def side_by_side(self, records: Sequence[EditRecord]) -> list[list[EditRecord]]:
        """The beginnings of chains, as long as this one, that go on together with it; itself if it is of no chain."""
        length = len(records)
        for _, lines in self._lines_here():
            for chains_ in lines:
                heads = [chain[:length] for chain in chains_ if len(chain) >= length]
                if list(records) in heads:
                    start = heads.index(list(records)) // LOCKSTEP * LOCKSTEP
                    return heads[start : start + LOCKSTEP]
        return [list(records)]

    def singles(self, dataset_id: str) -> list[EditRecord]:
        """Records that are edited alone for the single-edit claims: taken in turn from all chains.

        With ``chains_from: first`` in the order of the data, so that more chains add records and regroup none.
        """
        heads = [chain[: self.profile.sizes.chain_length] for chain in self.chains(dataset_id)]
        wanted = min(self.profile.sizes.single_edits, sum(map(len, heads)))
        if self.profile.chains_from == "first":
            return [record for chain in heads for record in chain][:wanted]
        return single_edits(heads, wanted)

    def single_states(self, model_id: str, method_id: str, dataset_id: str) -> list[State]:
        """States of the single edits by a method, from the store; several workers share the work."""
        from editverdict.pipeline.edits import singles

        return singles(self, model_id, method_id, self.singles(dataset_id))

    def check_purity(self) -> None:
        """Prove by checksum that every model in memory is as it was loaded.

        Raises
        ------
        PurityError
            Some editor left something behind.
        """
        for loaded in self._models.values():
            if hash_weights(loaded.model) != loaded.identity.weights:
                raise PurityError(f"the weights of '{loaded.spec.id}' are not those that were loaded")

    def protocol(self, model_id: str) -> Protocol:
        """The answer protocol on this model's tokenizer; kept, because hashing a tokenizer takes half a second."""
        key = ("protocol", model_id)
        if key not in self._memo:
            loaded = self.model(model_id)
            start = decoder_start(loaded.model)
            self._memo[key] = Protocol.build(
                self.profile.protocol_of(model_id),
                loaded.tokenizer,
                extra_eos=end_tokens(loaded.model),
                decoder_start=start,
            )
        found: Protocol = self._memo[key]
        return found

    def forced_protocol(self, model_id: str) -> Protocol:
        """The second protocol of the same prompts: teacher forcing, with an id of its own."""
        return self.protocol(model_id).teacher_forced()

    @cached_property
    def encoder(self) -> Any:
        """The sentence encoder."""
        from sentence_transformers import SentenceTransformer

        from editverdict.models.sources import quiet_transformers

        spec = self.library.encoders[self.profile.encoder]
        with quiet_transformers():
            return SentenceTransformer(str(source_folder(spec.source)), device=self.device.type)

    def data_key(self, dataset_id: str) -> str:
        """Hash of the records that the profile's chains take from a dataset."""
        key = ("data-key", dataset_id)
        if key not in self._memo:
            records = [record.model_dump_json() for chain in self.chains(dataset_id) for record in chain]
            self._memo[key] = hash_text("\n".join(records))
        return str(self._memo[key])

    @property
    def encoder_key(self) -> str:
        """Hash of the encoder's spec, which names its files by checksum."""
        return spec_hash(self.library.encoders[self.profile.encoder])

    def corpus_key(self, model_id: str) -> dict[str, Any]:
        """What identifies the base sample in recipes."""
        key = ("corpus-key", model_id)
        if key not in self._memo:
            sample = self.sample(model_id)
            self._memo[key] = {"tokens": sample.hash, "blocks": sample.n_blocks}
        return dict(self._memo[key])

    def offset(self, items: Sequence[Any]) -> list[Any]:
        """The items, begun at this worker's share, so that workers that want the same ones meet in the middle."""
        start = self.worker * len(items) // max(self.n_workers, 1)
        return [*items[start:], *items[:start]]


def source_folder_of(source: HubSource | Any) -> Path:
    """Folder or file of a corpus that is not packaged."""
    if isinstance(source, HubSource):
        return source_folder(source)
    return Path(source.path).expanduser()
