"""What decides symbols and pictures beside weights and the sizes of the parts."""

from __future__ import annotations

from dataclasses import dataclass

from sprdiff.errors import WeightsError

# All tile borders lie on this grid, in pixels, so that every stride of the codec divides them.
GRID = 64


@dataclass(frozen=True)
class DecodingSettings:
    """What decides symbols and pictures beside weights and the parts' configurations.

    A checkpoint carries its own as ``decoding`` in ``model_index.json``. The defaults are those of
    checkpoints that have none, and so must stay what they are.

    Attributes:
        padding: sides are padded to multiples of it, in pixels.
        tile, overlap: of pictures larger than a tile, in pixels; see :mod:`sprdiff.layers.tiling`.
        noise_seed: of the noise from which the final picture is generated.
        start_timesteps: from which qualities 0 and 255 are denoised; the fewer bits, the more detail has to
            be generated.
        colour_cell: pixels that one mean stands for where colours are kept; details may be as large as this.
    Raises:
        WeightsError: a value is of another type, or off the grid on which tiles lie.
    """

    padding: int = 64
    tile: int = 1024
    overlap: int = 128
    noise_seed: int = 0
    start_timesteps: tuple[int, int] = (700, 200)
    colour_cell: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "start_timesteps", tuple(self.start_timesteps))
        numbers = [self.padding, self.tile, self.overlap, self.noise_seed, self.colour_cell]
        if not all(type(each) is int and each >= 0 for each in (*numbers, *self.start_timesteps)):
            raise WeightsError(f"Decoding settings are integers from 0 on, and these are {self}.")
        if len(self.start_timesteps) != 2:
            raise WeightsError(f"There are 2 start timesteps, and here are {len(self.start_timesteps)}.")
        for name in ("padding", "tile", "overlap"):
            value = getattr(self, name)
            if value % GRID or not value:
                raise WeightsError(
                    f"The setting {name} is a multiple of {GRID} pixels, and here it is {value}."
                )
        if self.overlap >= self.tile:
            raise WeightsError(f"Tiles of {self.tile} pixels cannot overlap by {self.overlap}.")
        if not self.colour_cell or GRID % self.colour_cell:
            raise WeightsError(f"The setting colour_cell divides {GRID} pixels; {self.colour_cell} does not.")
