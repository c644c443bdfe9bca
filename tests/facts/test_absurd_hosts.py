"""Surveys and probes in which any one field is absurd: each is refused as the host's fault, or judged like any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import pytest

from ionetctl.checks import check_host
from ionetctl.core.errors import HostError
from ionetctl.facts.gpu_output import parse_probe
from ionetctl.facts.survey_output import parse_survey
from tests.support.absurd import VALUES, absurd_documents
from tests.support.sample import BARE, HOST

SURVEY: Final = (Path(__file__).parent / "cases" / "whole.survey").read_text().split("\n")
TEXTS: Final = [value if isinstance(value, str) else json.dumps(value) for value in VALUES]
PROBES: Final = Path(__file__).parents[1] / "remote" / "probe"


@pytest.mark.parametrize("number", [number for number, line in enumerate(SURVEY) if "\t" in line])
def test_any_field_of_a_survey_is_read_or_refused(number: int) -> None:
    """Each field of each record, with numbers and texts that no machine has."""
    name, *values = SURVEY[number].split("\t")
    for place in range(len(values)):
        for text in TEXTS:
            line = "\t".join((name, *values[:place], text, *values[place + 1 :]))
            output = "\n".join((*SURVEY[:number], line, *SURVEY[number + 1 :])).encode()
            try:
                facts = parse_survey(output, "n0nce", controller_time=1763859859.5)
            except HostError:
                continue
            except Exception as error:
                raise AssertionError(line) from error
            msgspec.json.encode((facts, check_host(HOST, facts)))


@pytest.mark.parametrize("name", ["new-datacenter", "new-mig", "new-weird", "new-forbidden"])
def test_any_field_of_a_probe_is_read_or_refused(name: str) -> None:
    """Each field of what the probe said on machines of all kinds."""
    answer = json.loads((PROBES / f"{name}.json").read_text())
    for where, text in absurd_documents(answer):
        output = b"ionet-probe\t1\tn0nce\nnvml\t" + text + b"\nionet-probe-end\tn0nce\n"
        try:
            reading = parse_probe(output, "n0nce")
        except HostError:
            continue
        except Exception as error:
            raise AssertionError(where) from error
        facts = replace(BARE, gpus=reading.gpus, driver_version=reading.driver_version)
        msgspec.json.encode((facts, check_host(HOST, facts)))
