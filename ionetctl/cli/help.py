"""Typer's commands and groups, whose help shows no type beside a flag: it takes no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

if TYPE_CHECKING:
    from collections.abc import Callable


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  (click's context, which Typer does not export)
        return _without_types(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  (as above)
        return _without_types(super().get_params(ctx))


class Commands(typer.Typer):
    """A group of commands."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  (Typer's own)
        super().__init__(cls=_Group, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:  # noqa: ANN401
        """Register a command, as ``typer.Typer.command`` does."""
        return super().command(name, cls=_Command, **settings)


def _without_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_bool_flag and parameter.metavar is None:
            parameter.metavar = ""
    return parameters
