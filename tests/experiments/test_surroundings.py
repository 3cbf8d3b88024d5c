"""What a command meets around it: closed streams, a locale that is not UTF-8, Python's flags."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models import copied

STREAMS = """
import os, sys
from dataclasses import dataclass
from experiments.cli.command import command
from lrm.errors import BadInput

@dataclass
class Nothing: pass

def work(_):
    first = os.open("/proc/self/stat", os.O_RDONLY)
    streams = [sys.stdin, sys.stdout, sys.stderr]
    print("said to nobody", file=sys.stderr)
    with open(sys.argv[1], "w") as out:
        out.write(f"{first > 2} {[stream.fileno() for stream in streams]}")
    return "done"

sys.exit(command(Nothing, "none", None, [], work, ""))
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_files_of_others(closed: str, tmp_path: Path) -> None:
    """A library in C prints to number 2, whatever file has it. From cron it may be none."""
    (tmp_path / "work.py").write_text(STREAMS)
    line = f"exec {sys.executable} {tmp_path / 'work.py'} {tmp_path / 'out'} {closed}"
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["bash", "-c", line], env=os.environ | paths, check=False)
    assert done.returncode == 0
    assert (tmp_path / "out").read_text() == "True [0, 1, 2]"


def test_without_docstrings_nothing_is_begun() -> None:
    """Altair fails without them, at the end of a search."""
    command = [sys.executable, "-OO", "-m", "experiments.sparsity_search", "--model", "tiny-1m"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: Python was started with -OO (PYTHONOPTIMIZE=2), which removes the docstrings that "
        "libraries and --help need: start it with -O at most.\n"
    )


@pytest.mark.slow
def test_a_chat_template_is_read_in_any_locale(tmp_path: Path) -> None:
    """DeepSeek's has characters that are no ASCII."""
    folder = copied(tmp_path / "model")
    path = folder / "tokenizer_config.json"
    template = {"chat_template": "<\uff5cUser\uff5c>{{ messages[0]['content'] }}"}
    config = json.loads(path.read_text(encoding="utf-8")) | template
    path.write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    code = (
        "from experiments.models import resolve as r; print(r.open_model({!r}).has_chat_template)"
    )

    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code.format(str(folder))]
    done = subprocess.run(
        command, env=os.environ | plain, capture_output=True, encoding="utf-8", check=False
    )
    assert done.stdout == "True\n", done.stderr
