"""The examples for clusters: what they start can be started, and every flag in them exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tyro
import yaml

from experiments.cli.settings import Settings

CLUSTER = Path(__file__).parents[2] / "experiments" / "cluster"
SLURM, COMPOSE = CLUSTER / "slurm.sh", CLUSTER / "compose.yaml"


def services() -> dict[str, Any]:
    """The services of the compose file, its variables at their defaults."""
    text = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", COMPOSE.read_text())
    loaded: dict[str, Any] = yaml.safe_load(text)["services"]
    return loaded


def tool(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"apt-get install {name}")


def run_script(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """The script in a folder whose .venv/bin/python tells what it was called with."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$OMP_NUM_THREADS" "$@"\n')
    python.chmod(0o755)
    own = {name: os.environ[name] for name in ("PATH",)}
    return subprocess.run(
        ["bash", str(SLURM), *arguments],
        env=own | {"SLURM_SUBMIT_DIR": str(folder)} | environment,
        capture_output=True,
        text=True,
    )


def test_an_array_s_tasks_are_one_command_that_a_search_takes(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        "--model",
        "tiny-1m",
        "--sparsity=0:0.8:0.4",
        LRM_STORAGE="postgresql+psycopg://lrm@host/optuna",
        MLFLOW_TRACKING_URI="http://host:5000",
        SLURM_CPUS_PER_TASK="3",
    )
    threads, *words = done.stdout.split("\n")[:-1]
    assert (threads, words[:2]) == ("3", ["-m", "experiments.sparsity_search"])
    settings = tyro.cli(Settings, args=words[2:])
    assert settings.storage == "postgresql+psycopg://lrm@host/optuna"
    assert settings.tracking_uri == "http://host:5000"
    assert settings.folder == tmp_path / "mlruns"
    assert (settings.study, settings.model, settings.sparsity) == (
        "shared",
        "tiny-1m",
        (0, 0.4, 0.8),
    )


@pytest.mark.parametrize("missing", ["LRM_STORAGE", "MLFLOW_TRACKING_URI"])
def test_an_array_says_what_it_is_not_told(missing: str, tmp_path: Path) -> None:
    variables = {"LRM_STORAGE": "postgresql://h/d", "MLFLOW_TRACKING_URI": "http://h"}
    del variables[missing]
    done = run_script(tmp_path, **variables)
    assert done.returncode != 0
    assert missing in done.stderr
    assert not done.stdout


def test_the_script_is_clean() -> None:
    done = subprocess.run([tool("shellcheck"), SLURM], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_compose_reads_the_file_and_wants_a_password() -> None:
    command = [tool("docker-compose"), "-f", str(COMPOSE), "config", "-q"]
    variables = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        command, env=variables | {"LRM_PASSWORD": "x"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode != 0
    assert "set it to a password of your own" in done.stderr


def test_the_worker_s_command_is_one_that_a_search_takes() -> None:
    parts = services()
    python, module, name, *words = parts["worker"]["command"]
    assert (python, module, name) == ("python", "-m", "experiments.sparsity_search")
    settings = tyro.cli(Settings, args=words)
    mounted = [volume.partition(":")[2] for volume in parts["worker"]["volumes"]]
    assert str(settings.folder) in mounted
    server = next(word for word in parts["mlflow"]["command"] if "--port" in word).partition("=")[2]
    assert settings.tracking_uri == f"http://mlflow:{server}"
    assert f"mlflow:{server}" in " ".join(parts["mlflow"]["command"])


@pytest.mark.slow
def test_the_server_s_flags_exist() -> None:
    asked = [word.partition("=")[0] for word in services()["mlflow"]["command"][2:]]
    mlflow = Path(sys.executable).with_name("mlflow")
    usage = subprocess.run([mlflow, "server", "--help"], capture_output=True, text=True, check=True)
    assert len(asked) == 6
    for flag in asked:
        assert flag in usage.stdout, flag


def test_nothing_is_open_to_others_and_no_password_is_written() -> None:
    for name, service in services().items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
    for text in (path.read_text() for path in CLUSTER.iterdir()):
        assert not re.search(r"://\w+:[^@\s]+@", text)
        for value in re.findall(r"PASSWORD: (.*)", text):
            assert value.startswith("${LRM_PASSWORD:?")


def test_the_image_gets_what_it_installs() -> None:
    text = (CLUSTER / "Dockerfile").read_text()
    root = CLUSTER.parents[1]
    for copied in re.findall(r"^COPY (.*) \S+$", text, re.M):
        for path in copied.split():
            assert (root / path).exists(), path
    [extra] = re.findall(r"'\.\[(\w+)\]'", text)
    assert f"\n{extra} = [" in (root / "pyproject.toml").read_text()
