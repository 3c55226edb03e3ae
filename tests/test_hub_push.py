"""Checkpoints and the page on their way to the Hub, with the real client and a Hub on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import make_photo
from hub import TOKEN, HubServer
from PIL import Image

from sprdiff.checkpoint.weights import CHECKPOINT_FILES, MODEL_VARIABLE, embedded_checkpoint
from sprdiff.cli import main
from sprdiff.errors import HubError
from sprdiff.hub.checkpoints import check_card, check_repo_id, checkpoint_files
from sprdiff.hub.space import space_files

REPOSITORY = Path(__file__).resolve().parent.parent
DEAD_ENDPOINT = "http://127.0.0.1:9"  # the discard port: nothing listens there
TARGET = "sprdiff/pushed"
CARD = (embedded_checkpoint() / "README.md").read_text(encoding="utf-8")
PUSH_AND_CHECK = """
import sys
from sprdiff.cli import main
folder, target = sys.argv[1:]
push, check = ["push", folder, target, "--private"], ["check", target]
sys.exit(max(main(["hub", *command, "--json"]) for command in (push, check)))
"""
UPLOAD = """
import json, sys
from sprdiff.errors import HubError
from sprdiff.hub.checkpoints import upload
files = {path: text.encode() for path, text in json.loads(sys.argv[2]).items()}
try:
    commit = upload(files, sys.argv[1], replaces=("*.json",), message="A test", **json.loads(sys.argv[3]))
    print(json.dumps({"commit": commit.oid}))
except HubError as error:
    print(json.dumps({"error": str(error)}))
