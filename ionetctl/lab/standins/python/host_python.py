"""Runs a Python program as on a rehearsal host: ``host_python.py -c PROGRAM``, ``-`` or a file, with its arguments.

The host's driver library and network replace those of the machine: when the program imports ``ctypes`` or ``socket``, the
stand-in for it patches the module. Python starts often on hosts, so this module imports nothing else: a start is fast.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
"""In place of ``typing.TYPE_CHECKING``: importing ``typing`` is slow."""
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

STANDINS = {"ctypes": "rehearsed_nvml", "socket": "rehearsed_network"}
"""Module → the stand-in whose ``patch`` is called with it."""


class PatchingFinder:
    """A finder for ``sys.meta_path``: the modules of ``STANDINS`` are patched after they have been executed."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec, with a loader that patches it; ``None`` for any other module."""
        if fullname not in STANDINS:
            return None
        specs = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not cls)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_patch(module: ModuleType) -> None:
                execute(module)
                __import__(STANDINS[fullname]).patch(module)

            vars(spec.loader)["exec_module"] = execute_and_patch
        return spec


def main(arguments: list[str]) -> None:
    """Run the program that the interpreter would run; ``arguments`` are those after the interpreter's options."""
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


sys.meta_path.insert(0, PatchingFinder)
main(sys.argv[1:])
