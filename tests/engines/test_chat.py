"""Chat templates of other people's models: the reply begins inside the opened thinking, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrm.engines.llama_cpp.template import render_template
from lrm.engines.shared.chat import render_chat, with_open_thinking
from lrm.errors import BadInput
from lrm.tokenizers import open_folder
from tests.support.models import SMALLEST

QUESTION = "Is every yumpus a wumpus?"

# What matters in the templates of these models, in few words.
DEEPSEEK_V3_1 = (
    "{{ bos_token }}{% for m in messages %}<User>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<Assistant>{% if not thinking %}</think>{% else %}<think>"
    "{% endif %}{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}<im_start>user\n{{ m.content }}<im_end>\n{% endfor %}"
    "{% if add_generation_prompt %}<im_start>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
THINKS_ONLY_WHEN_TOLD = QWEN3.replace("is defined and enable_thinking is false", "is not true")
NEVER_THINKS = "{{ messages[0].content }}<bot><think>\n\n</think>\n\n"
CLOSES = "{{ messages[0].content }}<bot></think>"
SMOLLM3 = (
    "{% for m in messages %}{{ m.content }}{% endfor %}<bot>{% generation %}{% endgeneration %}"
)
TOOLS = "{% if tools is not none %}TOOLS{% endif %}{{ messages[0].content }}<bot>"
AS_JSON = "{{ messages | tojson }}<bot>"
BREAKS = "{% for m in messages %}{{ m.content }}{% break %}{% endfor %}<bot>{{ strftime_now('') }}"
SAYS_HOW = "{{ 'Think between <think> and </think>.' }}{{ messages[0].content }}<bot>"
OPENS_AND_BEGINS = "{{ messages[0].content }}<bot><think>\nOkay, "


QWEN2_5 = (
    "{% if messages[0].role == 'system' %}<im_start>system\n{{ messages[0].content }}<im_end>\n"
    "{% else %}<im_start>system\nYou are Qwen.<im_end>\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}<im_start>user\n{{ m.content }}<im_end>\n"
    "{% endif %}{% endfor %}<im_start>assistant\n"
)
ONLY_THE_LAST = "{{ messages[-1].content }}<bot>"
GEMMA = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}<b>"


def by_folder(template: str, system: str | None = None) -> str:
    tokenizer = open_folder(SMALLEST)
    tokenizer.chat_template = template
    return render_chat(tokenizer, QUESTION, "here", system)


def by_file(template: str, system: str | None = None) -> str:
    chat = render_template(template, QUESTION, "<|begin|>", "<|end|>", Path("here"), system)
    return with_open_thinking(chat, QUESTION, "here")


@pytest.mark.parametrize("render", [by_folder, by_file])
@pytest.mark.parametrize(
    ("template", "chat"),
    [
        (DEEPSEEK_V3_1, f"<|begin|><User>{QUESTION}<Assistant><think>\n"),
        (QWEN3, f"<im_start>user\n{QUESTION}<im_end>\n<im_start>assistant\n<think>\n"),
        (
            THINKS_ONLY_WHEN_TOLD,
            f"<im_start>user\n{QUESTION}<im_end>\n<im_start>assistant\n<think>\n",
        ),
        (SMOLLM3, f"{QUESTION}<bot><think>\n"),
        (TOOLS, f"{QUESTION}<bot><think>\n"),
        (AS_JSON, f'[{{"role": "user", "content": "{QUESTION}"}}]<bot><think>\n'),
        (BREAKS, f"{QUESTION}<bot><think>\n"),
        (SAYS_HOW, f"Think between <think> and </think>.{QUESTION}<bot><think>\n"),
        (OPENS_AND_BEGINS, f"{QUESTION}<bot><think>\nOkay, "),
    ],
)
def test_the_reply_begins_inside_the_thinking(render: object, template: str, chat: str) -> None:
    assert callable(render)
    assert render(template) == chat


@pytest.mark.parametrize("render", [by_folder, by_file])
@pytest.mark.parametrize("template", [NEVER_THINKS, CLOSES])
def test_thinking_that_stays_closed_is_refused(render: object, template: str) -> None:
    assert callable(render)
    with pytest.raises(BadInput, match=r"template of here closes the thinking .*--track paper"):
        render(template)


@pytest.mark.parametrize("render", [by_folder, by_file])
@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('only in pairs') }}", "only in pairs"),
        ("{{ missing.name }}", "missing"),
        ("{{ 'a' + 1 }}", "str"),
        ("{{ messages[3].content }}", "no element 3|undefined|out of range"),
        ("{% if %}", "Expected"),
        ("{{ 1 / 0 }}", "division by zero"),
    ],
)
def test_a_template_that_fails_is_a_sentence(render: object, template: str, words: str) -> None:
    assert callable(render)
    with pytest.raises(BadInput, match=rf"template of here cannot be used \(.*({words})"):
        render(template)


@pytest.mark.parametrize("render", [by_folder, by_file])
@pytest.mark.parametrize(
    ("system", "said"), [(None, "You are Qwen."), ("", ""), ('Be "brief".', 'Be "brief".')]
)
def test_the_system_says_what_it_is_told(render: object, system: str | None, said: str) -> None:
    assert callable(render)
    asked = f"<im_start>user\n{QUESTION}<im_end>\n<im_start>assistant<think>\n"
    assert render(QWEN2_5, system) == f"<im_start>system\n{said}<im_end>\n{asked}"


@pytest.mark.parametrize("render", [by_folder, by_file])
@pytest.mark.parametrize(
    ("template", "words"),
    [
        (ONLY_THE_LAST, "drops what the system says; leave out --system"),
        (GEMMA, r"cannot be used \(no system role\); leave out --system"),
    ],
)
def test_a_template_without_a_place_for_it_is_refused(
    render: object, template: str, words: str
) -> None:
    assert callable(render)
    with pytest.raises(BadInput, match=f"template of here {words}"):
        render(template, "Be brief.")
