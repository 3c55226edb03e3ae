"""Three learned codecs as CompressAI ships them, under the same byte budget as the classical ones.

Their weights are fetched at the first use, one file a quality, and only where they can be had. Every bitrate
is that of a real file: the strings of CompressAI's entropy coder behind a few bytes of container.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from PIL import Image

from sprdiff.baselines.search import best_within, enlarge, fit_quality
from sprdiff.bitstream import size_problem
from sprdiff.errors import InputImageError, WeightsError
from sprdiff.images import crop_to, pad_to_multiple, to_image, to_tensor
from sprdiff.metrics.download import cached_weights
from sprdiff.types import EncodedImage
from sprdiff.varint import read_varint, write_varint

if TYPE_CHECKING:
    from torch import Tensor, nn

Loader = Callable[[str, int], "nn.Module"]
"""The model of an id and a quality, in evaluation mode, its coding tables made."""

MODELS_IN_MEMORY = 4
_STRIDE = 64  # of the hyper-latents: pictures are padded to multiples of it
_HYPER_STRIDE = 64
_MAX_NUMBER_BYTES = 5  # of a side in pixels, or the length of a string: 32 GB


class LearnedCodec:
    """One architecture of CompressAI's zoo, trained for MSE; satisfies ``sprdiff.types.ImageCodec``.

    The file: quality, width and height of the coded picture and the lengths of both strings, each as LEB128,
    then the strings of the latent and of the hyper-latent.

    Args:
        id: as in the zoo, lower kebab case.
        label: for tables.
        extension: of its files, with the dot.
        qualities: how many there are, from 1.
        load: gives a model; the zoo's without it.
    """

    def __init__(
        self, id: str, label: str, extension: str, qualities: int, load: Loader | None = None
    ) -> None:
        self.id = id
        self.label = label
        self.extension = extension
        self._qualities = qualities
        self._load = zoo_model if load is None else load

    def compress(self, image: Image.Image, *, max_bytes: int) -> EncodedImage:
        """The file within ``max_bytes`` that is best in PSNR over scale and quality.

        Args:
            image: RGB.
            max_bytes: budget for the whole file.
        Returns:
            Its bytes, scale and quality; the smallest file, marked ``over_budget``, if none fits.
        Raises:
            WeightsError: the weights are not here and cannot be fetched.
            ValueError: the picture is not RGB, or the budget is negative.
        """
        if image.mode != "RGB":
            raise ValueError(f"expected an RGB picture, got mode {image.mode}")
        if max_bytes < 0:
            raise ValueError(f"the budget cannot be negative, got {max_bytes} bytes")
        control = fit_quality(self._encode, 1, self._qualities)
        found = best_within(image, max_bytes, {"mse": control}, self._decode)
        return EncodedImage(
            method=self.id,
            data=found.candidate.data,
            extension=self.extension,
            width=image.width,
            height=image.height,
            scale=found.scale,
            settings={"quality": found.candidate.setting},
            max_bytes=max_bytes,
            over_budget=found.over_budget,
        )

    def decompress(self, data: bytes, *, size: tuple[int, int]) -> Image.Image:
        """The picture in ``data``, RGB, enlarged (Lanczos) to ``size`` (width, height) if coded smaller.

        Only for files made with this machine's build: CompressAI's entropy parameters are floats, so another
        processor or version may read other symbols, and nothing in the file would tell.

        Raises:
            InputImageError: ``data`` is not a whole file of this codec.
            WeightsError: the weights are not here and cannot be fetched.
        """
        return enlarge(self._decode(data), size)

    def _encode(self, picture: Image.Image, quality: int) -> bytes:
        import torch

        x = pad_to_multiple(to_tensor(picture), _STRIDE)  # (1, 3, H, W) in [0, 1]
        with torch.no_grad():
            coded = self._load(self.id, quality).compress(x)
        (y_string,), (z_string,) = coded["strings"]
        numbers = (quality, picture.width, picture.height, len(y_string), len(z_string))
        return b"".join((*map(write_varint, numbers), y_string, z_string))

    def _decode(self, data: bytes) -> Image.Image:
        import torch

        quality, width, height, y_string, z_string = self._parse(data)
        shape = (
            -(-height // _STRIDE) * _STRIDE // _HYPER_STRIDE,
            -(-width // _STRIDE) * _STRIDE // _HYPER_STRIDE,
        )
        with torch.no_grad():
            decoded = self._load(self.id, quality).decompress([[y_string], [z_string]], shape)
        x_hat: Tensor = decoded["x_hat"].clamp(0, 1)
        return to_image(crop_to(x_hat, (height, width)))

    def _parse(self, data: bytes) -> tuple[int, int, int, bytes, bytes]:
        """Quality, width, height and the two strings, every length checked."""
        try:
            quality, at = read_varint(data, 0, "quality", max_bytes=1)
            width, at = read_varint(data, at, "width", max_bytes=_MAX_NUMBER_BYTES)
            height, at = read_varint(data, at, "height", max_bytes=_MAX_NUMBER_BYTES)
            y_length, at = read_varint(data, at, "length of y", max_bytes=_MAX_NUMBER_BYTES)
            z_length, at = read_varint(data, at, "length of z", max_bytes=_MAX_NUMBER_BYTES)
        except ValueError as error:
            raise InputImageError(f"This is not a whole {self.label} file: {error}.") from error
        whole = len(data) == at + y_length + z_length
        if not (whole and size_problem(width, height) is None and 1 <= quality <= self._qualities):
            raise InputImageError(
                f"This is not a whole {self.label} file: its header does not fit its bytes."
            )
        return quality, width, height, data[at : at + y_length], data[at + y_length :]


class _Recent:
    """The models used last, so that a search over qualities does not read its weights again and again."""

    def __init__(self, load: Loader, size: int) -> None:
        self._load, self._size = load, size
        self._models: OrderedDict[tuple[str, int], nn.Module] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, id: str, quality: int) -> nn.Module:
        with self._lock:
            if (id, quality) not in self._models:
                self._models[id, quality] = self._load(id, quality)
                if len(self._models) > self._size:
                    self._models.popitem(last=False)
            self._models.move_to_end((id, quality))
            return self._models[id, quality]


def _load_from_zoo(id: str, quality: int) -> nn.Module:
    """The zoo's model, trained for MSE; its file is checked, and read without running anything in it."""
    import pickle

    import torch
    from compressai.zoo.image import model_architectures, model_urls
    from compressai.zoo.pretrained import load_pretrained

    url = model_urls[id]["mse"][quality]
    path = cached_weights(url, "checkpoints")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise WeightsError(f"{path.name} does not hold weights: {error}") from error
    return ready(model_architectures[id].from_state_dict(load_pretrained(state)))


def ready(model: nn.Module) -> nn.Module:
    """The model, made ready to code."""
    model.eval().requires_grad_(False)
    model.update(force=True)
    return model


zoo_model = _Recent(_load_from_zoo, MODELS_IN_MEMORY)


BMSHJ2018 = LearnedCodec("bmshj2018-hyperprior", "Ballé 2018", ".hyper", 8)  # arXiv:1802.01436
MBT2018_MEAN = LearnedCodec("mbt2018-mean", "Minnen 2018", ".meanscale", 8)  # arXiv:1809.02736
CHENG2020 = LearnedCodec("cheng2020-anchor", "Cheng 2020", ".cheng", 6)  # arXiv:2001.01568
LEARNED = {codec.id: codec for codec in (BMSHJ2018, MBT2018_MEAN, CHENG2020)}
"""By id. They can be asked for everywhere; without their weights they raise ``WeightsError``."""
