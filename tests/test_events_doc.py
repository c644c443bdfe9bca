"""docs/reference/json.md lists the types of events with their fields, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, get_args

import msgspec

from ionetctl.core.events import AnyEvent

PAGE: Final = (Path(__file__).parents[1] / "docs" / "reference" / "json.md").read_text()
SECTION: Final = PAGE.partition("\n## Events\n")[2].partition("\n## ")[0]
ROW: Final = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


def test_every_event_is_documented_as_it_is() -> None:
    """Each type with its own fields in their order; ``host`` belongs to all."""
    documented = {tag: re.findall(r"`(\w+)`", fields) for tag, fields in ROW.findall(SECTION)}
    types = get_args(AnyEvent)
    expected = {
        str(each.__struct_config__.tag): [
            field.name for field in msgspec.structs.fields(each) if field.name != "host"
        ]
        for each in types
    }
    assert documented == expected
