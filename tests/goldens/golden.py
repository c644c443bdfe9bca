"""Comparison with golden files, and what is taken out of an output before it: values that differ from run to run.

``IONETCTL_RENEW_GOLDENS=1`` writes the files anew. A test that wrote one fails, so that nothing is renewed unseen.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Final

import pytest

GOLDENS: Final = Path(__file__).parent
RENEW: Final = "IONETCTL_RENEW_GOLDENS"
VARYING: Final = (
    (r"\b\d{8}T\d{6}-[2-9a-z]{6}\b", "ROLLOUT"),
    (r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"', '"TIME"'),
    (r'"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"', '"UUID"'),
    (r'"[0-9a-f]{16}-[0-9a-f]{12}"', '"STAMP"'),
    (r'("duration_s": )\d+\.\d+', r"\g<1>0.0"),
    (r"(127\.\d+\.\d+\.\d+(?::|', ))\d+", r"\1PORT"),
)
"""Pattern → what stands for it: keys, their order, types and null stay as they are."""


def normalized(text: str) -> str:
    """``text`` with a fixed word for each value that no two runs share."""
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text)
    return text


def compare(name: str, text: str) -> None:
    """Fail where ``text`` is not what the golden file ``name`` holds, to the last byte."""
    path = GOLDENS / name
    golden = path.read_bytes().decode() if path.exists() else None
    if golden == text:
        return
    if os.environ.get(RENEW) == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        pytest.fail(f"{name} was renewed: look at the difference, and run again without {RENEW}")
    lines = difflib.unified_diff(
        (golden or "").splitlines(), text.splitlines(), name, "now", n=1, lineterm=""
    )
    pytest.fail(
        "\n".join([f"{name} differs; where that is meant, run with {RENEW}=1", *lines]), pytrace=False
    )


def remove_others(folder: str, names: set[str]) -> None:
    """Fail where ``folder`` holds goldens that nothing is compared with; when renewing, remove them."""
    others = sorted(path for path in (GOLDENS / folder).iterdir() if path.name not in names)
    if others and os.environ.get(RENEW) == "1":
        for path in others:
            path.unlink()
    assert [path.name for path in others] == [], f"nothing makes these; {RENEW}=1 removes them"
