"""What --method and --engine share: a name with options, as "sparsegpt:damping=0.02"."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lrm import registry
from lrm.errors import BadInput


@dataclass(frozen=True)
class Named:
    """The parts of such a text; `flag` is the flag it was given with, for messages."""

    flag: str
    text: str
    name: str
    options: dict[str, str]

    def number(self, key: str, kind: type[int] | type[float]) -> float | int:
        """The value of an option that must be a number."""
        try:
            return kind(self.options[key])
        except ValueError:
            raise BadInput(
                f"{self.flag} {self.text}: {key} must be a number, got {self.options[key]!r}."
            ) from None


def parse(flag: str, text: str, what: str, known: Collection[str]) -> Named:
    """Splits "name:key=value,..."; `known` are the options of the `what` called so."""
    name, _, rest = text.partition(":")
    options = {}
    for word in filter(None, rest.split(",")):
        key, equals, value = word.partition("=")
        if not known:
            raise BadInput(f"{flag} {text}: {what} {name} has no options; leave them out.")
        registry.require(f"option of {what} {name}", key, known)
        if not equals:
            raise BadInput(f"{flag} {text}: write {key}=VALUE.")
        options[key] = value
    return Named(flag, text, name, options)
