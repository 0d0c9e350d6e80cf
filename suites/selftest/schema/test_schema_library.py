"""Good specs: what the library holds, overlays, strictness that accepts, hashes, and the published JSON Schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from editverdict.schema import KINDS, ClaimSpec, RandomSource, SpecError, json_schemas, spec_hash, write_json_schemas
from editverdict.schema.base import Spec
from editverdict.schema.profiles import ProfileSpec

ROOT = Path(__file__).resolve().parents[3]


def test_good_specs_are_loaded_sorted_and_placed(workshop):
    library = workshop.load()
    assert list(library.claims) == ["collapse-cond", "paired"]
    assert list(library.models) == ["rehearsal", "tiny"]
    assert isinstance(library.models["rehearsal"].source, RandomSource)
    assert library.places["models", "tiny"] == "specs/models/models.yaml:10"
    assert library.places["claims", "paired"] == "specs/claims/collapse.yaml:27"
    assert {kind for kind, _ in library.places} == set(KINDS)


def test_numbers_and_lists_arrive_with_their_types(workshop):
    library = workshop.load()
    expect = library.claims["paired"].expect
    assert (expect.low, type(expect.low)) == (1.0, float), "an integer is good enough for a number"
    assert library.claims["collapse-cond"].expect.threshold == 1e6
    assert library.models["tiny"].layers.measured == (0, 1, 2)
    assert library.models["rehearsal"].source.overrides == {"num_hidden_layers": 3, "rms_norm_eps": 1e-5}
    assert library.methods["ROME"].hyperparameters == {"lr": 0.5, "layers": [5], "clamp": {"factor": 4}}


@pytest.mark.parametrize("written", ["0.1", "1.7e-8", "2.4e-7", "0.30000000000000004", "1e-320", "123456789.123456789"])
def test_numbers_are_read_to_the_last_bit(workshop, written):
    workshop.replace("claims/collapse.yaml", "threshold: 1e6", f"threshold: {written}")
    assert workshop.load().claims["collapse-cond"].expect.threshold == float(written)


def test_no_is_text_where_text_is_expected(workshop):
    workshop.replace("claims/collapse.yaml", "population: decoders", "population: no")
    assert workshop.load().claims["collapse-cond"].population == "no"


def test_get_returns_or_names_the_nearest(workshop):
    library = workshop.load()
    assert library.get("models", "tiny") is library.models["tiny"]
    with pytest.raises(SpecError) as caught:
        library.get("models", "Tinny")
    assert str(caught.value) == "unknown model 'Tinny'; expected one of rehearsal, tiny; did you mean 'tiny'?"
    with pytest.raises(SpecError) as caught:
        library.get("model", "tiny")
    expected = "unknown kind of spec 'model'\n    expected one of architectures, capabilities,"
    assert str(caught.value).startswith(expected)


def test_later_folder_replaces_by_id_and_adds(workshop):
    workshop.write("mine.yaml", "judges:\n  - {id: strict, format: lexical, rule: contains}\n", "own")
    workshop.write("sub/more.yml", "judges:\n  - {id: another, format: lexical}\n", "own")
    library = workshop.load("specs", "own")
    assert library.judges["strict"].rule == "contains"
    assert library.places["judges", "strict"] == "own/mine.yaml:2"
    assert list(library.judges) == ["another", "strict"]
    assert workshop.load("own", "specs").judges["strict"].rule == "starts-with"


def test_overlay_may_refer_to_what_lies_below(workshop):
    workshop.write("mine.yaml", (workshop.root / "specs/profiles/laptop.yaml").read_text(), "own")
    workshop.replace("../own/mine.yaml", "models: [tiny, rehearsal]", "models: [rehearsal]")
    assert workshop.load("specs", "own").profiles["laptop"].models == ("rehearsal",)
    assert {p.file for p in workshop.error("own").problems} == {"own/mine.yaml"}


def test_mistakes_below_an_overlay_are_reported_too(workshop):
    workshop.replace("data.yaml", "format: lexical", "format: lexicl")
    workshop.write("mine.yaml", "judges:\n  - {id: strict, format: lexical}\n", "own")
    assert [p.file for p in workshop.error("specs", "own").problems] == ["specs/data.yaml"]


def test_the_same_id_in_two_files_of_a_folder_names_both_places(workshop):
    workshop.write("z/more.yaml", "# comment\njudges:\n  - format: lexical\n    id: strict\n")
    (problem,) = workshop.error().problems
    assert (problem.file, problem.line) == ("specs/z/more.yaml", 4)
    assert problem.found == "judge 'strict' is defined twice: here and at specs/data.yaml:15"


@pytest.mark.parametrize("name", ["schema/x.yaml", "paper/t/x.yaml", "consistency/x.yaml", ".hidden/x.yaml", "x.json"])
def test_folders_that_hold_no_specs_are_left_out(workshop, name):
    workshop.write(name, "- nonsense")
    workshop.load()


def test_a_folder_named_like_those_further_down_is_read(workshop):
    workshop.write("claims/paper/x.yaml", "- nonsense")
    assert [p.file for p in workshop.error().problems] == ["specs/claims/paper/x.yaml"]


def test_a_single_file_can_be_loaded(workshop):
    assert list(workshop.load("specs/models/models.yaml").models) == ["rehearsal", "tiny"]


# --------------------------------------------------------------------------- hashes
def _claim(**changes: object) -> ClaimSpec:
    expect = {"op": "<=", "threshold": 0.85, "origin": "paper", "ref": "Table 5"}
    fields = {
        "id": "c",
        "statement": "s",
        "source": {"paper": "p", "hypothesis": "h", "where": "w"},
        "quantity": "q",
        "describes": "d",
        "reduce": "r",
        "subject": ["model"],
        "unit": "edit",
        "min_units": 20,
        "definitions": [{"name": "n", "role": "primary"}],
        "expect": expect,
        "population": "p",
        "family": "f",
    }
    return ClaimSpec.model_validate_json(json.dumps(fields | changes))


def test_hash_is_known_and_blind_to_layout(workshop):
    assert spec_hash(_claim()) == spec_hash(_claim(quantifier="all")), "a default written out changes nothing"
    before = spec_hash(workshop.load().methods["ROME"])
    workshop.replace(
        "methods/rome.yaml", "{lr: 0.5, layers: [5], clamp: {factor: 4}}", "{clamp: {factor: 4}, layers: [5], lr: 5e-1}"
    )
    workshop.replace(
        "methods/rome.yaml", "    editor: rome\n    kind: parameter\n", "    kind: parameter\n    editor: rome\n"
    )
    assert spec_hash(workshop.load().methods["ROME"]) == before
    workshop.replace("methods/rome.yaml", "layers: [5]", "layers: [6]")
    assert spec_hash(workshop.load().methods["ROME"]) != before


def test_hash_of_a_judge_is_the_sha256_of_its_canonical_json(workshop):
    import hashlib

    text = b'{"format":"lexical","id":"strict","rule":"starts-with"}'
    assert spec_hash(workshop.load().judges["strict"]) == hashlib.sha256(text).hexdigest()


def test_hash_sees_the_threshold_to_the_last_bit():
    expect = {"op": "<=", "threshold": 0.8500000000000001, "origin": "paper", "ref": "Table 5"}
    assert spec_hash(_claim(expect=expect)) != spec_hash(_claim())


# --------------------------------------------------------------------------- JSON Schemas
def test_published_schemas_are_those_that_the_code_generates(tmp_path):
    written = {path.name: path.read_bytes() for path in write_json_schemas(tmp_path)}
    published = {path.name: path.read_bytes() for path in (ROOT / "specs" / "schema").glob("*.json")}
    assert set(written) == {f"{kind}.schema.json" for kind in [*KINDS, "specs"]}
    assert published == written, "specs/schema is out of date: run write_json_schemas(Path('specs/schema'))"


def test_schemas_describe_fields_and_close_objects():
    schema = json_schemas()["claims.schema.json"]
    claim = schema["$defs"]["ClaimSpec"]
    assert schema["properties"]["claims"]["items"] == {"$ref": "#/$defs/ClaimSpec"}
    assert claim["properties"]["quantity"]["description"] == "Name of a registered measurement."
    assert claim["additionalProperties"] is False and schema["additionalProperties"] is False
    assert schema["$defs"]["Expectation"]["properties"]["origin"]["enum"] == ["paper", "convention", "ours"]


def test_schema_for_any_file_knows_every_kind():
    assert set(json_schemas()["specs.schema.json"]["properties"]) == set(KINDS)


def test_every_spec_class_is_closed_frozen_and_strict():
    classes = [Spec]
    for cls in classes:
        classes += cls.__subclasses__()
    assert ProfileSpec in classes
    for cls in classes:
        config = cls.model_config
        assert (config["extra"], config["frozen"], config["strict"]) == ("forbid", True, True), cls.__name__
