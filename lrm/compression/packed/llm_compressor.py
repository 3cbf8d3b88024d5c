"""This side of the process in which llm-compressor quantizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from lrm.errors import BadInput, CompressionFailed, MissingExtra

PYTHON = "LRM_COMPRESSOR"
"""The environment variable that names the Python of the environment that llm-compressor is in."""

JOB = Path(__file__).with_name("llm_compressor_job.py")
INSTALL = (
    "python3 -m venv .venv-compress && .venv-compress/bin/pip install -c constraints-compress.txt "
    f"llmcompressor, then set {PYTHON}=.venv-compress/bin/python"
)
LOG_CHARACTERS = 400
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONSAFEPATH": "1",  # a folder named datasets where the user stands is not the package
}


@cache
def compressor() -> str:
    """The library and its version, as in "llm-compressor 0.14.0.1"; MissingExtra says how to
    install it."""
    asked = subprocess.run(
        [_python(), "-c", "import importlib.metadata as m; print(m.version('llmcompressor'))"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise MissingExtra(
            f"awq and gptq need llm-compressor, which wants an environment of its own: {INSTALL}"
        )
    return f"llm-compressor {asked.stdout.strip()}"


def run(job: Mapping[str, object], on_part: Callable[[int], None]) -> None:
    """Does a job of `lrm.compression.packed.llm_compressor_job`; `on_part` is called with how many
    parts are done.

    Raises CompressionFailed with the reason that the process gives, or the end of its log.
    """
    reading, writing = os.pipe()
    with (
        os.fdopen(reading, encoding="utf-8") as answers,
        tempfile.TemporaryFile() as log,
        tempfile.TemporaryDirectory() as folder,  # where the library would leave its logs
        subprocess.Popen(
            [_python(), str(JOB), str(writing)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(writing,),
            cwd=folder,
            env=os.environ | ENVIRONMENT,
            start_new_session=True,  # Ctrl-C reaches this side alone
        ) as process,
    ):
        os.close(writing)
        assert process.stdin
        finished = False
        try:
            process.stdin.write(json.dumps(dict(job)).encode() + b"\n")
            process.stdin.flush()
            for line in answers:
                message = json.loads(line)
                if "failed" in message:
                    reason = message["failed"]
                    raise CompressionFailed(f"{job['method']} of {job['model']}: {reason}")
                if "done" in message:
                    on_part(message["done"])
                finished = "finished" in message
        except BrokenPipeError:
            finished = False
        finally:
            if not finished:
                process.kill()
            with suppress(BrokenPipeError):
                process.stdin.close()
        if not finished:
            raise CompressionFailed(f"llm-compressor's process ended and said last: {_last(log)}")


def _last(log: IO[bytes]) -> str:
    log.seek(0)
    return " ".join(log.read().decode(errors="replace").split())[-LOG_CHARACTERS:]


def _python() -> str:
    named = os.environ.get(PYTHON)
    if named and not Path(named).is_file():
        raise BadInput(f"{PYTHON}={named} is no file: name the Python of an environment.")
    return str(Path(named).absolute()) if named else sys.executable
