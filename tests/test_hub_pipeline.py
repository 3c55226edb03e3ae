"""The embedded checkpoint served by a Hub on this machine: the whole way a Hub id goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import make_photo
from hub import REPO_ID, HubServer
from tiny import small_pipeline

from sprdiff.checkpoint.weights import embedded_checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent
CLIENT = """
import json, sys
from PIL import Image
from sprdiff import SPRDiffPipeline
from sprdiff.checkpoint.weights import default_checkpoint
pipeline = SPRDiffPipeline.from_pretrained(default_checkpoint())
data = pipeline.compress(Image.open(sys.argv[1]), quality=120)
decoded = pipeline.decompress(data)
print(json.dumps({"fingerprint": pipeline.fingerprint, "stream": data.hex(), "size": decoded.final.size}))
"""


OPTIONS = """
import json, sys
from sprdiff import SPRDiffPipeline
from sprdiff.errors import WeightsError
cache = sys.argv[1]

def load(**options):
    try:
        pipeline = SPRDiffPipeline.from_pretrained("sprdiff/tiny", cache_dir=cache, **options)
    except WeightsError as error:
        return str(error)
    return [pipeline.fingerprint, str(pipeline.dtype), str(pipeline.device)]

print(json.dumps({
    "cold": load(local_files_only=True),
    "old": load(revision="v1", token="hf_reader", dtype="bfloat16", device_map="cpu"),
    "new": load(token=False),
    "cached": load(local_files_only=True),
    "unknown": load(revision="v9"),
    "forced": load(force_download=True),
}))
"""
DIFFUSERS = """
import sprdiff.pipeline
from diffusers import DiffusionPipeline
options = {"custom_pipeline": sprdiff.pipeline.__file__, "trust_remote_code": True}
DiffusionPipeline.from_pretrained("sprdiff/tiny", **options)
"""


def run(code: str, *arguments: str, hub: HubServer, folder: Path, **environment: str):
    """A program in a process of its own, which finds the Hub at ``hub``."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(REPOSITORY),
    }
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=clean | settings | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_checkpoint_from_the_hub_codes_like_the_embedded_one(pipeline, tmp_path):
    photo = tmp_path / "photo.png"
    make_photo().save(photo)
    with HubServer({"v1": embedded_checkpoint()}) as hub:
        result = run(CLIENT, str(photo), hub=hub, folder=tmp_path, SPRDIFF_MODEL=f"{REPO_ID}@v1")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["fingerprint"] == pipeline.fingerprint
    assert answer["size"] == [192, 176]
    # conftest switches the Hub off for this process; the other one must have asked it.
    assert any(".safetensors" in str(request) for request in hub.requests)
    decoded = pipeline.decompress(bytes.fromhex(answer["stream"]))
    assert decoded.final.size == make_photo().size


def test_the_options_of_the_hub_are_passed_on(tmp_path):
    old, new = small_pipeline(), small_pipeline(seed=1)
    old.save_pretrained(tmp_path / "old")
    new.save_pretrained(tmp_path / "new")
    cache = tmp_path / "cache"
    with HubServer({"main": tmp_path / "new", "v1": tmp_path / "old"}) as hub:
        result = run(OPTIONS, str(cache), hub=hub, folder=tmp_path)
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout.splitlines()[-1])
        downloads = [each for each in hub.requests if each.startswith("GET") and "/unet/" in each]
    assert "local_files_only forbids to fetch them" in found["cold"]
    assert found["old"] == [old.fingerprint, "torch.bfloat16", "cpu"]
    assert found["new"] == found["cached"] == found["forced"] == [new.fingerprint, "torch.float32", "cpu"]
    assert "no revision v9" in found["unknown"]
    assert hub.readers == {"hf_reader", ""}
    assert (cache / "models--sprdiff--tiny").is_dir()
    assert not (tmp_path / "home" / "hub" / "models--sprdiff--tiny").exists()
    weights = [each for each in downloads if each.endswith(".safetensors")]
    assert len(weights) == 3, "old, new, and once more where it is forced"


def test_diffusers_own_class_loads_no_checkpoint_from_the_hub(tmp_path):
    """As the model card says; it must not end in a pipeline whose weights nobody has checked."""
    small_pipeline().save_pretrained(tmp_path / "small")
    with HubServer({"main": tmp_path / "small"}) as hub:
        result = run(DIFFUSERS, hub=hub, folder=tmp_path)
    assert result.returncode == 1
    assert "as defined in `model_index.json` does not exist" in result.stderr
