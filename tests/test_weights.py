"""Checkpoints from folders and, with the real client, from a Hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub import REPO_ID, HubServer

from sprdiff.checkpoint.weights import default_checkpoint, embedded_checkpoint, resolve
from sprdiff.errors import WeightsError

REPOSITORY = Path(__file__).resolve().parent.parent
DEAD_ENDPOINT = "http://127.0.0.1:9"  # the discard port: nothing listens there
CLIENT = """
import json, sys
from sprdiff.errors import WeightsError
from sprdiff.checkpoint.weights import resolve
try:
    print(json.dumps({"folder": str(resolve(sys.argv[1], revision=json.loads(sys.argv[2])))}))
except WeightsError as error:
    print(json.dumps({"error": str(error)}))
print(json.dumps(sorted({"torch", "diffusers", "transformers"} & set(sys.modules))))
"""


def write_checkpoint(
    folder: Path, *, weights: str = "model.safetensors", content: bytes = b"weights"
) -> Path:
    """A folder laid out as a checkpoint; ``resolve`` looks at names, so its weights may be any bytes."""
    index = {
        "_class_name": "SPRDiffPipeline",
        "_diffusers_version": "0.42.1",
        "codec": ["sprdiff.latent_codec.codec", "LatentCodec"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "extra": [None, None],
    }
    for part in ("codec", "scheduler"):
        (folder / part).mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "README.md").write_text("A model card.")
    (folder / "codec" / "config.json").write_text("{}")
    (folder / "codec" / weights).write_bytes(content)
    (folder / "scheduler" / "scheduler_config.json").write_text("{ }")
    return folder


def run(cache: Path, endpoint: str, code: str, *arguments: str, **env: str) -> str:
    """What ``code`` prints in a fresh process, where the client reads ``HF_ENDPOINT`` as users set it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=clean | {"PYTHONPATH": str(REPOSITORY), "NO_PROXY": "127.0.0.1"} | settings | env,
        cwd=cache.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def call(
    cache: Path, endpoint: str, *, wanted: str = REPO_ID, revision: str | None = None, **env: str
) -> dict:
    """What ``resolve`` answers there."""
    printed = run(cache, endpoint, CLIENT, wanted, json.dumps(revision), **env)
    answer, heavy = map(json.loads, printed.splitlines())
    assert heavy == []
    return answer


