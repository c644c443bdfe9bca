"""Compiles expressions of go-bexpr, the language of the ``filter`` parameter in Nomad's API, to predicates.

Supported: ``==``, ``!=``, ``in``, ``not in``, ``contains``, ``not contains``, ``matches``, ``not matches``,
``is empty``, ``is not empty``, ``and``, ``or``, ``not``, parentheses, ``any``/``all X as d { … }``.
A missing key of a map makes a comparison false. A missing field of the document itself is an error, as it is for the
fields of Nomad's node struct.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

Scope: TypeAlias = Mapping[str, object]
Predicate: TypeAlias = Callable[[Scope], bool]

_MISSING: Final = object()
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<operator>==|!=|[(){}\[\].,])"""
    r"""|(?P<word>[A-Za-z][A-Za-z0-9_/\-]*)|(?P<end>\Z))"""
)
_EXPECTED_VALUE: Final = 'no match found, expected: "-", "0", "\\"", "`", [ \\t\\r\\n], [1-9] or [a-zA-Z]'
_MAX_DEPTH: Final = 32


class FilterError(ValueError):
    """The expression is invalid, or names a field that the document does not have; the text is go-bexpr's."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


def compile_filter(expression: str) -> Predicate:
    """A predicate for documents. Raises ``FilterError``; so does the predicate for a field that does not exist."""
    parser = _Parser(expression, _tokens(expression))
    predicate = parser.disjunction()
    if parser.token.kind != "end":
        raise parser.fail("no match found, expected: EOF")
    return predicate


def _tokens(expression: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while not tokens or tokens[-1].kind != "end":
        match = _TOKEN.match(expression, position)
        if match is None or match.lastgroup is None:
            raise FilterError(_located(expression, position, "no match found"))
        tokens.append(_Token(match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup)))
        position = match.end()
    return tokens


def _located(expression: str, offset: int, message: str) -> str:
    line = expression.count("\n", 0, offset) + 1
    column = offset - (expression.rfind("\n", 0, offset) + 1) + 1
    return f"{line}:{column} ({offset}): {message}"


class _Parser:
    """A recursive descent parser; each rule's method returns the predicate of what it has parsed."""

    def __init__(self, expression: str, tokens: list[_Token]) -> None:
        self._expression = expression
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    @property
    def token(self) -> _Token:
        return self._tokens[self._position]

    def fail(self, message: str) -> FilterError:
        return FilterError(_located(self._expression, self.token.start, message))

    def disjunction(self) -> Predicate:
        terms = [self._conjunction()]
        while self._take("or"):
            terms.append(self._conjunction())
        return terms[0] if len(terms) == 1 else lambda scope: any(term(scope) for term in terms)

    def _conjunction(self) -> Predicate:
        terms = [self._negation()]
        while self._take("and"):
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else lambda scope: all(term(scope) for term in terms)

    def _negation(self) -> Predicate:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self.fail("expression is too deeply nested")
        if self._take("not"):
            inner = self._negation()
            predicate: Predicate = lambda scope: not inner(scope)  # noqa: E731 - a closure among closures
        else:
            predicate = self._term()
        self._depth -= 1
        return predicate

    def _term(self) -> Predicate:
        if self._take("("):
            inner = self.disjunction()
            self._expect(")")
            return inner
        if self.token.text in ("any", "all") and self._tokens[self._position + 1].kind == "word":
            return self._collection()
        return self._match()

    def _collection(self) -> Predicate:
        quantify = any if self._next().text == "any" else all
        select = self._selector()
        self._expect("as")
        names = [self._name()]
        while self._take(","):
            names.append(self._name())
        self._expect("{")
        inner = self.disjunction()
        self._expect("}")
        return lambda scope: quantify(inner(bound) for bound in _bindings(scope, select(scope), names))

    def _match(self) -> Predicate:
        if self.token.kind in ("string", "number"):
            return self._membership()
        select = self._selector()
        is_negated = self._take("not")
        predicate = self._relation(select)
        return (lambda scope: not predicate(scope)) if is_negated else predicate

    def _membership(self) -> Predicate:
        value = self._value()
        is_negated = self._take("not")
        self._expect("in")
        select = self._selector()
        return lambda scope: _contains(select(scope), value) != is_negated

    def _relation(self, select: Callable[[Scope], object]) -> Predicate:
        operator = self._next().text
        if operator == "is":
            is_negated = self._take("not")
            self._expect("empty")
            return lambda scope: _is_empty(select(scope)) != is_negated
        if operator not in ("==", "!=", "contains", "matches", "in"):
            self._position -= 1
            raise self.fail(
                'no match found, expected: "!=", "==", "contains", "in", "is", "matches" or "not"'
            )
        value = self._value()
        if operator == "matches":
            pattern = self._pattern(value)
            return lambda scope: pattern.search(_text(select(scope))) is not None
        if operator in ("==", "!="):
            return lambda scope: _equals(select(scope), value) == (operator == "==")
        return lambda scope: _contains(select(scope), value)

    def _pattern(self, value: str) -> re.Pattern[str]:
        try:
            return re.compile(value)
        except re.error as error:
            raise self.fail(f"failed to compile regular expression: {error}") from None

    def _selector(self) -> Callable[[Scope], object]:
        path = [self._name()]
        while self.token.text in (".", "["):
            if self._take("."):
                path.append(self._name())
            else:
                self._expect("[")
                path.append(self._value())
                self._expect("]")
        return lambda scope: _resolve(scope, path)

    def _name(self) -> str:
        if self.token.kind not in ("word", "number"):
            raise self.fail("no match found, expected: [a-zA-Z]")
        return self._next().text

    def _value(self) -> str:
        if self.token.kind not in ("string", "number", "word"):
            raise self.fail(_EXPECTED_VALUE)
        token = self._next()
        if token.kind != "string":
            return token.text
        return token.text[1:-1] if token.text[0] == "`" else re.sub(r"\\(.)", r"\1", token.text[1:-1])

    def _next(self) -> _Token:
        token = self.token
        if token.kind == "end":
            raise self.fail("no match found, unexpected end")
        self._position += 1
        return token

    def _take(self, text: str) -> bool:
        if self.token.kind in ("word", "operator") and self.token.text == text:
            self._position += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self.fail(f'no match found, expected: "{text}"')


