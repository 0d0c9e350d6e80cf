"""From a spec to a model: folders, random weights, and what a user is told when it cannot be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import T5Config

from editverdict.models import sources
from editverdict.models.sites import SiteError
from editverdict.models.sources import LoadedModel, ModelLoadError, load_model, source_folder
from editverdict.pipeline.setup import UsageError, own_model
from editverdict.schema.sources import FolderSource, HubSource, RandomSource
from editverdict.schema.specs import ArchitectureSpec, LayerPlan, ModelSpec
from suites.selftest.models.toys import LIBRARY, toy

PLAN = LayerPlan(edit=1, measured=(0, 1, 2, 3), inner=(0, 1))
CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny: LoadedModel, tmp_path: Path) -> Path:
    """The tiny model as a user's folder."""
    path = tmp_path / "model"
    tiny.model.save_pretrained(path)
    tiny.tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def load(tiny: LoadedModel) -> Callable[..., LoadedModel]:
    """Load a spec of the tiny model's architecture; ``others`` are the specs it may refer to."""
    architecture: ArchitectureSpec = tiny.sites.spec

    def run(source: Any, others: dict[str, ModelSpec] | None = None, **fields: Any) -> LoadedModel:
        spec = ModelSpec(**{"id": "own", "source": source, "architecture": "llama", "layers": PLAN, **fields})
        return load_model(spec, architecture, CPU, lambda name: (others or {})[name])

    return run


def test_a_folder(tiny: LoadedModel, folder: Path, load: Callable[..., LoadedModel]) -> None:
    loaded, again = (load(FolderSource(path=str(folder))) for _ in range(2))
    assert loaded.identity == again.identity
    assert loaded.identity.weights == tiny.identity.weights
    assert (loaded.identity.dtype, loaded.identity.device) == ("float32", "cpu")
    assert not any(module.training for module in loaded.model.modules())
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.tokenizer.padding_side == "right" and loaded.sites.n_layers == 4
    expected = {"weights", "tokenizer", "template", "dtype", "device", "attention", "architecture", "products"}
    assert set(loaded.identity.fields()) == expected


def test_dtype_is_part_of_the_identity(folder: Path, load: Callable[..., LoadedModel]) -> None:
    half = load(FolderSource(path=str(folder)), dtype="bfloat16")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    whole = load(FolderSource(path=str(folder)))
    assert half.identity.weights != whole.identity.weights and half.identity.dtype == "bfloat16"


def test_a_tokenizer_without_padding_pads_with_its_end(
    tiny: LoadedModel, folder: Path, load: Callable[..., LoadedModel]
) -> None:
    core = tiny.tokenizer.backend_tokenizer
    core.no_padding()  # whoever padded a batch with this tokenizer before has left its padding token there
    bare = type(tiny.tokenizer)(tokenizer_object=core, eos_token="<eos>")
    bare.save_pretrained(folder)
    loaded = load(FolderSource(path=str(folder)))
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id is not None


def test_the_home_folder_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert source_folder(FolderSource(path="~/model")) == folder


# --------------------------------------------------------------------------- what is told
def test_no_such_folder(tmp_path: Path, load: Callable[..., LoadedModel]) -> None:
    with pytest.raises(ModelLoadError, match=r"model folder '.*nowhere' does not exist; expected .*config\.json"):
        load(FolderSource(path=str(tmp_path / "nowhere")))


def test_no_config(folder: Path, load: Callable[..., LoadedModel]) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ModelLoadError, match=r"has no config\.json; found \[.*'model\.safetensors'"):
        load(FolderSource(path=str(folder)))


def test_pickled_weights_are_not_loaded(
    tiny: LoadedModel, folder: Path, load: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tiny.model.state_dict(), folder / "pytorch_model.bin")
    monkeypatch.setattr(torch, "load", lambda *_args, **_settings: pytest.fail("a pickle was opened"))
    with pytest.raises(ModelLoadError, match=r"has no \*\.safetensors; pickled weights are not loaded, convert them"):
        load(FolderSource(path=str(folder)))


def test_a_folder_that_is_no_language_model(folder: Path, load: Callable[..., LoadedModel]) -> None:
    (folder / "config.json").write_text('{"model_type": "no-such-type"}')
    with pytest.raises(ModelLoadError, match="could not be loaded as a causal language model"):
        load(FolderSource(path=str(folder)))


def test_damaged_weights(folder: Path, load: Callable[..., LoadedModel]) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelLoadError, match="could not be loaded"):
        load(FolderSource(path=str(folder)))


