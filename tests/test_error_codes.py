"""docs/reference/errors.md and docs/reference/checks.md list every code that users may meet, with the exit codes that it earns, and no other.

The codes are collected from the source by ``ast``: whatever is handed to a parameter or field named ``code``. What is
handed there and is neither text nor a check's ``Code`` must be passed on from another code, or come from a table that
``TABLES`` names.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeGuard

from ionetctl.core import errors
from ionetctl.core.errors import ExitCode, IonetctlError
from ionetctl.host import prepare
from ionetctl.host.apply_dialogue import HINTS
from tests.checks.page import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "ionetctl"
CODE: Final = re.compile(r"[a-z]+(?:_[a-z]+)*")
FINDING: Final = re.compile(r"^\| (`[a-z_]+`) \| [a-z][^|]* \| (\d+) \| [^|]+ \| [^|]+ \|$", re.MULTILINE)
ROW: Final = re.compile(r"^\| (`[a-z_`, ]+`) \| ([-0-9, ]+) \| [^|\s].* \| [^|\s].* \|$", re.MULTILINE)

TABLES: Final = {
    "credentials.secrets": "refusal",
    "host.apply_dialogue": "HINTS",
    "host.prepare": "HINTS",
    "rollout.signals": "ENDINGS",
    "ssh.commands.sudo": "_REASONS",
}
"""Modules that take codes from a table of their own, and its name."""
FROM_HOSTS: Final = {"facts.report_lines", "facts.word_answers"}
"""Modules that read the codes which the scripts on hosts report."""
ALIKE: Final = {
    ("verification.log_diagnosis", "_symptom"): ExitCode.UNVERIFIED,
    ("ssh.commands.sudo", "_refusal"): ExitCode.FAILED,
}
"""Functions whose codes earn one exit code, unless another stands among the arguments."""
TOLD_ANEW: Final = {"locked": "host_locked", "changed": "host_changed"}
"""Codes of those scripts for which users are told another."""

Key = tuple[str, str]
"""A module's dotted name below the package, and a name in it."""


@dataclass(frozen=True)
class Use:
    """A code where it is used: the exit code that goes with it, as far as the place tells."""

    code: str
    exit_code: int | None = None


@dataclass(frozen=True)
class Taker:
    """What takes a code as its argument number ``position``; an error brings its exit code along."""

    position: int
    exit_code: int | None = None


@dataclass(frozen=True)
class Module:
    """A module of ours."""

    name: str
    tree: ast.Module

    @cached_property
    def imported(self) -> dict[str, str]:
        """Local name → the module of ours that it comes from."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom) and node.module]
        return {
            alias.asname or alias.name: node.module.removeprefix("ionetctl").removeprefix(".")
            for node in found
            for alias in node.names
            if node.module is not None
        }

    def place(self, name: str) -> Key:
        """Where a name in this module was defined."""
        return self.imported.get(name, self.name), name

    def texts(self, name: str) -> set[str]:
        """The codes in whatever is assigned to a name here."""
        values = [
            node.value
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Assign | ast.AnnAssign)
            and name in {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        ]
        texts = [each for value in values if value is not None for each in ast.walk(value)]
        return {text for each in texts for text in constants(self, each) if CODE.fullmatch(text)}


@cache
def modules() -> dict[str, Module]:
    """Every module of the package."""
    names = {
        path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
    }
    return {name: Module(name, ast.parse(path.read_text())) for path, name in sorted(names.items())}


def constants(module: Module, value: ast.AST) -> list[str]:
    """The text that an expression is, directly or by a module's constant."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return [value.value]
    match value:
        case ast.Name(id=name) if name.isupper():
            where, name = module.place(name)
        case ast.Attribute(value=ast.Name(id=base), attr=name) if name.isupper() and base in module.imported:
            where = f"{module.imported[base]}.{base}".strip(".")
        case _:
            return []
    return _assigned(where, name)


