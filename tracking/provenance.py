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
_SETTING = re.compile(rf"(?i)([\w-]*{_SECRET_NAME})=[^\s&'\"]+")
_FLAG = re.compile(rf"(?i)--?[\w-]*{_SECRET_NAME}")


def redact(text: str) -> str:
    """`text` without the credentials in its URIs and in settings like `api_key=...`."""
    return _SETTING.sub(r"\1=***", _USER_IN_URI.sub("***@", text))


def redact_command(words: Sequence[str]) -> str:
    """A command line as a person would type it, without the values of flags like `--hf-token`."""
    return " ".join(
        "***" if _FLAG.fullmatch(before) else shlex.quote(redact(word))
        for before, word in zip(["", *words], words, strict=False)
    )


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
    match = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
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
