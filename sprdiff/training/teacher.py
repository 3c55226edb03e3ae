"""``python -m sprdiff.training.teacher PHOTOGRAPHS --run RUN --out TAUGHT``.

Material for the stages that follow the teacher: coarse pictures of a run's codec, what its teacher makes of
them, and its features on the way.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

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
from sprdiff.training.settings import Group, Share, Side, Zoom, parse_change, read_settings
from sprdiff.training.teacher_stage import Teaching

FILE = "teacher.yaml"


class TaughtSettings(Group):
    """Of the pictures that the teacher restores.

    Attributes:
        smallest, largest: sides in pixels; smaller photographs are left out, larger ones cut.
        zoomed, max_zoom: the share of photographs that are enlarged, and by how much at most.
        graphics, graphics_side: the share of rendered graphics in their place, and their side in pixels.
        qualities: of the coarse pictures.
        seed: of the order of the photographs, and of everything random in them.
        mixed_precision: ``bf16``, or ``no`` for single precision.
    """

    smallest: Side = 192
    largest: Side = 512
    zoomed: Share = 0.35
    max_zoom: Zoom = 1.5
    graphics: Share = 0.05
    graphics_side: Side = 384
    qualities: QualityRange = QualityRange()
    seed: int = 0
    mixed_precision: Literal["bf16", "no"] = "bf16"


def cut(x: Tensor, settings: TaughtSettings, random: np.random.Generator) -> Tensor:
    """A part of a photograph (3, H, W), perhaps enlarged, with sides that are multiples of 64 pixels."""
    if random.random() < settings.zoomed:
        zoom = random.uniform(1, settings.max_zoom)
        x = F.interpolate(x[None], scale_factor=zoom, mode="bicubic", antialias=True)[0].clamp(-1, 1)
    height, width = (min(side // 64 * 64, settings.largest) for side in x.shape[1:])
    top, left = random.integers(x.shape[1] - height + 1), random.integers(x.shape[2] - width + 1)
    return x[:, top : top + height, left : left + width]


def main(
    photographs: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of photographs.")],
    run: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of a run with a codec and a teacher.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to fill; what is there stays.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="Time to spend.")] = 10.0,
    settings: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help=f"YAML or JSON; OUT/{FILE} is one.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, for example graphics=0.1.")
    ] = None,
) -> None:
    """Have the teacher restore coarse pictures of the photographs that are trained on."""
    chosen = read_settings(TaughtSettings, settings, dict(map(parse_change, change or ())))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teaching = Teaching.load(run).to(device, memory_format=torch.channels_last)
    paths = split(list_images(photographs))[0]
    random = np.random.default_rng(chosen.seed)
    torch.manual_seed(chosen.seed)
    out.mkdir(parents=True, exist_ok=True)
    chosen.write(out / FILE)
    end = time.monotonic() + 60 * minutes
    for index in track(random.permutation(len(paths)), "asking the teacher"):
        if time.monotonic() > end:
            break
        # Two folders may hold pictures of one name.
        name = "-".join(Path(str(paths[index])).relative_to(photographs).with_suffix(".npz").parts)
        target = out / name
        if target.exists():
            continue
        if random.random() < chosen.graphics:
            x = to_pixels(draw_graphic(random, chosen.graphics_side))
        else:
            x = cut(to_pixels(np.asarray(read_image(paths[index]))), chosen, random)
        if min(x.shape[1:]) < chosen.smallest:
            continue
        with torch.autocast(device.type, torch.bfloat16, enabled=chosen.mixed_precision == "bf16"):
            batch = teaching(to_pixels(to_uint8(x))[None].to(device), chosen.qualities.draw(1, device))
        shown = batch.features[:, 0].permute(2, 3, 0, 1).half().cpu().numpy()
        original, coarse, taught = (to_uint8(each[0]) for each in batch[:3])
        write_file(target, Taught(original, coarse, taught, shown, batch.quality.item()).to_bytes())


if __name__ == "__main__":
    command.run(main)