def _assigned(where: str, name: str) -> list[str]:
    """The text that a module of ours assigns to a constant, or the name of the check's code."""
    body = modules()[where].tree.body if where in modules() else []
    statements = [each for each in body if isinstance(each, ast.AnnAssign)]
    values = [
        each.value for each in statements if isinstance(each.target, ast.Name) and each.target.id == name
    ]
    texts = [value.args[0] if _is_code(value) else value for value in values]
    return [str(text.value) for text in texts if isinstance(text, ast.Constant)]


def _is_code(value: ast.expr | None) -> TypeGuard[ast.Call]:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Code"


@cache
def takers() -> dict[Key, Taker]:
    """What takes codes, by where it is defined."""
    known = {
        ("core.errors", name): Taker(0, int(kind.exit_code))
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, IonetctlError)
    }
    for module in modules().values():
        for node in ast.walk(module.tree):
            if (taker := _taker(module, node, known)) is not None:
                known.setdefault((module.name, getattr(node, "name", "")), taker)
    return known


def _taker(module: Module, node: ast.AST, known: dict[Key, Taker]) -> Taker | None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        names = [each.arg for each in node.args.args if each.arg not in {"self", "cls"}]
        exit_code = ALIKE.get((module.name, node.name))
        return Taker(names.index("code"), exit_code) if "code" in names else None
    if not isinstance(node, ast.ClassDef):
        return None
    if any(isinstance(each, ast.FunctionDef) and each.name == "__init__" for each in node.body):
        return None
    if (inherited := _base(module, node, known)) is not None:
        return inherited
    fields = [
        each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    ]
    names = ["" if _is_number(each) else ast.unparse(each.target) for each in fields]
    return Taker(names.index("code")) if "code" in names else None


def _is_number(field: ast.AnnAssign) -> bool:
    """Whether the field is another kind of code, which the hardware's vendor gives."""
    return isinstance(field.annotation, ast.Name) and field.annotation.id == "int"


def _base(module: Module, node: ast.ClassDef, known: dict[Key, Taker]) -> Taker | None:
    bases = [known.get(module.place(base.id)) for base in node.bases if isinstance(base, ast.Name)]
    return next(filter(None, bases), None)