BYTES = """
import json, sys
from sprdiff.checkpoint.weights import resolve
told = []
resolve(sys.argv[1], on_bytes=lambda received, total: told.append([received, total]))
print(json.dumps(told))
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_folder_is_used_as_it_is(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    assert resolve(checkpoint) == checkpoint
    monkeypatch.chdir(checkpoint.parent)
    assert resolve("checkpoint") == Path("checkpoint")


def test_a_folder_named_like_a_hub_id_wins(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(checkpoint.parent.parent)
    wanted = f"{checkpoint.parent.name}/{checkpoint.name}"
    assert resolve(wanted) == Path(wanted)


@pytest.mark.parametrize("wanted", ["no-such-folder", "./no/such", "/no/such/folder", "a/b/c", "..", "a b/c"])
def test_what_was_looked_for_is_named(wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError) as error:
        resolve(wanted)
    assert wanted in str(error.value)


def test_a_path_is_never_taken_for_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="no folder 'sprdiff/tiny'"):
        resolve(Path(REPO_ID))


def test_a_file_is_refused(checkpoint: Path):
    with pytest.raises(WeightsError, match="is a file"):
        resolve(checkpoint / "README.md")


def test_a_revision_of_a_folder_is_refused(checkpoint: Path):
    with pytest.raises(WeightsError, match="is a local folder"):
        resolve(checkpoint, revision="main")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no model_index.json"),
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"missing": ["sprdiff", "X"]}', "no part 'missing'"),
        ('{"../codec": ["sprdiff", "X"]}', "cannot be a part"),
    ],
)
def test_a_folder_without_a_checkpoint_is_refused(content: str | None, message: str, checkpoint: Path):
    index = checkpoint / "model_index.json"
    index.unlink() if content is None else index.write_text(content)
    with pytest.raises(WeightsError, match=message):
        resolve(checkpoint)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "model.pkl"])
def test_a_folder_with_pickles_only_is_refused(name: str, tmp_path: Path):
    folder = write_checkpoint(tmp_path / "pickled", weights=name)
    with pytest.raises(WeightsError, match=rf"'codec'.*pickled ones \({name}\) are refused"):
        resolve(folder)
    (folder / "codec" / "model.safetensors").write_bytes(b"weights")
    assert resolve(folder) == folder


def test_the_default_is_the_embedded_checkpoint(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SPRDIFF_MODEL", raising=False)
    assert default_checkpoint() == embedded_checkpoint() == REPOSITORY / "checkpoints" / "sprdiff-tiny"
    monkeypatch.setenv("SPRDIFF_MODEL", "someone/something")
    assert default_checkpoint() == "someone/something"


def test_download_then_cache_without_a_server(checkpoint: Path, cache: Path):
    (checkpoint / "codec" / "extra.bin").write_bytes(b"not wanted")
    with HubServer({"main": checkpoint}) as hub:
        first = call(cache, hub.endpoint)
        assert not any(request.endswith(".bin") for request in hub.requests)
        downloads = len([request for request in hub.requests if request.startswith("GET /sprdiff/")])
        assert call(cache, hub.endpoint) == first
        again = len([request for request in hub.requests if request.startswith("GET /sprdiff/")])
        assert again == downloads == 5
    expected = contents(checkpoint)
    del expected["codec/extra.bin"]
    assert contents(Path(first["folder"])) == expected
    assert call(cache, hub.endpoint) == first
    assert call(cache, DEAD_ENDPOINT, HF_HUB_OFFLINE="1") == first


def test_a_download_tells_how_many_bytes_have_arrived(cache: Path, tmp_path: Path):
    """Of the files that the cache lacks; tqdm itself counts nothing here, where it may not draw."""
    folder = write_checkpoint(tmp_path / "large", content=bytes(25_000_000))  # the client reads 10 MB at once
    (folder / "codec" / "extra.bin").write_bytes(b"not wanted")
    wanted = sum(len(data) for path, data in contents(folder).items() if not path.endswith(".bin"))
    with HubServer({"main": folder}) as hub:
        told = json.loads(run(cache, hub.endpoint, BYTES, REPO_ID))
        assert {total for _, total in told} == {wanted}
        arrived = [received for received, _ in told]
        assert arrived == sorted(set(arrived)) and arrived[-1] == wanted
        assert len(arrived) >= 3, "not all at once"
        again = json.loads(run(cache, hub.endpoint, BYTES, REPO_ID))
        assert again == [], "all of it is in the cache"
    assert json.loads(run(cache, DEAD_ENDPOINT, BYTES, REPO_ID)) == [], "without a network the cache will do"


def test_a_revision_is_pinned(checkpoint: Path, cache: Path, tmp_path: Path):
    older = write_checkpoint(tmp_path / "older", content=b"older weights")
    with HubServer({"main": checkpoint, "v1": older}) as hub:
        newest, tagged = call(cache, hub.endpoint), call(cache, hub.endpoint, revision="v1")
        asked = len(hub.requests)
        assert call(cache, hub.endpoint, revision=hub.commits["v1"]) == tagged
        assert len(hub.requests) == asked, "a commit that is in the cache needs no network"
        fresh = call(cache.with_name("other"), hub.endpoint, revision=hub.commits["v1"])
    assert contents(Path(fresh["folder"])) == contents(Path(tagged["folder"])) == contents(older)
    assert (Path(newest["folder"]) / "codec" / "model.safetensors").read_bytes() == b"weights"
    assert (Path(tagged["folder"]) / "codec" / "model.safetensors").read_bytes() == b"older weights"


def test_unknown_names_are_said_to_be_unknown(checkpoint: Path, cache: Path):
    with HubServer({"main": checkpoint}) as hub:
        assert "sprdiff/tiny has no revision v9" in call(cache, hub.endpoint, revision="v9")["error"]
        assert "has no revision " + "0" * 40 in call(cache, hub.endpoint, revision="0" * 40)["error"]
        error = call(cache, hub.endpoint, wanted="sprdiff/huge")["error"]
    assert "no folder 'sprdiff/huge' here, and no repository of that name" in error


def test_no_network_and_a_cold_cache_is_one_clear_sentence(checkpoint: Path, cache: Path):
    errors = [
        call(cache, DEAD_ENDPOINT, revision="0" * 40)["error"],
        call(cache, DEAD_ENDPOINT)["error"],
        call(cache, DEAD_ENDPOINT, HF_HUB_OFFLINE="1")["error"],
        call(cache, DEAD_ENDPOINT, revision="v1")["error"],
    ]
    for error in errors:
        assert "sprdiff/tiny" in error
        assert "not all, in the local cache" in error
        assert "embedded checkpoint (sprdiff-tiny)" in error
        assert "\n" not in error
    assert "at revision v1" in errors[3]


def test_a_download_that_was_cut_off_is_not_taken_for_whole(checkpoint: Path, cache: Path):
    with HubServer({"main": checkpoint}) as hub:
        folder = Path(call(cache, hub.endpoint)["folder"])
    (folder / "codec" / "model.safetensors").unlink()
    assert "not all, in the local cache" in call(cache, DEAD_ENDPOINT, HF_HUB_OFFLINE="1")["error"]


def test_a_repository_with_pickles_only_is_refused(cache: Path, tmp_path: Path):
    folder = write_checkpoint(tmp_path / "pickled", weights="pytorch_model.bin")
    with HubServer({"main": folder}) as hub:
        assert "'codec' of sprdiff/tiny has no safetensors weights" in call(cache, hub.endpoint)["error"]
        assert not any("pytorch_model.bin" in request for request in hub.requests)


@pytest.mark.parametrize("name", ["../../../../../escaped.json", "codec/../../../../../../escaped.json"])
def test_a_name_that_leads_out_of_the_cache_is_not_written(
    name: str, checkpoint: Path, cache: Path, tmp_path: Path
):
    with HubServer({"main": checkpoint}, extra={name: b"{}"}) as hub:
        assert "error" in call(cache, hub.endpoint)
    assert not list(tmp_path.rglob("escaped.json"))


def test_a_hub_in_trouble_is_not_a_crash(checkpoint: Path, cache: Path):
    with HubServer({"main": checkpoint}) as hub:
        for status in (403, 500):
            hub.status = status
            error = call(cache, hub.endpoint)["error"]
            assert "sprdiff/tiny" in error
            assert f"HTTP status {status}" in error


def test_a_revision_may_stand_behind_the_name(checkpoint: Path, cache: Path, tmp_path: Path):
    older = write_checkpoint(tmp_path / "older", content=b"older weights")
    with HubServer({"main": checkpoint, "v1": older}) as hub:
        tagged = call(cache, hub.endpoint, wanted=f"{REPO_ID}@v1")
        assert tagged == call(cache, hub.endpoint, revision="v1")
        assert (
            "names its revision" in call(cache, hub.endpoint, wanted=f"{REPO_ID}@v1", revision="v2")["error"]
        )
        assert "has no revision v9" in call(cache, hub.endpoint, wanted=f"{REPO_ID}@v9")["error"]
    assert contents(Path(tagged["folder"])) == contents(older)


def test_a_download_that_breaks_off_ends_in_one_sentence_and_can_be_taken_up(checkpoint: Path, cache: Path):
    with HubServer({"main": checkpoint}) as hub:
        hub.broken = "model.safetensors"
        error = call(cache, hub.endpoint)["error"]
        assert REPO_ID in error and "\n" not in error
        hub.broken = None
        assert contents(Path(call(cache, hub.endpoint)["folder"])) == contents(checkpoint)


def test_a_repository_that_may_not_be_read_is_named(checkpoint: Path, cache: Path):
    with HubServer({"main": checkpoint}) as hub:
        for status in (401, 403):
            hub.status = status
            error = call(cache, hub.endpoint)["error"]
            assert REPO_ID in error and f"HTTP status {status}: log in" in error
