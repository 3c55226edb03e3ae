"""The embedded checkpoint served by a Hub on this machine: the whole way a Hub id goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import make_photo
from hub import REPO_ID, HubServer

from sprdiff.weights import embedded_checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent
CLIENT = """
import json, sys
from PIL import Image
from sprdiff import SPRDiffPipeline
from sprdiff.weights import default_checkpoint
pipeline = SPRDiffPipeline.from_pretrained(default_checkpoint())
data = pipeline.compress(Image.open(sys.argv[1]), quality=120)
decoded = pipeline.decompress(data)
print(json.dumps({"fingerprint": pipeline.fingerprint, "stream": data.hex(), "size": decoded.final.size}))
"""


def test_a_checkpoint_from_the_hub_codes_like_the_embedded_one(pipeline, tmp_path):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    photo = tmp_path / "photo.png"
    make_photo().save(photo)
    with HubServer({"v1": embedded_checkpoint()}) as hub:
        settings = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "SPRDIFF_MODEL": f"{REPO_ID}@v1",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(REPOSITORY),
        }
        result = subprocess.run(
            [sys.executable, "-c", CLIENT, str(photo)],
            env=clean | settings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["fingerprint"] == pipeline.fingerprint
    assert answer["size"] == [192, 176]
    # conftest switches the Hub off for this process; the other one must have asked it.
    assert any(".safetensors" in str(request) for request in hub.requests)
    decoded = pipeline.decompress(bytes.fromhex(answer["stream"]))
    assert decoded.final.size == make_photo().size