class Collector(ast.NodeVisitor):
    """Finds in one module the codes that are used, and the arguments that nobody can explain."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.uses: set[Use] = set()
        self.unexplained: list[str] = []
        self._parameters: list[set[str]] = [set()]
        self._classes: list[ast.ClassDef] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._classes.append(node)
        self.generic_visit(node)
        self._classes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = {each.arg for each in (*node.args.args, *node.args.kwonlyargs)}
        self._parameters.append(self._parameters[-1] | arguments)
        self.generic_visit(node)
        self._parameters.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  (ast's name)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        taker = self._taker_of(node.func)
        if taker is None:
            return
        named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        value = next(iter([*named, *node.args[taker.position : taker.position + 1]]), None)
        kind = self._kind(node)
        if value is not None:
            self._take(value, taker.exit_code if kind is None else kind)

    def _taker_of(self, function: ast.expr) -> Taker | None:
        match function:
            case ast.Name(id=name):
                return takers().get(self.module.place(name))
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__") if self._classes:
                return _base(self.module, self._classes[-1], takers())
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return takers().get((self.module.name, name))
            case ast.Attribute(value=ast.Name(id=base), attr=name) if base in self.module.imported:
                where = f"{self.module.imported[base]}.{base}".strip(".")
                return takers().get((where, name))
            case ast.Attribute(attr="request"):
                return (
                    takers()["rollout.stop", "request"] if self.module.name != "nomad.python_nomad" else None
                )
        return None

    def _kind(self, node: ast.Call) -> int | None:
        """The exit code of the kind of error, or the exit code itself, that stands among the arguments."""
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            if isinstance(argument, ast.Name) and (taker := takers().get(self.module.place(argument.id))):
                return taker.exit_code
            match argument:
                case ast.Attribute(value=ast.Name(id="ExitCode"), attr=name):
                    return int(ExitCode[name])
        return None

    def _take(self, value: ast.expr, exit_code: int | None) -> None:
        texts = constants(self.module, value)
        self.uses |= {Use(text, exit_code) for text in texts}
        if not texts and not self._is_passed_on(value):
            self.unexplained.append(f"{self.module.name}:{value.lineno}: {ast.unparse(value)}")

    def _is_passed_on(self, value: ast.expr) -> bool:
        match value:
            case ast.Name(id="code"):
                return "code" in self._parameters[-1] or self.module.name in {*TABLES, *FROM_HOSTS}
            case ast.Starred() | ast.Constant(value=None):
                return self.module.name in TABLES or isinstance(value, ast.Constant)
            case (
                ast.Attribute(value=ast.Name(id="code"), attr="name")
                | ast.Attribute(attr="code")
                | ast.Subscript(slice=ast.Constant(value="problem_code"))
            ):
                return True
        return self.module.name in TABLES


@cache
def collected() -> tuple[Collector, ...]:
    """Every module, searched."""
    found = tuple(Collector(module) for module in modules().values())
    for collector in found:
        collector.visit(collector.module.tree)
    return found


def codes_of_scripts() -> set[str]:
    """The codes that the scripts on hosts report."""
    text = "\n".join(path.read_text() for path in (PACKAGE / "remote").glob("*.sh"))
    said = r"\b(?:fail|fail_start|try) ([a-z_]+)\b|\bcode=([a-z_]+)|set -- ([a-z]+_[a-z]+)|error\$\{tab\}([a-z_]+)"
    return {code for groups in re.findall(said, text) for code in groups if code}


def codes_of_words() -> set[str]:
    """The codes that hosts answer words of the maintenance door with."""
    text = "\n".join(path.read_text() for path in (PACKAGE / "remote").glob("maintenance*.sh"))
    said = r"\bbecame=([a-z_]+)|\brefuse (?:-|\"\S+\") ([a-z_]+)"
    return {code for groups in re.findall(said, text) for code in groups if code}


def codes_in_source() -> set[str]:
    """Every code that a user may meet."""
    used = {use.code for collector in collected() for use in collector.uses}
    tabled = {code for name, table in TABLES.items() for code in modules()[name].texts(table)}
    return (used | tabled | codes_of_scripts() | codes_of_words()) - TOLD_ANEW.keys()


def documented() -> dict[str, set[int]]:
    """Code → exit codes, as the pages have them: that of errors, and that of the survey's findings."""
    rows = ROW.findall((ROOT / "docs" / "reference" / "errors.md").read_text())
    rows += FINDING.findall(PAGE.read_text())
    known: defaultdict[str, set[int]] = defaultdict(set)
    for codes, exits in rows:
        for code in re.findall(r"`([a-z_]+)`", codes):
            known[code] |= {int(number) for number in re.findall(r"\d+", exits)}
    return dict(known)


def exits_in_source() -> Iterator[tuple[str, int]]:
    """The codes whose place tells the exit code."""
    for collector in collected():
        yield from ((use.code, use.exit_code) for use in collector.uses if use.exit_code is not None)


def test_every_code_can_be_traced() -> None:
    """No code is made up where the search would not see it."""
    assert [place for collector in collected() for place in collector.unexplained] == []


def test_every_code_is_documented_and_no_other() -> None:
    """With what it means and what to do; one that is used no more goes."""
    assert sorted(documented()) == sorted(codes_in_source())


def test_exit_codes_are_those_of_the_source() -> None:
    """The kind of error decides; what is wrong with the configuration may also become the failure of a host."""
    pages = documented()
    assert [
        (code, exit_code)
        for code, exit_code in exits_in_source()
        if exit_code not in pages.get(code, {exit_code})
    ] == []


def test_codes_of_hosts_have_their_hints() -> None:
    """Whatever a script reports is told with what to do about it."""
    assert codes_of_scripts() == HINTS.keys() | prepare.HINTS.keys()


def test_search_sees_all_kinds() -> None:
    """Errors, findings, warnings, the reasons of stops, tables, constants, inherited errors and shell."""
    assert {
        *("auth_failed", "disk_low", "os_untested", "canary_failed", "hangup", "machine_id_doubled"),
        *("sudo_needs_password", "journal_broken", "inventory_invalid", "wrong_architecture", "ca_expired"),
    } <= codes_in_source()
