"""What a stage needs and does not train: it moves with the model, but never learns."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sprdiff.checkpoint.parts import load_part
from sprdiff.encoders.semantic import semantic_features
from sprdiff.encoders.vae import encode_latents, vae_features
from sprdiff.files import write_file

CODEC_PARTS = ("vae", "distortion_encoder", "semantic_encoder", "fusion", "latent_codec", "coarse")


class Frozen(nn.ModuleDict):
    """Modules without gradients, always in evaluation mode.

    They are registered, so that ``.to(device)`` of the whole reaches them, and saved with a run's state.
    """

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        super().__init__(modules)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        """Stays in evaluation mode."""
        return super().train(False)

    def store_as(self, dtype: torch.dtype) -> None:
        """Keep the weights of plain layers as autocast would hand them on.

        It remembers its copies of weights that are trained, and makes the others anew at every call. What
        comes out is the same, but only under autocast.
        """
        for module in self.modules():
            # Not of subclasses, such as fixed-point layers: they may look at their weights themselves.
            if type(module) in (nn.Conv2d, nn.Linear):
                module.to(dtype)


class CodecPreview(nn.Module):
    """Coarse pictures without coding: symbols are rounded, not written.

    Args:
        parts: ``CODEC_PARTS``; without ``fusion`` those of the distortion stage's plain codec, whose y is
            f_dist.
    """

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.parts = Frozen(parts)

    @classmethod
    def load(cls, folder: Path) -> CodecPreview:
        """The SPRDiff codec of a run, or the distortion stage's where it has none yet."""
        if (folder / "fusion").exists():
            return cls({name: load_part(name, folder) for name in CODEC_PARTS})
        parts = {name: load_part(name, folder / "distortion") for name in ("latent_codec", "coarse")}
        return cls(parts | {"distortion_encoder": load_part("distortion_encoder", folder)})

    @torch.no_grad()
    def analyze(self, x: Tensor) -> Tensor:
        """y (B, M, H/16, W/16) of pixels (B, 3, H, W) in [-1, 1]."""
        f_dist = self.parts["distortion_encoder"](x)
        if "fusion" not in self.parts:
            return f_dist
        vae = self.parts["vae"]
        f_sem = semantic_features(self.parts["semantic_encoder"], x)
        return self.parts["fusion"](vae_features(vae, encode_latents(vae, x)), f_dist, f_sem)

    @torch.no_grad()
    def forward(self, x: Tensor, quality: Tensor, linear: bool = False) -> Tensor:
        """x_coarse (B, 3, H, W) float32 in [-1, 1].

        Args:
            x: pixels (B, 3, H, W) in [-1, 1], sides divisible by 64.
            quality: (B,) in [0, 255].
            linear: leave out the networks of the reconstruction module.
        """
        y_hat = self.parts["latent_codec"](self.analyze(x), quality, "rounded").y_hat
        coarse = self.parts["coarse"]
        x_coarse = coarse.linear(y_hat) if linear else coarse(y_hat, quality)
        return x_coarse.float().clamp(-1, 1)


def save_weights(module: nn.Module, file: Path) -> None:
    """The state of a module that is no part of a checkpoint, as a whole file or none."""
    file.parent.mkdir(exist_ok=True)
    write_file(file, save({key: value.contiguous() for key, value in module.state_dict().items()}))


def round_to_levels(x: Tensor) -> Tensor:
    """Pixels in [-1, 1] as 8 bits hold them: so a decoder hands a coarse picture on."""
    return (x * 127.5 + 127.5).round() / 127.5 - 1
