"""Wrong specs: the exact text that a user reads."""

from __future__ import annotations

import pickle

import pytest

from editverdict.schema import SpecError, SpecProblem, nearest

C, M, E, D, P = "claims/collapse.yaml", "models/models.yaml", "methods/rome.yaml", "data.yaml", "profiles/laptop.yaml"
ALL_CLAIM_KEYS = (
    "id, kind, statement, source, quantity, describes, reduce, subject, range, unit, min_units, edits, late, "
    "late_from, methods, about, about_models, data, definitions, expect, controls, checks, quantifier, ranges_over, "
    "population, family, severity, paper_values, requires, suite, timed, not_comparable"
)
KINDS = "claims, architectures, models, methods, datasets, corpora, encoders, judges, capabilities, profiles"

# file, text, replaced by, the messages (without 'specs/<file>:')
BENT = {
    "misspelt key": (C, "threshold:", "treshold:", """\
16: claims[collapse-cond].expect.treshold: unknown key 'treshold'
    expected one of op, threshold, low, high, origin, ref, rationale
    did you mean 'threshold'?"""),
    "misspelt required key": (C, "quantity:", "quantitiy:", f"""\
5: claims[collapse-cond].quantitiy: unknown key 'quantitiy'
    expected one of {ALL_CLAIM_KEYS}
    did you mean 'quantity'?"""),
    "misspelt kind of spec": (M, "architectures:", "architecture:", f"""\
1: architecture: unknown key 'architecture'
    expected one of {KINDS}
    did you mean 'architectures'?"""),
    "merge key": (M, "    hub: {repo: someone/tiny}", "    <<: {repo: someone/tiny}", """\
12: models[tiny].<<: unknown key '<<'
    expected one of id, source, hub, architecture, dtype, attention, layers, module_blocks, weights, in_paper, licence
    merge keys are not supported: write the fields out, or alias single values"""),
    "comma in a text": (C, "role: rival}", "role: rival, note: as it is, without a mean}", """\
13: claims[collapse-cond].definitions[raw].without a mean: unknown key 'without a mean'
    expected one of name, role, note
    inside { } a comma ends a text: put a text with a comma in quotes"""),
    "duplicate key": (C, "    unit: text_block\n", "    unit: text_block\n    unit: edit\n", """\
10: claims[collapse-cond].unit: duplicate key 'unit': on line 9 and again on line 10; expected every key once; \
remove one of the two"""),
    "threshold without origin": (C, "      origin: paper\n", "", """\
14: claims[collapse-cond].expect.origin: missing
    expected one of paper | convention | ours
    a threshold must say where it comes from: add e.g. 'origin: paper' and its 'ref'"""),
    "missing, with what it is for": (C, "    family: collapse\n", "", """\
2: claims[collapse-cond].family: missing; expected an identifier (letters, digits, . _ + -); \
Claims that belong together."""),
    "number in quotes": (C, "threshold: 1e6", "threshold: '0.85'", """\
16: claims[collapse-cond].expect.threshold: found text '0.85'; expected a number; write 0.85 without quotes"""),
    "number for text": (C, "ref: Table 1", "ref: 1", """\
18: claims[collapse-cond].expect.ref: found integer 1; expected text; put it in quotes: '1'"""),
    "boolean for number": (C, "threshold: 1e6", "threshold: true", """\
16: claims[collapse-cond].expect.threshold: found boolean true; expected a number"""),
    "fraction for integer": (C, "min_units: 20", "min_units: 20.0", """\
10: claims[collapse-cond].min_units: found number 20.0; expected an integer >= 2; write 20"""),
    "below the bound": (C, "min_units: 20", "min_units: 1", """\
10: claims[collapse-cond].min_units: found integer 1; expected an integer >= 2"""),
    "underscores": (P, "base_tokens: 28800", "base_tokens: 28_800", """\
18: profiles[laptop].sizes.base_tokens: found text '28_800'; expected an integer >= 1; write 28800"""),
    "yes for true": (M, "    weights: random", "    in_paper: yes", """\
19: models[rehearsal].in_paper: found text 'yes'; expected true or false; write true, without quotes"""),
    "text for list": (C, "subject: [model]", "subject: model", """\
8: claims[collapse-cond].subject: found text 'model'; expected a list (each item: one of model | method | dataset); \
write a list: [model]"""),
    "wrong word": (C, "unit: text_block", "unit: text-block", """\
9: claims[collapse-cond].unit: found text 'text-block'
    expected one of text_block | edit | chain | seed | prompt | answer
    did you mean 'text_block'?"""),
    "wrong word in a list": (C, "subject: [model]", "subject: [model, methd]", """\
8: claims[collapse-cond].subject[1]: found text 'methd'; expected one of model | method | dataset; \
did you mean 'method'?"""),
    "neither of two types": (C, "    min_units: 20", "    edits: horizn\n    min_units: 20", """\
10: claims[collapse-cond].edits: found text 'horizn'; expected an integer or 'horizon'; did you mean 'horizon'?"""),
    "list item of a union": (P, "claims: [collapse-cond]", "claims: [a b]", """\
11: profiles[laptop].claims[0]: found text 'a b'; expected an identifier (letters, digits, . _ + -)"""),
    "no value": (C, "statement: The condition number is above a million.", "statement:", """\
3: claims[collapse-cond].statement: found null (no value); expected text; give a value or remove the key"""),
    "bad identifier": (D, "{id: facts,", "{id: my facts,", """\
2: datasets[my facts].id: found text 'my facts'; expected an identifier (letters, digits, . _ + -)
specs/profiles/laptop.yaml:6: profiles[laptop].datasets[0]: unknown dataset 'facts'; expected 'my facts'; \
did you mean 'my facts'?"""),
    "bad hash": (D, "0123456789abcdef0123", "xyz", """\
11: corpora[glosses].source.members.data.noun: found text 'xyz456789abcdef0123456789abcdef0123456789abcdef'; \
expected a sha256 (64 digits 0-9 a-f)"""),
    "empty mapping": (D, "members: {", "members: {} #", """\
11: corpora[glosses].source.members: found mapping {}; \
expected a mapping with at least 1 item(s) (each value: a sha256 (64 digits 0-9 a-f))"""),
    "wrong source": (M, "kind: folder", "kind: foldr", """\
11: models[tiny].source.kind: found text 'foldr'; expected one of packaged | hub | folder | random; \
did you mean 'folder'?"""),
    "source without kind": (M, "kind: folder, ", "", """\
11: models[tiny].source.kind: missing; expected one of packaged | hub | folder | random; add e.g. 'kind: packaged'"""),
    "source of another form": (M, "{kind: folder, path: models/tiny}", "models/tiny", """\
11: models[tiny].source: found text 'models/tiny'; \
expected a mapping whose kind is packaged | hub | folder | random"""),
    "field of another source": (M, "path: models/tiny", "repo: models/tiny", """\
11: models[tiny].source.path: missing; expected text
11: models[tiny].source.repo: unknown key 'repo'; expected one of kind, path"""),
    "number of a union": (M, "rms_norm_eps: 1e-5", "rms_norm_eps: small", """\
16: models[rehearsal].source.overrides.rms_norm_eps: found text 'small'; \
expected true or false or an integer or a number"""),
    "layers that contradict": (M, "edit: 1, measured: [0, 1, 2]", "edit: 3, measured: [0, 1, 2]", """\
14: models[tiny].layers: found {edit: 3, measured: [0, 1, 2], inner: [0, 1]}
    expected consistent values: layers [3] are edited or inner but not in 'measured'"""),
    "key of a mapping": (E, "      tiny: {lr: 0.1}", "      tiny tim: {lr: 0.1}", """\
11: methods[ROME].per_model.tiny tim: key 'tiny tim'; expected an identifier (letters, digits, . _ + -)"""),
    "within and threshold": (C, "low: 1, high: 1.5,", "threshold: 0.5,", """\
38: claims[paired].expect: found {op: within, threshold: 0.5}; \
expected consistent values: op 'within' takes 'low' and 'high' and no 'threshold'"""),
    "low above high": (C, "low: 1,", "low: 2,", """\
38: claims[paired].expect: found {low: 2, high: 1.5}; \
expected consistent values: 'low' (2.0) must be below 'high' (1.5)"""),
    "ours without rationale": (C, ", rationale: pairing is all or nothing", "", """\
38: claims[paired].expect.origin: found text 'ours'; expected consistent values: \
a threshold of origin 'ours' needs a 'rationale'"""),
    "paper without ref": (C, "      ref: Table 1\n", "", """\
16: claims[collapse-cond].expect: found {threshold: 1000000.0, origin: paper}
    expected consistent values: a threshold of origin 'paper' needs a 'ref' (table, sentence or convention)"""),
    "two primaries": (C, "role: rival", "role: primary", """\
11: claims[collapse-cond].definitions: found list [{name: centred, role: primary}, {name: raw, role: primary}]
    expected consistent values: exactly one definition must have role 'primary', found 2"""),
    "no list": (D, "datasets:\n  - {id: facts, format: worldfacts, size: 100}", "datasets: facts", """\
1: datasets: found text 'facts'; expected a list of datasets, each beginning with '- id: …'
specs/profiles/laptop.yaml:6: profiles[laptop].datasets[0]: unknown dataset 'facts'; \
expected one that is defined (there is none)"""),
    "no mapping": (D, "- {id: facts, format: worldfacts, size: 100}", "- facts", """\
2: datasets[0]: found text 'facts'; expected a mapping with id, format
specs/profiles/laptop.yaml:6: profiles[laptop].datasets[0]: unknown dataset 'facts'; \
expected one that is defined (there is none)"""),
    "unknown model in a profile": (P, "models: [tiny,", "models: [tyni,", """\
4: profiles[laptop].models[0]: unknown model 'tyni'; expected one of rehearsal, tiny; did you mean 'tiny'?"""),
    "model twice in a profile": (P, "models: [tiny, rehearsal]", "models: [tiny, tiny]", """\
4: profiles[laptop].models[1]: 'tiny' listed twice; expected every name once; remove one"""),
    "unknown method": (P, "[ROME]", "[Rom]", """\
5: profiles[laptop].methods[0]: unknown method 'Rom'; expected 'ROME'; did you mean 'ROME'?"""),
    "unknown corpus": (P, "corpus: glosses", "corpus: books", """\
7: profiles[laptop].corpus: unknown corpus 'books'; expected 'glosses'"""),
    "unknown encoder": (P, "encoder: minilm", "encoder: minilmm", """\
8: profiles[laptop].encoder: unknown encoder 'minilmm'; expected 'minilm'; did you mean 'minilm'?"""),
    "unknown judge": (P, "judge: strict", "judge: strikt", """\
9: profiles[laptop].judge: unknown judge 'strikt'; expected 'strict'; did you mean 'strict'?"""),
    "unknown claim": (P, "[collapse-cond]", "[collapse-con]", """\
11: profiles[laptop].claims[0]: unknown claim 'collapse-con'; expected one of collapse-cond, paired; \
did you mean 'collapse-cond'?"""),
    "unknown architecture": (M, "    architecture: llama", "    architecture: lama", """\
13: models[tiny].architecture: unknown architecture 'lama'; expected 'llama'; did you mean 'llama'?"""),
    "random like nothing": (M, "like: tiny", "like: tini", """\
16: models[rehearsal].source.like: unknown model with files of its own 'tini'; expected 'tiny'; \
did you mean 'tiny'?"""),
    "random like itself": (M, "like: tiny", "like: rehearsal", """\
16: models[rehearsal].source.like: unknown model with files of its own 'rehearsal'; expected 'tiny'"""),
    "hyperparameters of no model": (E, "      tiny: {lr: 0.1}", "      tinny: {lr: 0.1}", """\
11: methods[ROME].per_model.tinny: unknown model 'tinny'; expected one of rehearsal, tiny; did you mean 'tiny'?"""),
    "requires a claim that is no check": (C, "    kind: check\n", "", """\
26: claims[collapse-cond].requires[0]: unknown check (claim of kind 'check') 'paired'; \
expected one that is defined (there is none)"""),
    "requires nothing that exists": (C, "[paired]", "[paird]", """\
26: claims[collapse-cond].requires[0]: unknown check (claim of kind 'check') 'paird'; expected 'paired'; \
did you mean 'paired'?"""),
    "control of no definition": (C, "definition: centred", "definition: centered", """\
20: claims[collapse-cond].controls[gaussian].definition: unknown definition 'centered'; \
expected one of centred, raw; did you mean 'centred'?"""),
    "paper value without number": (C, "value: 3e7", "value: about 3e7", """\
25: claims[collapse-cond].paper_values[0].value: found text 'about 3e7'; expected a number"""),
    "same id twice in a file": (D, "  - {id: facts,", "  - {id: facts, format: jsonl}\n  - {id: facts,", """\
3: datasets[facts].id: dataset 'facts' is defined twice: here and at specs/data.yaml:2; \
expected every id once per folder; rename one"""),
    "colon in a text": (C, "population: decoders", "population: models: decoders", """\
22: bad YAML in column 23: mapping values are not allowed here
    expected valid YAML
    put quotes around a text that contains ': ', and check the indentation"""),
    "tab": (C, "    population: decoders", "\tpopulation: decoders", """\
22: bad YAML in column 1: found character '\\t' that cannot start any token; expected valid YAML; \
indent with spaces, not with tabs"""),
    "open quote": (C, "population: decoders", 'population: "decoders', """\
22: bad YAML in column 17: found unexpected end of stream; expected valid YAML; \
close the quote or bracket that is opened here"""),
    "key that is no text": (E, "{lr: 0.5,", "{5: 0.5,", """\
8: methods[ROME].hyperparameters: key 5; expected a key that is text; put it in quotes"""),
    "tag": (E, "lr: 0.5", "lr: !!python/name:os.system x", """\
8: methods[ROME].hyperparameters.lr: tag '!!python/name:os.system'; expected a plain value; remove the tag"""),
    "number without end": (E, "lr: 0.5", "lr: 1e999", """\
8: methods[ROME].hyperparameters.lr: '1e999'; expected a finite value of type float"""),
    "alias in itself": (E, "layers: [5]", "layers: &a [*a]", """\
8: methods[ROME].hyperparameters.layers[0]: an alias that contains itself; expected a value that ends; \
write the value out"""),
}  # fmt: skip


