"""Whether coarse pictures find their originals by what the semantic encoder sees in them.

    python benchmarks/retrieval.py PHOTOGRAPHS                    # all of them, coded at 0.02 bpp
    python benchmarks/retrieval.py PHOTOGRAPHS --model CHECKPOINT
    python benchmarks/retrieval.py PHOTOGRAPHS --encoder FOLDER   # and another encoder on the same pictures

Every photograph is coded, and the class token of its coarse picture compared, by cosine, with those of all
originals; the mean of the originals' tokens is taken off first. Top-1 is the share of coarse pictures whose
nearest original is their own. Use photographs that no stage was trained on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}


def main(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of photographs.")],
    bpp: Annotated[float, typer.Option(help="Budget of every stream.")] = 0.02,
    model: Annotated[str | None, typer.Option(help="Checkpoint; the embedded one by default.")] = None,
    encoder: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of another semantic encoder; repeatable."),
    ] = None,
) -> None:
    """Measures and prints."""
    import torch
    from transformers import AutoModel

    from sprdiff import SPRDiffPipeline
    from sprdiff.checkpoint.weights import default_checkpoint
    from sprdiff.encoders.semantic import semantic_tokens
    from sprdiff.images import load_image, pad_to_multiple, to_tensor
    from sprdiff.training.semantic_stage import retrieval

    pipeline = SPRDiffPipeline.from_pretrained(model or default_checkpoint())
    encoders = {f"checkpoint {pipeline.fingerprint[:12]}": pipeline.semantic_encoder}
    encoders |= {str(each): AutoModel.from_pretrained(each, dtype=torch.float32) for each in encoder or []}
    queries: dict[str, list[torch.Tensor]] = {name: [] for name in encoders}
    gallery: dict[str, list[torch.Tensor]] = {name: [] for name in encoders}

    @torch.no_grad()
    def keep_tokens(image, kept: dict[str, list[torch.Tensor]]) -> None:
        x = pad_to_multiple(to_tensor(image), 16) * 2 - 1
        for name, network in encoders.items():
            kept[name].append(semantic_tokens(network, x)[0, 0])

    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    for path in paths:
        original = load_image(path)
        stream = pipeline.compress(original, target_bpp=bpp)
        keep_tokens(pipeline.decompress(stream, coarse_only=True).coarse, queries)
        keep_tokens(original, gallery)
    for name in encoders:
        found = retrieval(torch.stack(queries[name]), torch.stack(gallery[name]))
        print(f"top-1 {100 * found:.1f} % of {len(paths)} photographs at {bpp:g} bpp; {name}")


if __name__ == "__main__":
    typer.run(main)
