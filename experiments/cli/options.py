"""What --method and --engine share: a name with options, as "sparsegpt:damping=0.02"."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Union, get_args, get_origin

from lrm import registry
from lrm.errors import BadInput

Option = str | int | float | tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """The parts of such a text; `flag` is the flag it was given with, for messages."""

    flag: str
    text: str
    name: str
    options: dict[str, str]

    def value(self, key: str, kind: object) -> Option:
        """The value of an option as a parameter of that type takes it: a number, a text, or texts
        joined by "+"."""
        text = self.options[key]
        if kind is int or kind is float:
            try:
                return kind(text)
            except ValueError as error:
                raise BadInput(
                    f"{self.flag} {self.text}: {key} must be a number, got {text!r}."
                ) from error
        return tuple(text.split("+")) if get_origin(kind) is tuple else text


def parse(flag: str, text: str, role: str, known: Collection[str]) -> Named:
    """Splits "name:key=value,..."; `known` are the options of the one named, an engine, a method or
    a quantizer by its `role`."""
    name, _, rest = text.partition(":")
    options = {}
    for word in filter(None, rest.split(",")):
        key, equals, value = word.partition("=")
        if not known:
            raise BadInput(f"{flag} {text}: {role} {name} has no options; leave them out.")
        registry.require(f"option of {role} {name}", key, known)
        if not equals:
            raise BadInput(f"{flag} {text}: write {key}=VALUE.")
        options[key] = value
    return Named(flag, text, name, options)


def parameters(kind: Callable[..., object]) -> dict[str, object]:
    """The type of each parameter that a class is made with; that of an optional one without its
    None."""
    signature = inspect.signature(kind, eval_str=True)
    return {name: _present(item.annotation) for name, item in signature.parameters.items()}


def _present(kind: object) -> object:
    if get_origin(kind) not in (Union, UnionType):
        return kind
    kinds = [member for member in get_args(kind) if member is not NoneType]
    return kinds[0] if len(kinds) == 1 else kind
