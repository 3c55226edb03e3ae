"""Photographs in tar files, as WebDataset packs them: a million files are slow to list and to move."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from sprdiff.errors import InputImageError


@dataclass(frozen=True)
class Member:
    """A file in a tar file that is not compressed: read by its place, in any order.

    Attributes:
        shard: the tar file.
        name: of the file in it.
        offset, size: of its contents, in bytes.
    """

    shard: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return str(self.path)

    @property
    def path(self) -> Path:
        """As if the tar file were a folder."""
        return self.shard / self.name

    @property
    def parent(self) -> Path:
        """Of :attr:`path`."""
        return self.path.parent

    @property
    def stem(self) -> str:
        """Of :attr:`path`."""
        return self.path.stem

    def read(self, at_most: int | None = None) -> bytes:
        """Its contents, or the first ``at_most`` bytes of them."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size if at_most is None else min(self.size, at_most))


def members(shard: Path, extensions: frozenset[str]) -> list[Member]:
    """The files in a tar file whose names end in one of ``extensions``, in lower case with the dot.

    Raises:
        InputImageError: it is no tar file, is compressed, or ends too early.
    """
    try:
        # Not "r:*": in a compressed one nothing has a place.
        with tarfile.open(shard, "r:") as archive:
            found = [
                Member(shard, each.name, each.offset_data, each.size)
                for each in archive
                if each.isreg() and Path(each.name).suffix.lower() in extensions
            ]
    except (tarfile.TarError, OSError) as error:
        raise InputImageError(f"{shard} is no uncompressed tar file: {error}") from error
    end = shard.stat().st_size
    cut = [each for each in found if each.offset + each.size > end]
    if cut:
        raise InputImageError(f"{shard} is cut off: {cut[0].name} does not lie in its {end} bytes.")
    return found
