"""Where a number comes from: code, packages, hardware, command line; without secrets."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "lrm", "torch", "transformers", "safetensors", "datasets", "numpy", "scipy",
    "mlflow", "optuna", "vllm", "llama-cpp-python",
)  # fmt: skip

_SECRET_NAME = r"(?:key|token|secret|password|passwd|pwd|credentials?)"
# A database's password may hold / and @ as they are.
_USER_IN_URI = re.compile(r"(?<=://)(?:[^:/\s]*:[^\s\"]*|[^/\s]*)@")
# An address without a scheme. A method has a number behind its @, as "sparsegpt:damping=0.1@0.5".
_USER_AND_PASSWORD = re.compile(
    r"(?<![\w.+-])[\w.+-]+:[^\s:/@\"']+@(?=[A-Za-z\[]|\d+\.\d+\.\d+\.\d+)"
)
_SETTING = re.compile(rf"(?i)([\w-]*{_SECRET_NAME})=[^\s&'\"]+")
# In a sentence: "password: ...", "the password is ..."; "token: 5" is none.
_TOLD = re.compile(
    r"(?i)\b((?:secret|password|passwd|pwd)(?::\s*|\s+is\s+))[^\s\"'\\]+"
    r"|\b((?:token|key|credentials?)(?::\s*|\s+is\s+))"
    r"(?=[\w./+-]*\d)(?=[\w./+-]*[A-Za-z])[\w./+-]{12,}"
    r"|\b(token\s+)(?=\w*\d)(?=\w*[A-Za-z])\w{16,}"
)
# Tokens that say what they are: of Hugging Face, OpenAI and its kind, GitHub, GitLab, Slack, AWS,
# Google, and those of JSON (RFC 7519).
_TOKEN = re.compile(
    r"(?<![\w-])(?:hf_[A-Za-z0-9]{8,}|sk-[\w-]{8,}|gh[opsur]_[A-Za-z0-9]{8,}|github_pat_\w{8,}"
    r"|glpat-[\w-]{8,}|xox[a-z]-[\w-]{8,}|AKIA[A-Z0-9]{12,}|AIza[\w-]{20,}"
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+(?=\S*\d)[\w.~+/=-]{8,}")
_FLAG = re.compile(rf"(?i)--?[\w-]*{_SECRET_NAME}")


def redact(text: str) -> str:
    """`text` without the credentials in its addresses, in settings like `api_key=...`, in
    sentences like "password: ...", and without the tokens of well-known services."""
    text = _USER_AND_PASSWORD.sub("***@", _USER_IN_URI.sub("***@", text))
    text = _SETTING.sub(r"\1=***", text)
    text = _TOLD.sub(lambda match: f"{match[1] or match[2] or match[3]}***", text)
    return _TOKEN.sub("***", _BEARER.sub(r"\1 ***", text))


def redact_address(address: str) -> str:
    """What was given as an address, which may be none, without its credentials."""
    redacted = redact(address)
    if redacted != address or "@" not in address or address.startswith("sqlite:/"):
        return redacted
    return f"***@{redact(address.rpartition('@')[2])}"


def redact_words(words: Sequence[str]) -> list[str]:
    """The words of a command line without the values of flags like `--hf-token`."""
    return [
        "***" if _FLAG.fullmatch(before) else redact(word)
        for before, word in zip(["", *words], words, strict=False)
    ]


def redact_command(words: Sequence[str]) -> str:
    """A command line as a person would type it; without credentials."""
    return " ".join(word if word == "***" else shlex.quote(word) for word in redact_words(words))


def code(root: Path) -> dict[str, str]:
    """The git commit under `root` and whether files differ from it, or that there is none."""
    commit = _output(["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "HEAD"])
    if not commit:
        return {"git.commit": "none: not a git checkout with a commit"}
    status = ["git", "--no-optional-locks", "-C", str(root), "status", "--porcelain"]
    return {"git.commit": commit, "git.dirty": "yes" if _output(status) else "no"}


def provenance(root: Path) -> dict[str, str]:
    """What a run is made with: `code`, package versions, Python, hardware, command line.

    The caller adds seeds and digests of data.
    """
    return {
        **code(root),
        **{f"version.{name}": number for name in PACKAGES if (number := installed(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": str(_cores()),
        "memory_gib": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f}",
        "gpus": _gpus(),
        "command": redact_command(sys.orig_argv),
    }


def _output(command: list[str]) -> str:
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def installed(name: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    match = (
        re.search(r"model name\s*: (.+)", info.read_text(encoding="utf-8"))
        if info.exists()
        else None
    )
    return match[1] if match else platform.processor() or platform.machine()


def _cores() -> int:
    """The cores this process may use, which a container can make fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> str:
    # Asking torch would start CUDA in a process that may want to fork first.
    names = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return ", ".join(names.splitlines()) or "none"