def test_weights_that_lack_a_layer(tiny: LoadedModel, folder: Path, load: Callable[..., LoadedModel]) -> None:
    """They must not be filled up with random numbers in silence."""
    kept = {name: tensor for name, tensor in tiny.model.state_dict().items() if ".layers.2.mlp" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelLoadError, match=r"do not fit its config\.json: 3 tensor.*model\.layers\.2\.mlp\.down_proj"
    ):
        load(FolderSource(path=str(folder)))


def test_a_spec_deeper_than_the_model(folder: Path, load: Callable[..., LoadedModel]) -> None:
    plan = LayerPlan(edit=0, measured=(0, 7), inner=(0,))
    with pytest.raises(ModelLoadError, match="model 'own' has 4 layers, but its spec measures layer 7"):
        load(FolderSource(path=str(folder)), layers=plan)


def test_a_hub_out_of_reach(load: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*_args: Any, **_settings: Any) -> str:
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelLoadError, match=r"'someone/model' \(revision .*\).*OSError: no route.*--model PATH"):
        load(HubSource(repo="someone/model"))


def test_a_hub_gives_no_pickles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import fnmatch

    import huggingface_hub

    asked: dict[str, Any] = {}

    def snapshot(repo: str, **settings: Any) -> str:
        asked.update(settings, repo=repo)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert source_folder(HubSource(repo="a/b", revision="v1")) == tmp_path
    assert (asked["repo"], asked["revision"]) == ("a/b", "v1")
    wanted = asked["allow_patterns"]
    for file, expected in {"model.safetensors": True, "pytorch_model.bin": False, "run.py": False}.items():
        assert any(fnmatch.fnmatch(file, pattern) for pattern in wanted) == expected


# --------------------------------------------------------------------------- random weights
@pytest.fixture
def base(folder: Path) -> dict[str, ModelSpec]:
    """The model that random ones borrow tokenizer and architecture from."""
    spec = ModelSpec(id="base", source=FolderSource(path=str(folder)), architecture="llama", layers=PLAN)
    return {"base": spec}


def test_random_weights_are_a_function_of_the_seed(
    base: dict[str, ModelSpec], load: Callable[..., LoadedModel]
) -> None:
    state = torch.random.get_rng_state()
    first = load(RandomSource(like="base", seed=3), base)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was used"
    torch.manual_seed(99)
    again, other = load(RandomSource(like="base", seed=3), base), load(RandomSource(like="base", seed=4), base)
    torch.random.set_rng_state(state)
    assert first.identity == again.identity
    assert first.identity.weights != other.identity.weights
    assert first.identity.tokenizer == other.identity.tokenizer
    pretrained = load(base["base"].source)
    assert first.identity.weights != pretrained.identity.weights
    assert first.identity.tokenizer == pretrained.identity.tokenizer


def test_overrides(base: dict[str, ModelSpec], load: Callable[..., LoadedModel]) -> None:
    plan = LayerPlan(edit=0, measured=(0, 1), inner=(0,))
    changed = RandomSource(like="base", overrides={"num_hidden_layers": 2, "intermediate_size": 48})
    loaded = load(changed, base, layers=plan)
    assert loaded.sites.n_layers == 2 and loaded.sites.down_proj(1).weight.shape == (32, 48)
    with pytest.raises(ModelLoadError, match="override 'num_layer' is no field of LlamaConfig"):
        load(RandomSource(like="base", overrides={"num_layer": 2}), base)


def test_random_like_random(base: dict[str, ModelSpec], load: Callable[..., LoadedModel]) -> None:
    chained = {**base, "toy": base["base"].model_copy(update={"id": "toy", "source": RandomSource(like="base")})}
    with pytest.raises(ModelLoadError, match="random model 'toy' cannot be like another random model"):
        load(RandomSource(like="toy"), chained)


def test_random_needs_no_weights(
    base: dict[str, ModelSpec], folder: Path, load: Callable[..., LoadedModel], tmp_path: Path
) -> None:
    """Only config and tokenizer are borrowed; the numbers do not come from the file."""
    first = load(RandomSource(like="base", seed=3), base).identity.weights
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    (moved / "model.safetensors").write_bytes(b"")
    spec = base["base"].model_copy(update={"source": FolderSource(path=str(moved))})
    assert load(RandomSource(like="base", seed=3), {"base": spec}).identity.weights == first


