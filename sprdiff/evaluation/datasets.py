"""Folders of images: which files belong to a set, and what identifies each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sprdiff.errors import InputImageError, SettingsError

IMAGE_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("avif", "bmp", "gif", "heic", "heif", "j2k", "jp2", "jpeg", "jpg"),
        *("jxl", "png", "ppm", "tif", "tiff", "webp"),
    )
)
"""Files with other endings are no candidates; those with these must be readable or are reported."""


@dataclass(frozen=True)
class SourceImage:
    """One file of a set.

    Attributes:
        path: where it is.
        name: its path in the set, with slashes.
        sha256: of its bytes, so that a file that has changed is measured again.
    """

    path: Path
    name: str
    sha256: str


def find_images(folder: Path, out: Path) -> list[Path]:
    """Every image file under ``folder`` by path, without hidden ones and those in a folder ``out`` in it.

    Raises:
        SettingsError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise SettingsError(f"There is no folder {folder}.")
    inside = folder.resolve() in out.resolve().parents
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not (inside and out.resolve() in path.resolve().parents)
        and path.is_file()
    ]
    if not found:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise SettingsError(f"There is no image in {folder}: no file ends in one of {endings}.")
    return found


def identify(path: Path, folder: Path) -> SourceImage:
    """The file with its name in the set and its hash.

    Raises:
        InputImageError: it cannot be read.
    """
    digest = hashlib.sha256(read_bytes(path)).hexdigest()
    return SourceImage(path, path.relative_to(folder).as_posix(), digest)


def read_bytes(path: Path) -> bytes:
    """The content of the file.

    Raises:
        InputImageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputImageError(f"The file cannot be read: {error.strerror or error}.") from error
