"""The distortion-oriented encoder of a published codec: an analysis transform of CompressAI's zoo."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from sprdiff.errors import SettingsError, WeightsError
from sprdiff.layers.klt import klt


class ZooEncoder(ModelMixin, ConfigMixin):
    """f_dist: the features of a codec that was trained for mean squared error, in coordinates of pixels::

        x -> g_a of the zoo's codec -> 1x1 -> f_dist

    The codec's own features have scales and an order of their own. The linear map behind them is solved so
    that f_dist are the KLT coefficients of the best linear estimate of blocks of 16 x 16 pixels from the
    features, largest energy first (:meth:`fit`). Quantizer steps and channel slices then mean for them what
    they mean for :class:`sprdiff.encoders.distortion.DistortionEncoder`, and nothing is lost.

    Args:
        architecture: of ``compressai.zoo.image_models``, such as ``cheng2020-anchor`` (arXiv:2001.01568) or
            ``mbt2018-mean`` (arXiv:1809.02736).
        quality: of the zoo's model, from 1; it decides the number of channels.
    Raises:
        SettingsError: the zoo has no such model.
    """

    stride = 16

    @register_to_config
    def __init__(self, architecture: str = "cheng2020-anchor", quality: int = 6) -> None:
        super().__init__()
        model = _model(architecture, quality)
        self.g_a = model.g_a
        self.project = nn.Conv2d(model.M, model.M, 1)

    @classmethod
    def from_pretrained(cls, *arguments: Any, **options: Any) -> ZooEncoder:
        """As diffusers has it, but for memory: the zoo's models cannot be made without their weights."""
        return super().from_pretrained(*arguments, **{"low_cpu_mem_usage": False, **options})

    @property
    def channels(self) -> int:
        """M, of f_dist."""
        return self.project.out_channels

    def fetch(self) -> None:
        """Read the zoo's weights, trained for MSE, from torch's cache or over the network.

        Raises:
            WeightsError: they are not in the cache and cannot be downloaded.
        """
        try:
            model = _model(self.config.architecture, self.config.quality, pretrained=True)
        except Exception as error:  # whatever the download or the unpickling raises
            named = f"{self.config.architecture}, quality {self.config.quality},"
            raise WeightsError(f"The weights of {named} cannot be had: {error}") from error
        self.g_a.load_state_dict(model.g_a.state_dict())

    @torch.no_grad()
    def fit(self, features: Tensor, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Solve the linear map behind the features by least squares.

        Args:
            features: of :meth:`features` at N places, (N, M).
            blocks: the pixels there in [-1, 1], (N, 768), in the order of a pixel-unshuffle.
        Returns:
            As :func:`sprdiff.layers.klt.klt`: the orthonormal basis (M, 768) whose coefficients f_dist are,
            and their deviations (M,).
        """
        inputs = torch.cat([features, torch.ones_like(features[:, :1])], 1).double()
        moments = inputs.T @ inputs
        # Features that never vary leave the normal equations singular.
        moments.diagonal().add_(1e-9 * moments.diagonal().mean())
        solution = torch.linalg.solve(moments, inputs.T @ blocks.double())  # (M + 1, 768)
        basis, rms = klt(inputs @ solution, self.channels)
        weight = solution @ basis.double().T  # (M + 1, M)
        self.project.weight.copy_(weight[:-1].T[:, :, None, None])
        self.project.bias.copy_(weight[-1])
        return basis, rms

    def features(self, x: Tensor) -> Tensor:
        """The zoo codec's own, (B, M, H/16, W/16), of pixels (B, 3, H, W) in [-1, 1]."""
        return self.g_a(x / 2 + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """f_dist (B, M, H/16, W/16) of pixels (B, 3, H, W) in [-1, 1], sides divisible by 16."""
        return self.project(self.features(x))


def _model(architecture: str, quality: int, pretrained: bool = False) -> nn.Module:
    # Imported here: only checkpoints with such an encoder need the zoo.
    from compressai.zoo import image_models

    if architecture not in image_models:
        raise SettingsError(f"The zoo has {', '.join(image_models)}; not {architecture}.")
    try:
        return image_models[architecture](quality=quality, metric="mse", pretrained=pretrained)
    except ValueError as error:
        raise SettingsError(f"{architecture} at quality {quality}: {error}") from error
