"""What runs may be called."""

import pytest

from lrm.errors import BadInput
from tracking.names import LONGEST_NAME, allowed_name, check_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tiny-1m", "tiny-1m"),
        ("my model (v1)", "my model -v1-"),
        ("checkpoint@1000", "checkpoint-1000"),
        ("modèle", "mod-le"),
        ("_x", "x"),
        ("a,b", "a-b"),
        ("模型", "model"),
        ("a" * 300, "a" * 250),
    ],
)
def test_any_text_makes_a_name(text: str, name: str) -> None:
    assert allowed_name(text, "model") == name
    check_name(name, "a study")


def test_a_name_may_have_as_many_characters_as_there_is_room_for() -> None:
    check_name("a" * LONGEST_NAME, "a study")
    with pytest.raises(BadInput, match="it has 251 characters: use 250 or fewer"):
        check_name("a" * (LONGEST_NAME + 1), "a study")
