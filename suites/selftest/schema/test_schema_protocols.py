"""Protocols of single models in a profile, and what a profile may not say about answering."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from editverdict.schema import AnswerProtocol, ProfileSpec, SpecError, SpecLibrary, Thinking
from suites.selftest.conftest import ROOT

LIBRARY = SpecLibrary.load(ROOT / "specs")
SMOKE = LIBRARY.profiles["smoke"]


def test_a_reasoning_model_of_the_paper_has_its_own_protocol() -> None:
    paper = LIBRARY.profiles["paper"]
    own = paper.protocol_of("deepseek-r1-distill-llama-8b")
    assert own.max_new_tokens == 1024 and own.thinking == Thinking() and own.prompt_form == "chat" and not own.stop
    assert paper.protocol_of("llama-3.1-8b-instruct") == paper.protocol
    assert paper.protocol.max_new_tokens == 50 and paper.protocol.thinking is None


def test_teacher_forcing_is_no_protocol_of_a_profile() -> None:
    forced = AnswerProtocol(id="tf", max_new_tokens=4, decoding="teacher-forced")
    for change in ({"protocol": forced}, {"protocols": {"rehearsal-llama": forced}}):
        with pytest.raises(ValidationError, match="protocol tf of profile 'smoke' has decoding 'teacher-forced'"):
            ProfileSpec.model_validate({**dict(SMOKE), **change})


def test_a_protocol_of_an_unknown_model_is_found(tmp_path: Path) -> None:
    text = (ROOT / "specs/profiles/smoke.yaml").read_text(encoding="utf-8")
    bent = text.replace(
        "    seed: 0\n", "    protocols:\n      rehearsal-lama: {id: long, max_new_tokens: 9}\n    seed: 0\n"
    )
    (tmp_path / "smoke.yaml").write_text(bent.replace("id: smoke", "id: bent"), encoding="utf-8")
    with pytest.raises(SpecError, match=r"(?s)rehearsal-lama.*did you mean 'rehearsal-llama'"):
        SpecLibrary.load(ROOT / "specs", tmp_path)
