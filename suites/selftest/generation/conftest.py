"""A tokenizer of some 400 tokens and random models of two layers: small, seeded, and made here."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CORPUS = [
    "The capital of France is Paris. The capital of Italy is Rome.",
    "A yes or a no will do: yes, no, yes, no.",
    "Ada wrote programs before there were machines to run them on.\nShe lived in London.",
    "Seven ships sailed from Lisbon to Goa; three of them came back.",
]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on a few sentences, with special tokens of its own."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")


class NoSelection(LlamaForCausalLM):
    """A model that cannot be asked for the logits of chosen positions."""

    def forward(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None):  # type: ignore[no-untyped-def, override]
        """Run the parent's forward pass, all positions."""
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )


def make_model(kind: str, vocabulary: int):  # type: ignore[no-untyped-def]
    """Random weights, spread wide enough that rounding does not decide which token is most probable."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        if kind == "gpt2":  # absolute positions: wrong position ids under left padding would show
            config = GPT2Config(
                vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.6
            )
            return GPT2LMHeadModel(config).eval()
        llama = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            initializer_range=0.6,
        )
        return (NoSelection if kind == "no-selection" else LlamaForCausalLM)(llama).eval()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture
def other_tokenizer() -> PreTrainedTokenizerFast:
    """A second tokenizer, equal to the first, that a test may change."""
    return make_tokenizer()


@pytest.fixture(scope="session", params=["llama", "gpt2", "no-selection"])
def any_model(request, tokenizer):  # type: ignore[no-untyped-def]
    return make_model(request.param, len(tokenizer))


@pytest.fixture(scope="session")
def model(tokenizer):  # type: ignore[no-untyped-def]
    return make_model("llama", len(tokenizer))


@pytest.fixture(scope="session")
def prompts() -> list[str]:
    """Prompts from one token to many, so that padding is needed."""
    words = " ".join(CORPUS).split()
    return [" ".join(words[i : i + n]) for i, n in enumerate([1, 3, 9, 2, 14, 5, 1, 7, 4, 11, 6, 20])]
