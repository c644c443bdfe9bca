"""Parses the text files that ``remote/read.sh`` prints for ``--diff``. Pure; the input is not trusted."""

from __future__ import annotations

import base64
import binascii

from ionetctl.core.errors import HostFailedError
from ionetctl.facts.complete_output import records_between


def parse_texts(output: bytes, nonce: str) -> dict[str, str]:
    """Path → content; characters that are not text are replaced.

    Raises ``HostUnreachableError`` (``survey_incomplete``, transient) where the output is not whole,
    ``HostFailedError`` (``survey_malformed``) where a record is malformed.
    """
    opening, ending = f"ionet-read\t1\t{nonce}", f"ionet-read-end\t{nonce}"
    message = "the files to compare did not arrive whole"
    records = records_between(output, opening, ending, "survey_incomplete", message)
    return dict(_parse(record) for record in records)


def _parse(record: str) -> tuple[str, str]:
    match record.split("\t"):
        case ["text", path, content]:
            try:
                return path, base64.b64decode(content, validate=True).decode(errors="replace")
            except binascii.Error:
                pass
    raise HostFailedError(
        "survey_malformed", "the files to compare are malformed", "run again without --diff"
    )
