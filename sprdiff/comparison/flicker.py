"""One comparison as an animation for slides: original, coarse, final and one baseline, in turn.

All are shown in the same place, so that every change between two frames is a difference between codecs.
Frames are the decoded pictures, or one part of them, with their names below.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from sprdiff.comparison.crops import check_crop, pixel_box
from sprdiff.comparison.record import Record, facts
from sprdiff.errors import SettingsError
from sprdiff.files import replacing
from sprdiff.methods import COARSE, FINAL

KINDS = (".apng", ".gif", ".mp4")
LARGEST = (1920, 1000)
"""Width and height of the pictures in pixels at most: with a line of text they fit a projector."""
SMALLEST = 640
"""Pixels that the longer side is enlarged to at most, by a whole factor."""
NARROWEST = 320
"""Width of a frame in pixels at least: for its label."""
SECONDS = 1.0
"""For each picture."""
_MP4_ROUNDS = 5  # a player stops at the end
_INK, _ACCENT = (23, 23, 23), (181, 51, 12)


@dataclass(frozen=True)
class _Label:
    """A name, and what is said about it."""

    name: str
    about: str
    colour: tuple[int, int, int]

    def length(self, size: int) -> float:
        """Pixels, in letters of this size."""
        name, about = _font(size, bold=True), _font(round(0.8 * size))
        return name.getlength(self.name) + 0.6 * size + about.getlength(self.about)

    def draw(self, canvas: Image.Image, left: int, size: int, top: int) -> None:
        """Below ``top``."""
        pen, base = ImageDraw.Draw(canvas), top + round(1.3 * size)
        name, about = _font(size, bold=True), _font(round(0.8 * size))
        pen.text((left, base), self.name, self.colour, name, anchor="ls")
        after = left + name.getlength(self.name) + 0.6 * size
        pen.text((after, base), self.about, _INK, about, anchor="ls")


def has_ffmpeg() -> bool:
    """Whether MP4 can be written on this machine."""
    return shutil.which("ffmpeg") is not None


def check_flicker(name: str) -> str:
    """The name of an animation file, if one can be made.

    Raises:
        SettingsError: a folder in it, another ending, or an MP4 without ffmpeg on this machine.
    """
    path = Path(name)
    if path.name != name:
        raise SettingsError(
            f"The animation goes into the folder of the comparison; name it without {path.parent}."
        )
    if path.suffix.lower() not in KINDS or not path.stem:
        raise SettingsError(f"An animation ends in {', '.join(KINDS)}, got {name}.")
    if path.suffix.lower() == ".mp4" and not has_ffmpeg():
        raise SettingsError(
            "MP4 needs the program ffmpeg, which is not installed here; .apng and .gif do not."
        )
    return name


def write_flicker(
    record: Record,
    path: Path,
    *,
    crop: Sequence[float] | None = None,
    baseline: str | None = None,
) -> Path:
    """The animation, in a loop: lossless as ``.apng``, in 256 colours a picture as ``.gif``, or as ``.mp4``.

    Args:
        record: what ``results.json`` beside ``path`` holds.
        path: its ending says what is written.
        crop: the part to show, enlarged; the whole picture without it.
        baseline: id of a method; the baseline with the best LPIPS, or PSNR, without it.
    Raises:
        SettingsError: see ``check_flicker``; the crop is none, there is no such result, or ffmpeg failed.
    """
    check_flicker(path.name)
    frames = draw_frames(record, path.parent, crop=crop, baseline=baseline)
    milliseconds = round(1000 * SECONDS)
    with replacing(path) as temporary:
        if path.suffix.lower() == ".mp4":
            _write_mp4(frames, temporary)
        elif path.suffix.lower() == ".gif":
            # Each with colours of its own; a palette for all would make pictures look alike.
            first, *rest = (frame.quantize(256) for frame in frames)
            first.save(temporary, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0)
        else:
            first, *rest = frames
            first.save(temporary, "PNG", save_all=True, append_images=rest, duration=milliseconds, loop=0)
    return path


def draw_frames(
    record: Record, folder: Path, *, crop: Sequence[float] | None = None, baseline: str | None = None
) -> list[Image.Image]:
    """The frames, RGB, all of one size with even sides; see ``write_flicker``."""
    size = (record["width"], record["height"])
    box = (0, 0, *size) if crop is None else pixel_box(check_crop(crop), size)
    shown = [(record["original"], _Label("Original", f"{size[0]} × {size[1]} pixels", _INK))]
    for row in chosen_rows(record, baseline):
        colour = _ACCENT if row["method"] in (COARSE, FINAL) else _INK
        shown.append((row["picture"], _Label(" ".join(row["label"].split()), facts(row), colour)))
    pictures = []
    for name, _ in shown:
        with Image.open(folder / name) as picture:
            pictures.append(_scaled(picture.convert("RGB").crop(box)))
    width = max(pictures[0].width, NARROWEST)
    letters = next(
        (size for size in range(30, 9, -1) if all(label.length(size) <= width for _, label in shown)), 9
    )
    longest = max(label.length(letters) for _, label in shown)
    return [
        _labelled(picture, label, width, letters, longest)
        for picture, (_, label) in zip(pictures, shown, strict=True)
    ]


def chosen_rows(record: Record, baseline: str | None) -> list[Mapping[str, Any]]:
    """The results of SPRDiff, and of one baseline.

    Raises:
        SettingsError: there is no result of the baseline that was asked for.
    """
    rows = {row["method"]: row for row in record["results"]}
    ours = [rows[method] for method in (COARSE, FINAL) if method in rows]
    others = [row for method, row in rows.items() if method not in (COARSE, FINAL)]
    if baseline is not None:
        if baseline not in rows:
            raise SettingsError(f"There is no result of {baseline!r}; there are {', '.join(rows)}.")
        return [*ours, *([] if rows[baseline] in ours else [rows[baseline]])]
    return ours + ([max(others, key=_rank)] if others else [])


def _rank(row: Mapping[str, Any]) -> tuple[bool, float, float]:
    lpips, psnr = (row["metrics"].get(metric) for metric in ("lpips-alex", "psnr-rgb"))
    return not row["over_budget"], -1.0 if lpips is None else -lpips, 0.0 if psnr is None else psnr


def _scaled(image: Image.Image) -> Image.Image:
    """As large as fits; enlarged pixels stay squares."""
    factor = SMALLEST // max(image.size)
    if factor > 1:
        return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    reduced = image.copy()
    reduced.thumbnail(LARGEST, Image.Resampling.LANCZOS)
    return reduced


def _labelled(picture: Image.Image, label: _Label, width: int, letters: int, longest: float) -> Image.Image:
    """The picture over its label on white, with even sides, which MP4 needs.

    All labels of an animation begin at one place, where the ``longest`` fits in.
    """
    height = picture.height + round(1.9 * letters)
    canvas = Image.new("RGB", (width + width % 2, height + height % 2), "white")
    left = (canvas.width - picture.width) // 2
    canvas.paste(picture, (left, 0))
    start = max(0, min(left + letters // 3, int(canvas.width - longest)))
    label.draw(canvas, start, letters, picture.height)
    return canvas


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it, as in the figure."""
    file = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file, size)


def _write_mp4(frames: Sequence[Image.Image], path: Path) -> None:
    """H.264 with halved colour resolution, since PowerPoint, Keynote and browsers play no other."""
    width, height = frames[0].size
    command = ["ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pixel_format", "rgb24"]
    command += ["-video_size", f"{width}x{height}", "-framerate", f"{1 / SECONDS:g}", "-i", "pipe:0"]
    # Said of the colours as well, or players guess them by the size of the picture.
    command += ["-vf", "scale=out_color_matrix=bt709:out_range=tv,fps=10", "-colorspace", "bt709"]
    command += ["-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    command += [
        "-c:v",
        "libx264",
        "-preset",
        "fast",
        "-crf",
        "12",
        "-pix_fmt",
        "yuv420p",
        "-movflags",
        "+faststart",
        str(path),
    ]
    pixels = b"".join(frame.tobytes() for frame in frames) * _MP4_ROUNDS
    made = subprocess.run(command, input=pixels, capture_output=True)
    if made.returncode:
        lines = made.stderr.decode(errors="replace").strip().splitlines()
        raise SettingsError(f"ffmpeg made no MP4: {lines[-1] if lines else 'without a reason'}")
