"""What a host says is shown as one harmless line."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionetctl.core.sanitize import harmless


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Permission denied", "Permission denied", id="plain"),
        pytest.param("  two \t words\r\n", "two words", id="white-space"),
        pytest.param(
            "Zugriff verweigert: Schlüssel, 鍵 ✓", "Zugriff verweigert: Schlüssel, 鍵 ✓", id="unicode"
        ),
        pytest.param("\x1b[31mred\x1b[0m", "red", id="colour"),
        pytest.param("\x9b31mred", "red", id="8-bit CSI"),
        pytest.param("\x1b]0;owned\x07title", "title", id="OSC ended by BEL"),
        pytest.param("\x1b]8;;http://x\x1b\\link", "link", id="OSC ended by ST"),
        pytest.param("\x1bPpayload\x9cafter", "after", id="DCS"),
        pytest.param("\x1b]0;never ended", "", id="OSC without an end"),
        pytest.param("\x1bcreset", "reset", id="terminal reset"),
        pytest.param("lone \x1b", "lone", id="lone escape"),
        pytest.param("a\x00b\x08c\x7fd\x85e", "abcd e", id="controls"),
        pytest.param("abc\u202edcba\u2066", "abcdcba", id="bidi"),
        pytest.param("pass\u200bword\ufeff", "password", id="zero width"),
        pytest.param("tag\U000e0041", "tag", id="tag characters"),
        pytest.param("line\u2028para\u2029end", "line para end", id="Unicode line breaks"),
        pytest.param("half \ud800 pair", "half \ufffd pair", id="lone surrogate"),
        pytest.param("private \ue000 use", "private \ufffd use", id="private use"),
        pytest.param("::error file=x::gotcha", ": :error file=x: :gotcha", id="GitHub command"),
        pytest.param("\x1b[1m::error::x", ": :error: :x", id="GitHub command behind a colour"),
        pytest.param("sudo: ::add-mask::x", "sudo: : :add-mask: :x", id="GitHub command inside a line"),
        pytest.param(":::debug", ":: :debug", id="GitHub command behind a colon"),
        pytest.param("##vso[task.setvariable]x", "# #vso[task.setvariable]x", id="Azure command"),
        pytest.param("gpu: ##vso[x]", "gpu: # #vso[x]", id="Azure command inside a line"),
        pytest.param("x ##[error]y", "x # #[error]y", id="Azure formatting inside a line"),
        pytest.param("###[group]", "## #[group]", id="Azure formatting behind a hash"),
        pytest.param("##teamcity[a]", "# #teamcity[a]", id="TeamCity command"),
        pytest.param("## heading [1]", "## heading [1]", id="hashes without a command"),
        pytest.param("on [::]:22 and fe80::1", "on [::]:22 and fe80::1", id="IPv6 addresses"),
        pytest.param("::ffff:10.0.0.1 2001:db8::dead", "::ffff:10.0.0.1 2001:db8::dead", id="IPv6 letters"),
    ],
)
def test_text_becomes_harmless(text: str, expected: str) -> None:
    """Each way of doing more than being read is taken out, and nothing else."""
    assert harmless(text) == expected


def test_length_is_capped() -> None:
    """What is too long ends in an ellipsis, within the limit."""
    assert harmless("a" * 50, limit_chars=10) == "a" * 9 + "…"


def test_exact_length_is_kept() -> None:
    """The limit itself is not too long."""
    assert harmless("a" * 10, limit_chars=10) == "a" * 10


@given(st.text())
def test_nothing_hidden_survives(text: str) -> None:
    """No text whatsoever comes out with a control, format or line-breaking character."""
    forbidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    hidden = [c for c in harmless(text) if unicodedata.category(c) in forbidden]
    assert hidden == []


@given(st.text())
def test_harmless_is_idempotent(text: str) -> None:
    """Doing it twice changes nothing."""
    assert harmless(harmless(text)) == harmless(text)


@given(st.text(alphabet=":#[]vsodebugerror \u200b\x1b", max_size=20))
def test_no_ci_command_survives(text: str) -> None:
    """GitHub's, Azure's and TeamCity's commands are found nowhere in a line, whatever stood between their characters."""
    assert re.search(r"##[a-z]*\[|::(error|debug|group)", harmless(text)) is None
