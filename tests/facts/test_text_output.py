"""Text files that a host prints for ``--diff``."""

from __future__ import annotations

import base64

import pytest

from ionetctl.core.errors import HostError
from ionetctl.facts.text_output import parse_texts


def test_texts_are_read_between_the_nonces() -> None:
    """What a login prints behind the answer is passed over, and what is no text is replaced."""
    content = base64.b64encode(b"a\xff\n").decode()
    output = f"ionet-read\t1\tN\ntext\t/a\t{content}\nionet-read-end\tN\nbye\n"
    assert parse_texts(output.encode(), "N") == {"/a": "a\ufffd\n"}


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("ionet-read\t1\tN\n", "survey_incomplete"),
        ("", "survey_incomplete"),
        ("ionet-read\t1\tN\ntext\t/a\t!!\nionet-read-end\tN\n", "survey_malformed"),
        ("ionet-read\t1\tN\nfile\t/a\ttext\nionet-read-end\tN\n", "survey_malformed"),
        ("ionet-read\t1\tN\n\nionet-read-end\tN\n", "survey_malformed"),
    ],
)
def test_answers_that_cannot_be_meant_are_refused(output: str, code: str) -> None:
    """A torn or foreign answer is the host's error."""
    with pytest.raises(HostError) as caught:
        parse_texts(output.encode(), "N")
    assert caught.value.code == code
    assert caught.value.hint
