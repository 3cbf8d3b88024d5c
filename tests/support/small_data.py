"""Two invented rows for each real data set, in the layout of a folder that LRM_DATA names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

AIME = "aime_2024/aime_2024_maxwell_jia.jsonl"
AIME_2025 = "aime_2025/test.jsonl"
MATH_500 = "math_500/test.jsonl"
GPQA = "gpqa/gpqa_diamond.jsonl"
FOLIO = "folio/folio_v2_validation.jsonl"
TEMPORAL = "bbh_temporal_sequences/temporal_sequences.jsonl"
MUSIQUE = "musique_ans_dev/musique_random_100_with_paragraphs.jsonl"
MUSIQUE_DEV = "musique_ans_dev/musique_ans_v1.0_dev_no_paragraphs.jsonl"
MUSIQUE_DEV_OPEN = "musique_ans_dev/musique_ans_v1.0_dev.jsonl"


def paragraph(title: str, text: str, supporting: bool) -> dict[str, object]:
    return {"title": title, "paragraph_text": text, "is_supporting": supporting}


ROWS: dict[str, list[dict[str, object]]] = {
    AIME: [
        {"ID": "2024-I-98", "Problem": "Find $2^{5}+1$.", "Answer": 33},
        {
            "ID": "2024-I-99",
            "Problem": "Find $s+\frac{14}{2}$ for $\\{s\\}=\\{0\\}$.",
            "Answer": "007",
        },
    ],
    AIME_2025: [
        {"id": "0", "problem": "Find $6^{2}+1$.", "answer": "37"},
        {"id": "1", "problem": "Find $10 - 3$.", "answer": "007"},
    ],
    MATH_500: [
        {
            "unique_id": "test/algebra/1.json",
            "problem": "Halve $\\sqrt{2}$.",
            "answer": "\\frac{\\sqrt{2}}{2}",
            "subject": "Algebra",
        },
        {"unique_id": "t/2", "problem": "Add 1 to 1,000.", "answer": "1001", "subject": "Algebra"},
    ],
    GPQA: [
        {
            "Record ID": f"rec{number}",
            "Question": f"Which of these is number {number}?",
            "Correct Answer": f"number {number}\n",
            "Incorrect Answer 1": "nothing",
            "Incorrect Answer 2": "all of it",
            "Incorrect Answer 3": "a part of it",
            "High-level domain": "Physics",
        }
        for number in (1, 2)
    ],
    FOLIO: [
        {
            "premises": "All cats purr.\nTom is a cat.",
            "conclusion": "Tom purrs {loudly}.",
            "label": "Unknown",
            "example_id": 1,
        },
        {
            "premises": ["All cats purr.", "Tom is a cat."],
            "conclusion": "Tom purrs.",
            "label": "True",
            "example_id": 2,
        },
    ],
    TEMPORAL: [
        {"input": "Ann woke up at 5am.\nOptions:\n(A) 5am to 6am\n(B) 7am to 8am", "target": "(A)"},
        {"input": "Bob woke up at 7am.\nOptions:\n(A) 5am to 6am\n(B) 7am to 8am", "target": "(B)"},
    ],
    MUSIQUE: [
        {
            "id": "2hop__1_2",
            "question": "Who leads the firm that owns the press?",
            "answer": "The Ann Example",
            "answer_aliases": ["Ann E."],
            "paragraphs": [
                paragraph("Press", "The firm owns the press.", True),
                paragraph("Mill", "Never to be shown.", False),
                paragraph("Firm", "Ann Example leads the firm.", True),
            ],
        },
        {
            "id": "4hop3__1_2_3_4",
            "question": "When was that?",
            "answer": "1839",
            "answer_aliases": [],
            "paragraphs": [paragraph("Then", "It was in 1839.", True)],
        },
    ],
}
ROWS[MUSIQUE_DEV_OPEN] = ROWS[MUSIQUE]
ROWS[MUSIQUE_DEV] = [
    {name: value for name, value in row.items() if name != "paragraphs"} for row in ROWS[MUSIQUE]
]


def jsonl(rows: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(folder: Path) -> None:
    """Writes all files under the folder."""
    for name, rows in ROWS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(jsonl(rows), encoding="utf-8")