def _bindings(scope: Scope, collection: object, names: list[str]) -> list[dict[str, object]]:
    """One scope per element: one name binds a list's element or a map's key, two bind (index or key, element)."""
    if isinstance(collection, Mapping):
        pairs = list(collection.items())
        single = [key for key, _ in pairs]
    elif isinstance(collection, list):
        pairs = list(enumerate(collection))
        single = collection
    else:
        return []
    if len(names) == 1:
        return [{**scope, names[0]: element} for element in single]
    return [{**scope, names[0]: key, names[1]: element} for key, element in pairs]


def _resolve(scope: Scope, path: list[str]) -> object:
    if path[0] not in scope:
        message = f'error finding value in datum: /{"/".join(path)} at part 0: couldn\'t find key: struct field with name "{path[0]}"'
        raise FilterError(message)
    value: object = scope
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part, _MISSING)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def _text(value: object) -> str:
    if value is _MISSING or value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _equals(value: object, wanted: str) -> bool:
    if value is _MISSING:
        return False
    if isinstance(value, float | int) and not isinstance(value, bool):
        return (
            _text(float(value)) == _text(float(wanted)) if re.fullmatch(r"-?\d+(\.\d+)?", wanted) else False
        )
    return _text(value) == wanted


def _contains(value: object, wanted: str) -> bool:
    if isinstance(value, list):
        return any(_equals(element, wanted) for element in value)
    if isinstance(value, Mapping):
        return wanted in value
    return wanted in _text(value)


def _is_empty(value: object) -> bool:
    return value is _MISSING or value is None or (isinstance(value, list | Mapping | str) and not value)
