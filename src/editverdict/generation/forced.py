"""Teacher forcing as a protocol: the most probable token at each place of a target that is given.

The field's usual way of scoring edits, kept here as a second protocol so that its gap to free answers can be measured
(appendix C.1 of the paper; Yang et al. 2025, "The mirage of model editing"). It reads the answer before it is given: it
knows how long the answer is, it puts every wrong token right before the next one, and it does not see what a model goes
on to say. Its numbers carry the id of a protocol of their own and are compared with those of free answers as the gap
between two protocols, never otherwise.

That all tokens of a target are the most probable ones says exactly that free greedy decoding would begin with them;
what teacher forcing adds to a score is partial credit (the share of tokens) and blindness to what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editverdict.generation.decode import ByRow
from editverdict.generation.protocol import Protocol, Rendered, encode_texts, target_after
from editverdict.generation.scoring import Pair, argmax_tokens


@dataclass(frozen=True)
class Forced:
    """A target and what the model would have said at each of its places."""

    target: tuple[int, ...]
    """Token ids of the target."""
    best: tuple[int, ...]
    """The most probable token at each place, given the prompt and the target's tokens before it."""
    text: str
    """``best`` as text. No model would say it in one go: each token follows the target's, not its own predecessors."""

    @property
    def share(self) -> float:
        """Share of the target's tokens that are the most probable ones, in [0, 1]."""
        return sum(a == b for a, b in zip(self.target, self.best, strict=True)) / len(self.target)

    @property
    def first(self) -> bool:
        """Whether the target's first token is the most probable one."""
        return self.target[0] == self.best[0]


def forced_targets(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    protocol: Protocol,
    *,
    batch_size: int = 64,
    owners: Sequence[int] | None = None,
    by_row: ByRow | None = None,
) -> list[Forced]:
    """Force targets after prompts.

    In completion form a target follows its prompt after one space; in chat form it begins the assistant's turn, after
    whatever the template puts there (an opened thinking part among it).

    Parameters
    ----------
    model, tokenizer
        A model in eval mode, and its tokenizer.
    pairs : sequence of (str, str)
        Prompt before rendering, and target.
    protocol : Protocol
        One with decoding ``teacher-forced``: `Protocol.teacher_forced` of the one by which answers are given.
    batch_size, owners, by_row : optional
        As `target_logprobs`.

    Returns
    -------
    list of Forced
        One per pair, in the order given.

    Raises
    ------
    ValueError
        If the protocol decodes freely, a prompt or target is empty, or ``batch_size`` is below 1.
    """
    if protocol.spec.decoding != "teacher-forced":
        raise ValueError(
            f"protocol '{protocol.spec.id}' has decoding {protocol.spec.decoding!r}, and forced_targets needs "
            "'teacher-forced'; use protocol.teacher_forced(), whose numbers carry another id"
        )
    for i, (prompt, target) in enumerate(pairs):
        if not target.strip():
            raise ValueError(f"pair {i} (prompt {prompt!r}): the target is empty; expected the text to be forced")
    prompts = protocol.encode([prompt for prompt, _ in pairs])
    targets = [target_ids(tokenizer, target, protocol) for _, target in pairs]
    best = argmax_tokens(model, prompts, targets, batch_size=batch_size, owners=owners, by_row=by_row)
    return [
        Forced(tuple(target), tuple(said), str(tokenizer.decode(said, clean_up_tokenization_spaces=False)))
        for target, said in zip(targets, best, strict=True)
    ]


def target_ids(tokenizer: PreTrainedTokenizerBase, target: str, protocol: Protocol) -> list[int]:
    """Token ids of a target where an answer begins: after one space in completion form, bare in chat form."""

    def encode(text: str) -> list[int]:
        return encode_texts(tokenizer, [text], add_special_tokens=False)[0]

    return target_after(encode, target, Rendered() if protocol.spec.prompt_form == "chat" else "")
