"""What a survey's output means: its records as ``Facts``.

Pure. Nothing a host says is believed to be well-formed or of reasonable size. ``survey_records`` reads the single
records, ``machine_facts`` and this module make facts of them. The grammar stands in ``docs/explanation/host-protocol.md``.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from ionetctl.core.model.facts import Facts, NomadState
from ionetctl.core.model.names import NodeId
from ionetctl.core.model.plan import Form
from ionetctl.facts.complete_output import records_between
from ionetctl.facts.machine_facts import machine_facts, mebibytes
from ionetctl.facts.survey_draft import Draft, malformed
from ionetctl.facts.survey_records import UUID, take

SURVEY_LIMIT_BYTES: Final = 512 * 1024
_PROBED: Final = re.compile(r"ionet-probed\t(\w+)\t([0-9]{1,6})")


def parted(output: bytes, nonce: str) -> tuple[bytes, bytes, float]:
    """The output of a survey that a probe follows: the survey's, the probe's, and how many seconds the probe took.

    What is missing, is missing in the part that it belongs to, and the time of a probe that never ended is 0.
    """
    ending = f"\nionet-survey-end\t{nonce}\n".encode()
    survey, found, rest = output.partition(ending)
    _, _, last = rest.removesuffix(b"\n").rpartition(b"\n")
    said = _PROBED.fullmatch(last.decode(errors="replace"))
    took_s = int(said[2]) / 100 if said and said[1] == nonce else 0.0
    return survey + found, rest, took_s


def parse_survey(output: bytes, nonce: str, *, controller_time: float) -> Facts:
    """The facts in a survey's standard output; ``controller_time`` is when the survey began, in epoch seconds.

    Lines after the closing one are ignored.

    Raises ``HostFailedError`` (``survey_malformed``), naming the field, where the output violates the
    protocol; ``HostUnreachableError`` (``survey_incomplete``, transient) where its beginning or its end is missing.
    """
    if len(output) > SURVEY_LIMIT_BYTES:
        raise malformed("output", f"more than {SURVEY_LIMIT_BYTES} bytes")
    draft = Draft()
    for line in _records(output, nonce):
        take(draft, line)
    return _facts(draft, controller_time)


def _records(output: bytes, nonce: str) -> list[str]:
    """The lines between the opening and the closing one."""
    opening, ending = f"ionet-survey\t1\t{nonce}", f"ionet-survey-end\t{nonce}"
    message = "the survey's output is not whole: the connection dropped, or the host's shell gave up"
    return records_between(output, opening, ending, "survey_incomplete", message)


def _facts(draft: Draft, controller_time: float) -> Facts:
    texts, numbers = draft.texts, draft.numbers
    host_time = numbers.get("time")
    has_no_gpu = numbers.get("gpu.bus") == 0
    return Facts(
        os_id=texts.get("os.id", ""),
        os_version=texts.get("os.version", ""),
        os_name=texts.get("os.name", ""),
        kernel=texts.get("kernel", ""),
        architecture=texts.get("arch", ""),
        init=texts.get("init", ""),
        is_root=numbers.get("uid") == 0,
        clock_offset_s=None if host_time is None else host_time - controller_time,
        machine_id=texts.get("machine-id"),
        boot_id=texts.get("boot-id"),
        cpu_cores=numbers.get("cpu.cores"),
        memory_mib=mebibytes(draft, "memory.kib"),
        disks=tuple(draft.disks.values()),
        gpus=() if has_no_gpu else None,
        gpu_source="pci" if has_no_gpu else "not probed",
        nomad=_nomad(draft),
        files=draft.files,
        links=draft.links,
        manifest=draft.manifest,
        node_certificate=_certificate(draft.certificate),
        node_public_key=texts.get("key"),
        lock_owner=draft.lock and f"{draft.lock[1]} (rollout {draft.lock[0]})",
        lock_started_at=draft.lock and draft.lock[2],
        fence=numbers.get("fence", 0),
        has_gzip="gzip" in draft.tools,
        best_form=next((form for form in Form if form in draft.tools), Form.GZIP),
        has_tar="tar" in draft.tools,
        has_openssl="openssl" in draft.tools,
        machine=machine_facts(draft),
    )


def _nomad(draft: Draft) -> NomadState:
    texts, numbers = draft.texts, draft.numbers
    return NomadState(
        is_ours=bool(numbers.get("ours")),
        active=texts.get("nomad.active", "unknown"),
        is_enabled=texts.get("nomad.enabled") == "enabled",
        is_running=bool(numbers.get("nomad.process")),
        agent_version=texts.get("nomad.version"),
        node_id=_node_id(texts.get("nomad.client-id")),
        stamp=texts.get("nomad.stamp"),
        has_introduction_token=bool(numbers.get("nomad.token")),
        allocations=numbers.get("nomad.allocations", 0),
        is_interrupted=bool(numbers.get("interrupted")),
        config_files=tuple(draft.config_files),
    )


def _node_id(text: str | None) -> NodeId | None:
    if text is None:
        return None
    if not UUID.fullmatch(text):
        raise malformed("nomad.client-id", "it is no UUID")
    return NodeId(text)


def _certificate(lines: list[str]) -> str | None:
    if not lines:
        return None
    try:
        return base64.b64decode("".join(lines), validate=True).decode("ascii", errors="replace")
    except ValueError:  # of characters that are not of base64, or not of ASCII
        raise malformed("cert", "it is no base64") from None
