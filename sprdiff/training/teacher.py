"""``python -m sprdiff.training.teacher PHOTOGRAPHS --run RUN --out TAUGHT``.

Material for the stages that follow the teacher: coarse pictures of a run's codec, what its teacher makes of
them, and its features on the way.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from rich.progress import track
from torch import Tensor

from sprdiff.files import write_file
from sprdiff.training import command
from sprdiff.training.data import Taught, list_images, read_image, split, to_pixels, to_uint8
from sprdiff.training.graphics import draw_graphic
from sprdiff.training.qualities import QualityRange
from sprdiff.training.teacher_stage import Teaching

# Pixels: the sides of a picture, which are cut to a multiple of 64.
SMALLEST, LARGEST = 192, 512
# The share of photographs that are enlarged, by up to how much, and of drawn pictures in their place.
ZOOMED, MAX_ZOOM, GRAPHICS = 0.35, 1.5, 0.05


def cut(x: Tensor, random: np.random.Generator) -> Tensor:
    """A part of a photograph (3, H, W), perhaps enlarged, with sides that are multiples of 64 pixels."""
    if random.random() < ZOOMED:
        zoom = random.uniform(1, MAX_ZOOM)
        x = F.interpolate(x[None], scale_factor=zoom, mode="bicubic", antialias=True)[0].clamp(-1, 1)
    height, width = (min(side // 64 * 64, LARGEST) for side in x.shape[1:])
    top, left = random.integers(x.shape[1] - height + 1), random.integers(x.shape[2] - width + 1)
    return x[:, top : top + height, left : left + width]


def main(
    photographs: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of photographs.")],
    run: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of a run with a codec and a teacher.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to fill; what is there stays.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="Time to spend.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the order of the photographs and of the qualities.")] = 0,
) -> None:
    """Ask the teacher about coarse pictures of the photographs that are trained on."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teaching = Teaching.load(run).to(device, memory_format=torch.channels_last)
    paths = split(list_images(photographs))[0]
    random = np.random.default_rng(seed)
    qualities = QualityRange()
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * minutes
    for index in track(random.permutation(len(paths)), "asking the teacher"):
        if time.monotonic() > end:
            break
        # Two folders may hold pictures of one name.
        name = "-".join(Path(str(paths[index])).relative_to(photographs).with_suffix(".npz").parts)
        target = out / name
        if target.exists():
            continue
        if random.random() < GRAPHICS:
            x = to_pixels(draw_graphic(random, 384))
        else:
            x = cut(to_pixels(np.asarray(read_image(paths[index]))), random)
        if min(x.shape[1:]) < SMALLEST:
            continue
        with torch.autocast(device.type, torch.bfloat16):
            batch = teaching(to_pixels(to_uint8(x))[None].to(device), qualities.draw(1, device))
        shown = batch.features[:, 0].permute(2, 3, 0, 1).half().cpu().numpy()
        pictures = (to_uint8(each[0]) for each in batch[:3])
        write_file(target, Taught(*pictures, shown, batch.quality.item()).to_bytes())


if __name__ == "__main__":
    command.run(main)
