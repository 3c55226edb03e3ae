"""Whether coarse pictures find their originals by what the semantic encoder sees in them.

    python benchmarks/retrieval.py PHOTOGRAPHS                    # all of them, coded at 0.02 bpp
    python benchmarks/retrieval.py PHOTOGRAPHS --model CHECKPOINT

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
) -> None:
    """Measures and prints."""
    import torch

    from sprdiff import SPRDiffPipeline
    from sprdiff.checkpoint.weights import default_checkpoint
    from sprdiff.encoders.semantic import semantic_tokens
    from sprdiff.images import load_image, pad_to_multiple, to_tensor
    from sprdiff.training.semantic_stage import retrieval

    pipeline = SPRDiffPipeline.from_pretrained(model or default_checkpoint())

    @torch.no_grad()
    def token(image) -> torch.Tensor:
        return semantic_tokens(pipeline.semantic_encoder, pad_to_multiple(to_tensor(image), 16) * 2 - 1)[0, 0]

    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    queries, gallery = [], []
    for path in paths:
        original = load_image(path)
        stream = pipeline.compress(original, target_bpp=bpp)
        queries.append(token(pipeline.decompress(stream, coarse_only=True).coarse))
        gallery.append(token(original))
    found = retrieval(torch.stack(queries), torch.stack(gallery))
    print(
        f"top-1 {100 * found:.1f} % of {len(paths)} photographs at {bpp:g} bpp; {pipeline.fingerprint[:12]}"
    )


if __name__ == "__main__":
    typer.run(main)
