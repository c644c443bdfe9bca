"""What travels to hosts as the probe: small, of an old Python's grammar, and all that it needs."""

from __future__ import annotations

import ast
import binascii
import re
import zlib
from pathlib import Path

import pytest

import ionetctl.remote
from ionetctl.remote import probe_program, probe_script
from ionetctl.remote.packing import SEPARATOR, bare_shell, pack, source_of, used_part

OLDEST = (3, 6)
SENT_LIMIT_BYTES = 20 * 1024
ARGUMENT_LIMIT_BYTES = 2048
COLLECTOR = Path(ionetctl.remote.__file__).with_name("gpu_probe.py")
SCRIPT = Path(ionetctl.remote.__file__).with_name("probe.sh")

LIBRARY = '''# Copyright: somebody
# All rights reserved.

"""What it is."""
import sys
ERROR_ONE = 1
ERROR_TWO = 2
size = 8 * ERROR_ONE
class _Base:
    """A docstring."""
class Used(_Base):
    length = size # a comment
class Unused(_Base):
    pass
def called():
    "Only a docstring."
def uncalled():
    return called()
def looked_up(name):
    return getattr(sys.modules[__name__], name)
named, other = 1, 2
'''


def sent() -> tuple[str, str]:
    """Library and program as they are sent."""
    script = bare_shell(SCRIPT.with_name("programs.sh").read_bytes() + SCRIPT.read_bytes()) + b'probe "$@"\n'
    whole = probe_program()
    assert whole.startswith(script)
    library, program = unpacked(whole[len(script) :]).split(SEPARATOR)
    return library, program


def unpacked(packed: bytes) -> str:
    """What ``probe.sh`` has python3 make of a program."""
    return zlib.decompress(binascii.a2b_base64(packed)).decode()


def names_of(source: str) -> set[str]:
    """What a module defines at its top."""
    found = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return found | {name.id for node in assigned for name in ast.walk(node) if isinstance(name, ast.Name)}


def test_the_probe_is_small() -> None:
    """It is sent to every host, and its first part is an argument that sudo may log."""
    assert len(probe_program()) < SENT_LIMIT_BYTES
    assert len(probe_script()) < ARGUMENT_LIMIT_BYTES


def test_the_script_ends_where_its_starter_stops_reading() -> None:
    """The starter runs what it read when it meets the script's last line."""
    *_, last, packed = probe_program().decode().splitlines()
    assert f"""[ "$line" != '{last}' ]""" in probe_script()
    assert last not in SCRIPT.read_text().splitlines()
    assert packed.isascii()


@pytest.mark.parametrize("place", [0, 1], ids=["pynvml", "collector"])
def test_an_old_python_can_read_it(place: int) -> None:
    """Nothing is of a younger grammar than that of Python 3.6."""
    ast.parse(sent()[place], feature_version=OLDEST)


def test_a_younger_grammar_would_be_noticed() -> None:
    """The control."""
    with pytest.raises(SyntaxError):
        ast.parse("if (n := 1): pass", feature_version=OLDEST)


def test_the_collector_finds_all_that_it_asks_for() -> None:
    """Every name of pynvml that it spells out was sent along."""
    library, program = sent()
    asked = set(re.findall(r"\bpynvml\.(\w+)", program))
    assert asked - names_of(library) == set()
    assert len(asked) > 30


def test_the_licence_of_the_library_stays_with_it() -> None:
    """Source that is passed on keeps its notice."""
    assert sent()[0].startswith("#")
    assert "Copyright (c)" in sent()[0]


def test_only_what_is_used_is_packed() -> None:
    """What the program names, what that names in turn, and what is always kept."""
    part = used_part(LIBRARY, "library.Used(); library.called()", always="ERROR_")
    assert part == (
        "# Copyright: somebody\n"
        "# All rights reserved.\n"
        "ERROR_ONE = 1\n"
        "ERROR_TWO = 2\n"
        "size = 8 * ERROR_ONE\n\n"
        "class _Base:\n    pass\n\n"
        "class Used(_Base):\n    length = size\n\n"
        "def called():\n    pass"
    )


def test_an_import_of_all_names_is_kept() -> None:
    """What it brings is not known."""
    assert used_part("from ctypes import *\nimport a.b\nimport c as d\n", "a d", "X") == (
        "from ctypes import *\nimport a.b\nimport c as d"
    )
    assert (
        used_part("from ctypes import *\nimport a.b\nimport c as d\n", "b c", "X") == "from ctypes import *"
    )


def test_a_shell_script_travels_without_comments() -> None:
    """What is no comment stays, in as few bytes as its meaning allows."""
    script = b"# what\n\nfirst() { # why\n    case $1 in\n    '#'*)\n        # how\n        echo '  two'\n      ;;\n    esac\n}\n"
    assert bare_shell(script) == (
        b"first() { # why\n\tcase $1 in\n\t'#'*)\n\t\techo '  two'\n\t  ;;\n\tesac\n}\n"
    )


def test_names_in_texts_count() -> None:
    """What a program looks up by its name is found too."""
    assert "import sys\n" in used_part(LIBRARY, "looked_up('named')", always="ERROR_")
    assert "named, other = (1, 2)" in used_part(LIBRARY, "looked_up('named')", always="ERROR_")


def test_a_program_is_packed_behind_its_library() -> None:
    """Comments and docstrings stay at home."""
    packed = pack("x = 1\ny = 2\n", '"""Doc."""\nprint(x)  # why\n', always="_")
    assert unpacked(packed) == f"x = 1{SEPARATOR}print(x)"


def test_packing_is_repeatable() -> None:
    """The same sources make the same bytes."""
    sources = (source_of("pynvml"), COLLECTOR.read_text())
    assert pack(*sources, always="NVML_ERROR_") == pack(*sources, always="NVML_ERROR_")


@pytest.mark.parametrize("module", ["no_such_module", "sys"])
def test_a_module_without_source_is_refused(module: str) -> None:
    """What has no source cannot be sent."""
    with pytest.raises(ImportError, match=f"{module} has no source"):
        source_of(module)
