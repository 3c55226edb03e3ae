"""What a Space gets for each hardware, and how large its image is said to be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from sprdiff.cli import main
from sprdiff.errors import HubError
from sprdiff.hub.image_size import installed_size
from sprdiff.hub.space import ZERO_GPU, space_files

REPOSITORY = Path(__file__).resolve().parent.parent

checkout = pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="this is no git checkout")


def install(site: Path, name: str, files: dict[str, int], requires: tuple[str, ...] = ()) -> None:
    """A package with files of so many bytes, as pip leaves one."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    (info / "METADATA").write_text("\n".join(lines + [f"Requires-Dist: {each}" for each in requires]))
    for path, size in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        with (site / path).open("wb") as file:
            file.truncate(size)  # no bytes on the disk
    # pip names compiled files without a size; and a list may name what was removed.
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in [*files, "gone.py"]))


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    install(
        tmp_path,
        "torch",
        {"torch/lib/libtorch_cpu.so": 1000, "torch/lib/libtorch_cuda.so": 20_000, "torch/a.py": 1},
        ("nvidia-fast>=1", "triton", "sprdiff-test-sums", 'nowhere; sys_platform == "plan9"'),
    )
    install(tmp_path, "nvidia-fast", {"nvidia/fast.so": 300_000}, ("cuda-fast",))
    install(tmp_path, "cuda-fast", {"cuda/fast.so": 4_000_000})
    install(tmp_path, "triton", {"triton/a.so": 50_000_000})
    install(
        tmp_path,
        "sprdiff-test-sums",
        {"sums/a.py": 2, "sums/__pycache__/a.pyc": 3},
        ("torch", 'sprdiff-test-more; extra == "more"', 'sprdiff-test-rare; extra == "rare"'),
    )
    install(tmp_path, "sprdiff-test-more", {"more.py": 700_000_000})
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_an_image_is_as_large_as_all_that_is_required(site):
    size = installed_size("torch>=1  # a comment\n", cuda=True)
    assert (size.num_bytes, size.packages, size.missing) == (54_321_006, 5, ())
    size = installed_size("--extra-index-url https://127.0.0.1\ntorch\n", cuda=False)
    assert (size.num_bytes, size.packages) == (1006, 2), "torch without its CUDA libraries, and sums"


def test_extras_count_where_they_are_asked_for_and_what_is_missing_is_named(site):
    size = installed_size("torch\nSPRDiff_test.sums[more]\nsprdiff-test-lost", cuda=False)
    assert (size.num_bytes, size.missing) == (700_001_006, ("sprdiff-test-lost",))
    assert installed_size("sprdiff-test-sums[rare]", cuda=False).missing == ("sprdiff-test-rare",)


@checkout
def test_a_dry_run_says_how_large_the_image_will_be(site, capsys):
    shown = {}
    for hardware in ("cpu-basic", ZERO_GPU):
        command = ["hub", "space", "sprdiff/page", "--dry-run", "--hardware", hardware]
        assert main([*command, "--json"]) == 0
        shown[hardware] = json.loads(capsys.readouterr().out)["image"]
        assert main(command) == 0
        line = capsys.readouterr().out.splitlines()[-2]
        assert line.startswith(
            f"{shown[hardware]['num_bytes'] / 1e9:.1f} GB in {shown[hardware]['packages']} "
        )
    # The site's torch, which comes first, and the packages under it.
    assert shown[ZERO_GPU]["num_bytes"] - shown["cpu-basic"]["num_bytes"] == 54_321_006 - 1006
    assert "spaces" in shown[ZERO_GPU]["missing"] and "spaces" not in shown["cpu-basic"]["missing"]


@checkout
def test_a_space_on_zero_gpu_asks_for_cuda_and_a_python_that_runs_there():
    cpu, zero = space_files(), space_files(hardware=ZERO_GPU)
    assert cpu.keys() == zero.keys()
    assert isinstance(zero["requirements.txt"], bytes) and isinstance(zero["README.md"], bytes)
    lines = zero["requirements.txt"].decode().splitlines()
    assert not [line for line in lines if "index-url" in line]
    names = [Requirement(line.partition("#")[0]).name for line in lines if line and not line.startswith("#")]
    assert names[-1] == "spaces" and "torch" in names
    assert b"spaces" not in cpu["requirements.txt"]
    readme, before = zero["README.md"].decode(), (REPOSITORY / "README.md").read_text(encoding="utf-8")
    changed = [new for new, old in zip(readme.splitlines(), before.splitlines(), strict=True) if new != old]
    assert changed == ['python_version: "3.12.12"', "suggested_hardware: zero-a10g"]
    (allowed,) = re.findall(
        r'requires-python = "(.+?)"', (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    )
    assert "3.12.12" in SpecifierSet(allowed)


@checkout
def test_a_readme_without_metadata_makes_no_space_on_zero_gpu(monkeypatch):
    monkeypatch.setattr("pathlib.Path.read_text", lambda self, **options: "# A project")
    with pytest.raises(HubError, match="lack python_version"):
        space_files(hardware=ZERO_GPU)
