"""Context prefixes: short texts sampled from the unedited model, a function of model and seed alone."""

from __future__ import annotations

import torch

from editverdict.models.sources import LoadedModel

OPENINGS = ("The", "Therefore", "Because", "I", "You", "In", "When", "It")
"""First words that the samples continue, in turn."""


@torch.no_grad()
def sample_prefixes(loaded: LoadedModel, count: int, tokens: int, seed: int, top_k: int = 5) -> list[str]:
    """``count`` texts of about ``tokens`` tokens, by top-k sampling with a generator of its own; braces are removed."""
    generator = torch.Generator().manual_seed(seed)
    texts = []
    for number in range(count):
        ids = loaded.tokenizer(OPENINGS[number % len(OPENINGS)])["input_ids"]
        for _ in range(tokens):
            hidden = loaded.sites.backbone(
                input_ids=torch.tensor([ids], device=loaded.device), use_cache=False
            ).last_hidden_state
            logits = loaded.sites.logits(hidden[0, -1]).float().cpu()
            best = logits.topk(top_k)
            drawn = torch.multinomial(best.values.softmax(-1), 1, generator=generator)
            ids = [*ids, int(best.indices[drawn])]
        text = loaded.tokenizer.decode(ids, skip_special_tokens=True)
        texts.append(" ".join(text.replace("{", " ").replace("}", " ").split()))
    return texts