def test_transformers_is_quiet_only_while_it_loads() -> None:
    from transformers.utils import logging

    before = (logging.is_progress_bar_enabled(), logging.get_verbosity())
    with pytest.raises(KeyError), sources.quiet_transformers():
        assert not logging.is_progress_bar_enabled() and logging.get_verbosity() == logging.ERROR
        raise KeyError
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before


# --------------------------------------------------------------------------- families
def test_quantised_weights_are_refused(folder: Path, load: Callable[..., LoadedModel]) -> None:
    config = json.loads((folder / "config.json").read_text())
    for settings, method in (({"quant_method": "gptq", "bits": 4}, "gptq"), ({"bits": 4}, "by an unnamed method")):
        (folder / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
        with pytest.raises(ModelLoadError, match=rf"are quantised \({method}\); .*take the unquantised model"):
            load(FolderSource(path=str(folder)))


def test_an_architecture_that_is_not_the_models(
    tiny: LoadedModel, folder: Path, load: Callable[..., LoadedModel]
) -> None:
    """The paths may fit by accident; the table still says what it was written for."""
    other = tiny.sites.spec.model_copy(update={"id": "other", "model_types": ("gpt2", "t5")})
    spec = ModelSpec(id="own", source=FolderSource(path=str(folder)), architecture="other", layers=PLAN)
    with pytest.raises(ModelLoadError, match=r"'own' is of type 'llama', but architecture 'other' covers gpt2, t5"):
        load_model(spec, other, CPU, lambda _name: spec)


def test_a_path_that_is_missing_is_told_when_loading(tiny: LoadedModel, folder: Path) -> None:
    wrong = tiny.sites.spec.model_copy(update={"attention": "model.layers.{}.attn"})
    spec = ModelSpec(id="own", source=FolderSource(path=str(folder)), architecture="llama", layers=PLAN)
    with pytest.raises(SiteError, match=r"self-attention module expected at 'model\.layers\.0\.attn'"):
        load_model(spec, wrong, CPU, lambda _name: spec)


def test_a_users_model_of_a_family_without_a_table(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "opt"}))
    with pytest.raises(UsageError, match=r"is of type 'opt', which no architecture in specs/models covers; known: "):
        own_model(LIBRARY, str(folder))


def test_a_users_encoder_decoder_is_edited_in_its_decoder(tmp_path: Path) -> None:
    T5Config(num_layers=2, num_decoder_layers=12).save_pretrained(tmp_path)
    found = own_model(LIBRARY, str(tmp_path))
    assert found.architecture == "t5" and found.layers.edit == 3 and found.layers.measured[-1] == 11


def test_an_encoder_decoder_from_a_folder(tmp_path: Path, load: Callable[..., LoadedModel]) -> None:
    from_specs = toy("rehearsal-t5")
    from_specs.model.save_pretrained(tmp_path)
    from_specs.tokenizer.save_pretrained(tmp_path)
    spec = ModelSpec(id="own", source=FolderSource(path=str(tmp_path)), architecture="t5", layers=PLAN)
    loaded = load_model(spec, LIBRARY.architectures["t5"], CPU, lambda _name: spec)
    assert type(loaded.model).__name__ == "T5ForConditionalGeneration"
    assert loaded.identity.weights == from_specs.identity.weights


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "gpt2", "overrides": {"n_layers": 2}}, "override 'n_layers' is no field of GPT2Config"),
        ({"model_type": "gpt-2"}, "random model of type 'gpt-2' cannot be configured"),
    ],
)
def test_a_family_that_cannot_be_made(
    base: dict[str, ModelSpec], load: Callable[..., LoadedModel], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelLoadError, match=said):
        load(RandomSource(like="base", **fields), base)


def test_another_family_with_the_tokenizer_of_a_model(base: dict[str, ModelSpec]) -> None:
    """Fields that a configuration derives from others follow the overrides."""
    sizes = {"num_hidden_layers": 4, "hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 3}
    source = RandomSource(like="base", model_type="mistral", overrides={**sizes, "num_key_value_heads": 1})
    spec = ModelSpec(id="own", source=source, architecture="llama", layers=PLAN)
    loaded = load_model(spec, LIBRARY.architectures["llama"], CPU, base.__getitem__)
    assert type(loaded.model).__name__ == "MistralForCausalLM" and loaded.model.config.head_dim == 8
    assert loaded.model.config.vocab_size == len(loaded.tokenizer)
    assert loaded.model.config.eos_token_id == loaded.tokenizer.eos_token_id
