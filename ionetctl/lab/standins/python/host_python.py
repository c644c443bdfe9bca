"""Runs a Python program as on a rehearsal host: ``host_python.py -c PROGRAM``, ``-`` or a file, with its arguments.

What differs there is the driver's library and the way to the network. Python starts often on hosts, so nothing is
imported here: the modules ``ctypes`` and ``socket`` are changed once a program has imported them, by the stand-ins that
know how.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
"""As ``typing`` has it, which takes its time."""
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

STANDINS = {"ctypes": "rehearsed_nvml", "socket": "rehearsed_network"}
"""Module → the one whose ``change`` makes it the host's."""


class Changer:
    """Finds the modules of ``STANDINS`` as everybody does, and has each changed once it has been executed."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec, with a loader that changes what it loads; ``None`` for any other module."""
        if fullname not in STANDINS:
            return None
        specs = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not cls)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_change(module: ModuleType) -> None:
                execute(module)
                __import__(STANDINS[fullname]).change(module)

            vars(spec.loader)["exec_module"] = execute_and_change
        return spec


def main(arguments: list[str]) -> None:
    """Run what the interpreter would run; ``arguments`` are those that follow its options."""
    name = arguments[0] if arguments else "-"
    if name == "-c":
        program: str | bytes = arguments.pop(1)
    elif name == "-":
        program = sys.stdin.buffer.read()
    else:
        with open(name, "rb") as file:
            program = file.read()
    sys.argv[:] = arguments
    exec(compile(program, name, "exec"), {"__name__": "__main__"})  # noqa: S102 - as the interpreter does


sys.meta_path.insert(0, Changer)
main(sys.argv[1:])