"""


checkout = pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="this is no git checkout")


def run(
    arguments: list[str], endpoint: str, folder: Path, token: str = TOKEN, **env: str
) -> subprocess.CompletedProcess:
    """Python in a fresh process, where the client reads its environment as users set it.

    Args:
        folder: to run in, with the cache of the client.
    """
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": token,
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(REPOSITORY),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env=clean | settings | env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def send(
    endpoint: str, folder: Path, *, repo_id: str = TARGET, files: dict | None = None, **options: object
) -> dict:
    """What ``upload`` answers; ``token`` among the options is that of the client."""
    token = str(options.pop("token", TOKEN))
    files = {"model_index.json": "{}", "README.md": CARD} if files is None else files
    result = run(
        ["-c", UPLOAD, repo_id, json.dumps(files), json.dumps(options)], endpoint, folder, token=token
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_pushed_checked_and_loaded_by_the_example_of_its_card(pipeline, tmp_path: Path):
    make_photo().save(tmp_path / "photo.png")
    with HubServer({}) as hub:
        done = run(["-c", PUSH_AND_CHECK, str(embedded_checkpoint()), TARGET], hub.endpoint, tmp_path)
        assert done.returncode == 0, done.stderr
        pushed, found = map(json.loads, done.stdout.splitlines())
        there = hub.files(f"models/{TARGET}")
        assert set(there) == {".gitattributes", *checkpoint_files(embedded_checkpoint(), TARGET)}
        assert hub.created[0]["visibility"] == "private"
        assert pushed["fingerprint"] == found["fingerprint"] == pipeline.fingerprint
        assert pushed["commit"] == found["commit"]
        assert found["num_bytes"] == sum(
            len(data) for path, data in there.items() if path != ".gitattributes"
        )
        assert set(found["parts"]) == set(pipeline.components)
        assert found["stream_bytes"] > 0

        (example,) = re.findall(r"```python\n(.*?)```", there["README.md"].decode(), re.DOTALL)
        assert f'from_pretrained("{TARGET}")' in example
        ran = run(["-c", example], hub.endpoint, tmp_path)
        assert ran.returncode == 0, ran.stderr
    with Image.open(tmp_path / "photo-decoded.png") as decoded:
        assert decoded.size == make_photo().size


def test_the_example_of_the_card_names_a_checkpoint_of_the_checkout():
    (named,) = re.findall(r'from_pretrained\("([^"]+)"\)', CARD)
    assert REPOSITORY / named == embedded_checkpoint()


@pytest.mark.parametrize("part", ["vae", "unet"])
def test_a_checkpoint_that_cannot_be_loaded_is_not_sent(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    folder = tmp_path / "damaged"
    shutil.copytree(embedded_checkpoint(), folder)
    weights = max((folder / part).glob("*.safetensors"))
    if part == "unet":  # one of several files is missing
        weights.unlink()
    else:  # the only one is cut off
        weights.write_bytes(weights.read_bytes()[:-100])
    assert main(["hub", "push", str(folder), TARGET]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "cannot be loaded" in shown.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("license", "license: mit\n"),
        ("library_name", "library_name: sprdiff\n"),
        ("pipeline_tag", "pipeline_tag: image-to-image\n"),
        ("datasets", "datasets:\n- imagenet-sample-images\n- BSDS500\n"),
        ("the tag arxiv:", "- arxiv:2606.01608\n"),
        ("from_pretrained", "from_pretrained"),
    ],
)
def test_a_card_without_a_field_is_refused(field: str, line: str):
    assert line in CARD
    with pytest.raises(HubError, match=f"lacks .*{field}"):
        check_card(CARD.replace(line, ""))


def test_a_card_without_metadata_or_with_broken_ones_is_refused():
    with pytest.raises(HubError, match=r"lacks license, .*model-index"):
        check_card("# A model")
    with pytest.raises(HubError, match="cannot be read"):
        check_card("---\nlicense: [mit\n---\n")


def test_a_checkpoint_without_a_card_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = tmp_path / "bare"
    shutil.copytree(embedded_checkpoint(), folder, ignore=shutil.ignore_patterns("README.md"))
    assert main(["hub", "push", str(folder), TARGET]) == 2
    assert "has no model card" in capsys.readouterr().err


@pytest.mark.parametrize("repo_id", ["name", "a/b/c", "a b/c", "a/b@v1", "owner/na--me", "owner/name.git"])
def test_a_name_that_the_hub_does_not_take_is_refused(repo_id: str, capsys: pytest.CaptureFixture):
    with pytest.raises(HubError, match="no name of a repository"):
        check_repo_id(repo_id)
    assert main(["hub", "space", repo_id, "--dry-run"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_only_what_makes_a_checkpoint_is_sent(tmp_path: Path):
    folder = tmp_path / "checkpoint"
    (folder / "vae").mkdir(parents=True)
    for name in ("README.md", "vae/config.json", "vae/model.safetensors", "vae/model.bin", "optimizer.pt"):
        (folder / name).write_text(CARD)
    assert set(checkpoint_files(folder, TARGET)) == {"README.md", "vae/config.json", "vae/model.safetensors"}
    assert "*.bin" not in CHECKPOINT_FILES


def test_one_commit_replaces_what_was_there(tmp_path: Path):
    with HubServer({}) as hub:
        send(hub.endpoint, tmp_path, files={"old.json": "{}", "notes.txt": "kept"})
        first = hub.files(f"models/{TARGET}")
        assert {"old.json", "notes.txt"} < set(first)
        answer = send(hub.endpoint, tmp_path)
        assert set(hub.files(f"models/{TARGET}")) == {
            ".gitattributes", "notes.txt", "model_index.json", "README.md"
        }  # fmt: skip
        again = send(hub.endpoint, tmp_path)
        assert again == answer, "the same files make no new commit"


def test_a_branch_is_made_and_main_stays(tmp_path: Path):
    with HubServer({}) as hub:
        send(hub.endpoint, tmp_path, revision="v2")
        assert "model_index.json" in hub.files(f"models/{TARGET}", "v2")
        assert "model_index.json" not in hub.files(f"models/{TARGET}")


def test_what_may_not_be_written_is_said_in_one_sentence(tmp_path: Path):
    with HubServer({}) as hub:
        errors = {
            "needs a token": send(hub.endpoint, tmp_path, token=""),
            "does not take the token": send(hub.endpoint, tmp_path, token="hf_unknown"),
            "may not write to other/pushed": send(hub.endpoint, tmp_path, repo_id="other/pushed"),
        }
        hub.status = 500
        errors["HTTP status 500"] = send(hub.endpoint, tmp_path)
    for said, answer in errors.items():
        assert said in answer["error"]
        assert "\n" not in answer["error"]
    assert hub.created == []


def test_a_public_repository_does_not_pass_for_a_private_one(tmp_path: Path):
    with HubServer({}) as hub:
        send(hub.endpoint, tmp_path)
        before = hub.files(f"models/{TARGET}")
        assert "is public" in send(hub.endpoint, tmp_path, files={}, private=True)["error"]
        assert hub.files(f"models/{TARGET}") == before


def test_an_upload_that_breaks_off_leaves_what_was_there(tmp_path: Path):
    with HubServer({}) as hub:
        send(hub.endpoint, tmp_path, files={"old.json": "{}"})
        before = hub.files(f"models/{TARGET}")
        hub.broken = "/commit/"
        assert "run the same command again" in send(hub.endpoint, tmp_path)["error"]
        assert hub.files(f"models/{TARGET}") == before
        hub.broken = None
        assert "commit" in send(hub.endpoint, tmp_path)
    assert "could not be reached" in send(DEAD_ENDPOINT, tmp_path)["error"]


def test_files_that_the_hub_leaves_out_are_named(tmp_path: Path):
    with HubServer({}) as hub:
        hub.ignored = "README.md"
        assert "left out of sprdiff/pushed: README.md" in send(hub.endpoint, tmp_path)["error"]


@checkout
def test_a_dry_run_lists_what_a_space_gets_and_sends_nothing(capsys: pytest.CaptureFixture):
    assert main(["hub", "space", "sprdiff/page", "--dry-run"]) == 0
    *lines, image, total = capsys.readouterr().out.splitlines()
    assert " GB in " in image
    listed = {path: int(size.replace(",", "")) for size, path in (line.split() for line in lines)}
    assert total == f"{len(listed)} files, {sum(listed.values()):,} bytes; nothing was uploaded"
    assert {"README.md", "app.py", "packages.txt", "requirements.txt", "sprdiff/ui/page.py"} < set(listed)
    assert "checkpoints/sprdiff-tiny/model_index.json" in listed
    assert not [path for path in listed if path.startswith(("tests/", "benchmarks/", "."))]


@checkout
def test_a_space_asks_for_torch_without_cuda():
    files = space_files()
    text = files["requirements.txt"].decode()
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in text.splitlines()
    assert text.endswith((REPOSITORY / "requirements.txt").read_text())
    assert "libgl1" in files["packages.txt"].read_text().split()


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path):
    with pytest.raises(HubError, match="git cannot list"):
        space_files(tmp_path)


@checkout
def test_a_space_holds_the_page_and_is_updated(tmp_path: Path):
    with HubServer({}) as hub:
        command = ["-m", "sprdiff", "hub", "space", "sprdiff/page", "--hardware", "cpu-basic", "--json"]
        result = run(command, hub.endpoint, tmp_path)
        assert result.returncode == 0, result.stderr
        assert {"sdk": "gradio", "hardware": "cpu-basic"}.items() <= hub.created[0].items()
        there = hub.files("spaces/sprdiff/page")
        assert set(there) == {".gitattributes", *json.loads(result.stdout)["files"]}
        assert there["README.md"].startswith(b"---\ntitle: SPRDiff\nsdk: gradio\n")
        again = run(command, hub.endpoint, tmp_path)
        assert again.returncode == 0, again.stderr
        assert hub.hardware == {"spaces/sprdiff/page": "cpu-basic"}


def test_the_page_takes_what_the_commands_take(monkeypatch: pytest.MonkeyPatch):
    served = []
    page = SimpleNamespace(launch=lambda **options: None)
    monkeypatch.setattr(
        "sprdiff.ui.build_app",
        lambda load, model_name, others, **options: (
            served.append([model_name, *(each.name for each in others)]) or page
        ),
    )
    monkeypatch.setenv(MODEL_VARIABLE, "owner/name@v1")
    embedded = ["--model", str(embedded_checkpoint())]
    for arguments in ([], ["--model", "owner/other"], embedded, [*embedded, "--model", "owner/other"]):
        assert main(["serve", *arguments]) == 0
    monkeypatch.setenv(MODEL_VARIABLE, "owner/name@v1 owner/other")
    assert main(["serve"]) == 0
    assert served == [
        ["owner/name@v1"],
        ["owner/other"],
        ["sprdiff-tiny"],
        ["sprdiff-tiny", "owner/other"],
        ["owner/name@v1", "owner/other"],
    ]