@pytest.mark.parametrize("case", BENT)
def test_one_mistake_gives_exactly_its_message(workshop, case):
    file, old, new, expected = BENT[case]
    workshop.replace(file, old, new)
    lines = [line if line.startswith((" ", "specs/")) else f"specs/{file}:{line}" for line in expected.split("\n")]
    assert str(workshop.error()) == "\n".join(lines)


FILES = {
    "empty": (b"", ":1: the file is empty"),
    "comments only": (b"# nothing\n", ":1: the file is empty"),
    "a list": (b"\n- id: x\n", ":2: the file is a list [{id: x}]"),
    "a text": (b"claims\n", ":1: the file is a text 'claims'"),
    "not UTF-8": ("claims: []\n# Zürich\n".encode("latin-1"), ":2: byte 0xfc is not UTF-8; expected UTF-8 text"),
    "UTF-16": ("claims: []".encode("utf-16"), ":1: byte 0xff is not UTF-8; expected UTF-8 text"),
    "control character": (b"claims: []\n\0", ":2: bad YAML: character 0 is not allowed; expected printable text"),
    "two documents": (b"claims: []\n---\nmodels: []\n", ":2: bad YAML in column 1: but found another document"),
    "brackets": (b"claims: " + b"[" * 3000, ": bad YAML: nested too deeply"),
    "multiplying aliases": (
        b"a: &a [x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 106)),
        ": bad YAML: more than 200000 values",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_file_that_is_no_mapping(workshop, case):
    content, start = FILES[case]
    workshop.write("z.yaml", content)
    (problem,) = workshop.error().problems
    assert problem.render().startswith(f"specs/z.yaml{start}")


def test_empty_file_in_full(workshop):
    workshop.write("z.yaml", "")
    assert str(workshop.error()) == (
        "specs/z.yaml:1: the file is empty\n"
        f"    expected a mapping with one or more of {KINDS}\n"
        "    fill it or delete it"
    )


def test_six_mistakes_are_reported_together_and_sorted(workshop):
    workshop.replace(C, "threshold:", "treshold:")
    workshop.replace(C, "    family: checks", "    family: checks\n    family: others")
    workshop.replace(C, "origin: ours, ", "")
    workshop.replace(P, "models: [tiny,", "models: [tyni,")
    workshop.replace(M, "measured: [0, 1, 2]", "measured: [0, one, 2]")
    workshop.write("bad.yaml", "claims:\n  - id: [x\n")
    error = workshop.error()
    assert [(p.file, p.line, p.field) for p in error.problems] == [
        ("specs/bad.yaml", 2, ""),
        (f"specs/{C}", 16, "claims[collapse-cond].expect.treshold"),
        (f"specs/{C}", 38, "claims[paired].expect.origin"),
        (f"specs/{C}", 41, "claims[paired].family"),
        (f"specs/{M}", 14, "models[tiny].layers.measured[1]"),
        (f"specs/{P}", 4, "profiles[laptop].models[0]"),
    ]
    assert str(error) == "\n".join(problem.render() for problem in error.problems)


def test_all_mistakes_of_one_item_are_reported_together(workshop):
    workshop.replace(P, "describes: small", "describe: small")
    workshop.replace(P, "models: [tiny,", "models: [tyni,")
    workshop.replace(P, "max_new_tokens: 12", "max_new_tokens: 0")
    assert [p.field for p in workshop.error().problems] == [
        "profiles[laptop].describe",
        "profiles[laptop].models[0]",
        "profiles[laptop].protocol.max_new_tokens",
    ]


def test_an_invalid_item_still_exists_for_others(workshop):
    workshop.replace(M, "path: models/tiny", "path: 3")
    assert [p.field for p in workshop.error().problems] == ["models[tiny].source.path"]


def test_registered_names_are_checked_only_if_given(workshop):
    registries = {
        "quantities": {"condition-numbers", "pairing"},
        "checks": {"enough-text"},
        "editors": {"memit"},
        "controls": {"condition-number": {"gauss"}},
        "tables": {"2"},
    }
    workshop.load()
    expected = """\
specs/claims/collapse.yaml:5: claims[collapse-cond].quantity: unknown quantity 'condition-number'
    expected one of condition-numbers, pairing
    did you mean 'condition-numbers'?
specs/claims/collapse.yaml:20: claims[collapse-cond].controls[gaussian].name: \
unknown control of quantity 'condition-number' 'gaussian'
    expected 'gauss'
    did you mean 'gauss'?
specs/claims/collapse.yaml:21: claims[collapse-cond].checks[0]: unknown check 'enough-texts'; expected 'enough-text'; \
did you mean 'enough-text'?
specs/claims/collapse.yaml:25: claims[collapse-cond].paper_values[0].table: unknown table '1'; expected '2'
specs/methods/rome.yaml:3: methods[ROME].editor: unknown editor 'rome'; expected 'memit'"""
    assert str(workshop.error(registries=registries)) == expected
    right = {"quantities": ["condition-number", "pairing"], "checks": ["enough-texts"], "editors": {"rome": object}}
    assert workshop.load(registries=right).methods["ROME"].editor == "rome"


def test_a_folder_that_is_not_there(workshop):
    (problem,) = workshop.error("specs", "nowhere").problems
    assert problem.render().startswith("nowhere: no such folder\n    expected a folder of specs\n    check the path")


def test_place_of_a_mistake_behind_an_alias(workshop):
    workshop.write("z.yaml", "judges:\n  - id: a\n    format: &f lexicle\n  - id: b\n    format: *f\n")
    assert [(p.line, p.field) for p in workshop.error().problems] == [(3, "judges[a].format"), (5, "judges[b].format")]


def test_spec_error_is_no_assertion_and_survives_pickling(workshop):
    workshop.replace(C, "threshold:", "treshold:")
    error = workshop.error()
    assert not isinstance(error, AssertionError)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, SpecError)
    assert again.problems == error.problems


def test_problems_are_sorted_by_file_and_number_of_line_without_repetition():
    def problem(file: str, line: int) -> SpecProblem:
        return SpecProblem(file, line, "f", "x", "y")

    error = SpecError([problem("b", 1), problem("a", 10), problem("a", 9), problem("b", 1)])
    assert [(p.file, p.line) for p in error.problems] == [("a", 9), ("a", 10), ("b", 1)]


def test_many_valid_names_are_cut_to_those_that_look_alike(workshop):
    judges = "".join(f"  - {{id: judge-{number:02}, format: lexical}}\n" for number in range(40))
    workshop.write("z.yaml", "judges:\n" + judges)
    workshop.replace(P, "judge: strict", "judge: judge-3x")
    (problem,) = workshop.error().problems
    assert problem.expected.startswith("one of 41 names, such as ")
    assert "judge-30" in problem.expected and len(problem.expected) < 160


@pytest.mark.parametrize(("name", "near"), [("rome", "ROME"), ("MEMITT", "MEMIT"), ("zebra", None)])
def test_nearest(name, near):
    assert nearest(name, ["ROME", "MEMIT"]) == near


# ------------------------------------------------------------------- judges, whose fields depend on their format
JUDGES = "judges:\n  - id: a\n"


@pytest.mark.parametrize(
    ("lines", "field", "words"),
    [
        ("    model: m\n", "judges[a].format", "missing; expected one of lexical | openai | local"),
        (
            "    format: openia\n    model: m\n",
            "judges[a].format",
            "'openia'; expected one of lexical | openai | local",
        ),
        ("    format: [openai]\n", "judges[a].format", "expected one of lexical | openai | local"),
        ("    format: openai\n", "judges[a].model", "missing; expected text"),
        ("    format: openai\n    model: m\n    rule: contains\n", "judges[a].rule", "unknown key 'rule'"),
        (
            "    format: lexical\n    model: m\n",
            "judges[a].model",
            "unknown key 'model'; expected one of id, format, rule",
        ),
        ("    format: openai\n    model: m\n    timeout_seconds: 0\n", "judges[a].timeout_seconds", "> 0"),
        ("    format: openai\n    model: m\n    api_key: x\n", "judges[a].api_key", "unknown key 'api_key'"),
        ("    format: openai\n    model: m\n    base_url: ftp://h\n", "judges[a].base_url", "like http://host:port/v1"),
        ("    format: local\n    model: tinny\n", "judges[a].model", "unknown model 'tinny'"),
    ],
)
def test_judges_of_every_format(workshop, lines, field, words):
    workshop.write("z.yaml", JUDGES + lines)
    (problem,) = workshop.error().problems
    assert problem.field == field and words in problem.render().replace("\n    ", "; ")
    assert problem.file.endswith("z.yaml")


@pytest.mark.parametrize("url", ["http://me:sk-12345678@host/v1", "http://host/v1?key=sk-12345678"])
def test_a_key_in_an_address_is_refused_and_not_repeated(workshop, url):
    workshop.write("z.yaml", f'{JUDGES}    format: openai\n    model: m\n    base_url: "{url}"\n')
    message = str(workshop.error())
    assert "holds no user, key or query" in message and "sk-12345678" not in message


def test_judges_that_are_right(workshop):
    text = "judges:\n  - {id: a, format: openai, model: any, key_env: null}\n  - {id: b, format: local, model: tiny}\n"
    workshop.write("z.yaml", text)
    found = workshop.load().judges
    assert found["a"].format == "openai" and found["a"].model == "any" and found["a"].key_env is None
    assert found["b"].model == "tiny" and found["strict"].rule == "starts-with"
