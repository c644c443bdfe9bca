"""Types of the inventory's fields, sources of secrets included, for pydantic and for the JSON Schema.

Binds the checks of ``field_checks`` and ``endpoints`` to pydantic; ``structure`` uses the types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, cast

from pydantic import AfterValidator, ConfigDict, with_config
from pydantic_core import core_schema
from typing_extensions import TypedDict

from ionetctl.core.model.host import Jump
from ionetctl.core.model.secret import SecretRef, SecretSource
from ionetctl.inventory.schema import endpoints, field_checks
from ionetctl.inventory.schema.field_checks import FieldError, Folded

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

_Sized = TypeVar("_Sized")
Check = Callable[..., object]
STRICT: Final = ConfigDict(extra="forbid")
_TEXT: Final[dict[str, Any]] = {"type": ["string", "number", "boolean"]}
"""The types that an editor's YAML parser may give to a text: ``NO`` may be a boolean, ``010`` a number."""


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A field's check and its JSON Schema; with ``in_directory`` the check gets the inventory's directory too."""

    check: Check
    schema: dict[str, Any] = field(default_factory=_TEXT.copy)
    in_directory: bool = False

    def __get_pydantic_core_schema__(self, _: object, __: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        check = self.check
        if not self.in_directory:
            return core_schema.no_info_plain_validator_function(check)
        return core_schema.with_info_plain_validator_function(lambda value, info: check(value, info.context))

    def __get_pydantic_json_schema__(
        self, _: core_schema.CoreSchema, __: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return self.schema.copy()


def whole(least: int, most: int) -> Leaf:
    """A whole number between the two, both included."""
    return Leaf(field_checks.number(least, most), {"type": "integer", "minimum": least, "maximum": most})


def one_of(*words: str) -> Leaf:
    """One of the words."""
    return Leaf(field_checks.choice(*words), {"enum": list(words)})


def as_list(value: object) -> object:
    """A single text as a list of one."""
    return [value] if isinstance(value, str) else value


def _not_empty(value: _Sized) -> _Sized:
    if not value:
        raise FieldError("is empty")
    return value


NOT_EMPTY: Final = AfterValidator(_not_empty)


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise FieldError("has one of them twice")
    return values


EACH_ONCE: Final = AfterValidator(_each_once)
Text = Annotated[str, Leaf(field_checks.text)]
Word = Annotated[str, Leaf(field_checks.word)]
Datacenter = Annotated[str, Leaf(field_checks.datacenter)]
Region = Annotated[str, Leaf(field_checks.region_name)]
HostRegion = Annotated[str, Leaf(field_checks.host_region)]
Path = Annotated[str, Leaf(endpoints.path, in_directory=True)]
HostKey = Annotated[str, Leaf(endpoints.host_key)]
PublicKey = Annotated[str, Leaf(endpoints.public_key)]
Signer = Annotated[str, Leaf(endpoints.signer)]
JumpHost = Annotated[Jump, Leaf(endpoints.jump)]
Server = Annotated[str, Leaf(endpoints.server)]
ApiUrl = Annotated[str, Leaf(endpoints.api_url, {"type": "string", "pattern": "^https://"})]
Port = Annotated[
    int | Folded,
    Leaf(field_checks.folded(field_checks.number(1, 65535), strict=True), {"type": ["integer", "string"]}),
]


# --- secrets ---------------------------------------------------------------------------------------------------------


def _folded_path(value: object, directory: str) -> object:
    return field_checks.folded(partial(endpoints.path, directory=directory))(value)


def _folded_command(value: object, directory: str) -> object:
    return field_checks.folded(field_checks.text)(endpoints.command(value, directory))


@with_config(STRICT)
class SecretFields(TypedDict, total=False):
    """Where a secret is to be had; exactly one of these."""

    env: Annotated[str, Leaf(field_checks.folded(field_checks.environment_variable))]
    """The name of an environment variable."""
    file: Annotated[str, Leaf(_folded_path, in_directory=True)]
    """A file that holds nothing but the secret."""
    keyring: Annotated[str, Leaf(field_checks.folded(field_checks.keyring_entry))]
    """service/user in the desktop's or system's keyring."""
    vault: Annotated[str, Leaf(field_checks.folded(field_checks.vault_field))]
    """mount/path#field of a KV store of Vault or OpenBao."""
    command: Annotated[
        str, Leaf(_folded_command, {"type": "array", "items": _TEXT, "minItems": 1}, in_directory=True)
    ]
    """A program and its arguments, which prints the secret."""
    stdin: Annotated[str, Leaf(field_checks.folded(field_checks.stdin_name))]
    """A name in the JSON object on standard input."""


SECRET_SOURCES: Final = frozenset(SecretFields.__annotations__)
_SOURCES: Final = (
    "{env: NAME}, {file: PATH}, {keyring: SERVICE/USER}, {vault: MOUNT/PATH#FIELD}, {command: [PROGRAM, ARGUMENT]} "
    "or {stdin: NAME}"
)


def _refuse_literal(value: object) -> object:
    if value is not None and not isinstance(value, dict):
        raise FieldError("a secret must not stand in an inventory", f"say where it is to be had: {_SOURCES}")
    return value


def _secret_ref(given: SecretFields) -> SecretRef | Folded:
    if len(given) != 1:
        raise FieldError("names a secret's source not exactly once", f"write one of {_SOURCES}")
    source, locator = cast("tuple[SecretSource, str | Folded]", next(iter(given.items())))
    if isinstance(locator, Folded):
        check = locator.check
        return Folded(locator.text, lambda text: SecretRef(source, str(check(text))))
    return SecretRef(source, locator)


class SecretLeaf:
    """Converts the mapping that names a secret's source to a ``SecretRef``; refuses a literal secret."""

    def __get_pydantic_core_schema__(
        self, _: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        mapping = core_schema.no_info_before_validator_function(
            _refuse_literal, handler.generate_schema(SecretFields)
        )
        return core_schema.no_info_after_validator_function(_secret_ref, mapping)


Secret = Annotated[SecretRef, SecretLeaf()]
