"""What is installed: the wheel, its requirements, the container."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import make_photo
from packaging.requirements import Requirement

import sprdiff
from sprdiff.metrics import measure
from sprdiff.ui import build_app

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    (file,) = out.glob("*.whl")
    return file


def requirements(lines: list[str]) -> set[str]:
    """Without comments, without this project's own extras, written in one way."""
    bare = [line.split("#")[0].strip() for line in lines]
    return {
        str(Requirement(line)) for line in bare if line and not line.startswith(("-r", f"{PROJECT['name']}["))
    }


def test_requirements_are_those_of_the_project():
    files = {
        name: requirements((REPOSITORY / name).read_text(encoding="utf-8").splitlines())
        for name in ("requirements.txt", "requirements-dev.txt")
    }
    used = requirements(PROJECT["dependencies"] + EXTRAS["metrics"] + EXTRAS["train"])
    assert files["requirements.txt"] == used
    assert files["requirements-dev.txt"] == requirements(EXTRAS["dev"] + EXTRAS["jxl"])


def test_the_wheel_holds_what_runs_and_nothing_else(wheel):
    assert wheel.name.startswith(f"sprdiff-{sprdiff.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert "sprdiff = sprdiff.cli:main" in archive.read(entry).decode()
    files = subprocess.run(
        ["git", "ls-files", "sprdiff", "checkpoints", "assets/examples", "assets/published"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    ).stdout.split()
    needed = [*files, "sprdiff/py.typed", "checkpoints/sprdiff-tiny/model_index.json"]
    needed += ["sprdiff/ui/static/page.css", "assets/results/kodak.json"]
    missing = {name if name.startswith("sprdiff/") else f"sprdiff/{name}" for name in needed} - names
    assert missing == set()
    assert {name.split("/")[0] for name in names} == {"sprdiff", f"sprdiff-{sprdiff.__version__}.dist-info"}


def test_an_installed_package_needs_no_repository(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=elsewhere,
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout

    assert "serve" in run("-m", "sprdiff", "--help")
    code = (
        "from sprdiff.checkpoint.weights import embedded_checkpoint, resolve\n"
        "print(resolve(embedded_checkpoint()))\n"
        "from sprdiff.ui.compare_tab import EXAMPLES; from sprdiff.ui.published import RESULTS\n"
        "from sprdiff.evaluation.curves import PUBLISHED_FOLDER; print(EXAMPLES, RESULTS, PUBLISHED_FOLDER)"
    )
    for folder in run("-c", code).split():
        assert Path(folder).is_dir() and Path(folder).is_relative_to(site)


@pytest.mark.parametrize("metric", ["ms-ssim-y", "dists", "cw-ssim", "fsim", "gmsd"])
def test_without_pyiqa_its_metrics_say_how_to_get_it(metric, monkeypatch):
    from sprdiff.metrics import deep, offline

    for name in [name for name in sys.modules if name.split(".")[0] == "pyiqa"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Hidden(), *sys.meta_path])
    deep.dists_network.cache_clear()
    offline._network.cache_clear()
    image = make_photo(176, 176)
    value = measure(image, image, [metric])[metric]
    assert value.value is None and re.search(r"pyiqa is not installed.*\[metrics\]", value.reason)


class _Hidden:
    """An importer that knows pyiqa is not there."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pyiqa":
            raise ModuleNotFoundError(f"No module named {name!r}", name="pyiqa")


def test_the_container_copies_what_exists_and_does_not_run_as_root():
    for line in re.findall(r"^COPY (.+)", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        assert [source for source in sources if not (REPOSITORY / source).exists()] == []
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users and users[-1] not in {"root", "0"}
    torch = requirements(re.findall(r'"(torch[^"]*)"', DOCKERFILE))
    assert len(torch) == 2 and torch <= requirements(PROJECT["dependencies"])


def test_the_health_check_asks_for_what_the_page_has():
    from gradio.routes import App

    (port, path) = re.search(r"^HEALTHCHECK.*127\.0\.0\.1:(\d+)(/\w*)", DOCKERFILE, re.MULTILINE).groups()
    assert f"GRADIO_SERVER_PORT={port}" in DOCKERFILE and f"EXPOSE {port}" in DOCKERFILE
    routes = App.create_app(build_app(lambda: None, model_name="none")).routes
    assert path.rstrip("/") in {getattr(route, "path", "").rstrip("/") for route in routes}
