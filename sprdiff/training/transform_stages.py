"""The stages that train autoencoding parts: the VAE, the distortion-oriented codec, the SPRDiff codec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from sprdiff.checkpoint.config import ModelConfig
from sprdiff.checkpoint.parts import build_part, load_part, save_part
from sprdiff.encoders.semantic import semantic_features
from sprdiff.encoders.vae import decode_latents, encode_latents, vae_features
from sprdiff.encoders.zoo import ZooEncoder
from sprdiff.errors import SettingsError
from sprdiff.layers.klt import klt, to_blocks
from sprdiff.metrics.fidelity import decibels
from sprdiff.training.data import Crops
from sprdiff.training.frozen import Frozen
from sprdiff.training.losses import structure_loss
from sprdiff.training.qualities import QualityRange
from sprdiff.training.settings import Settings, Share, Side, Zoom
from sprdiff.training.stage import Stage, StageOptions


def block_statistics(crops: Crops, size: int, components: int, batches: int = 60) -> tuple[Tensor, Tensor]:
    """The KLT of random crops' ``size`` x ``size`` blocks: basis (components, D) and rms (components,)."""
    blocks = []
    for _ in range(batches):
        blocks.append(to_blocks(crops.batch(8), size).permute(0, 2, 3, 1).flatten(0, 2))
    return klt(torch.cat(blocks), components)


def published(name: str, config: ModelConfig, folder: Path) -> bool:
    """Whether the preset takes a part from others.

    Raises:
        SettingsError: it does, and the run does not hold it yet.
    """
    if name not in config.classes:
        return False
    if not (folder / name).exists():
        raise SettingsError(
            f"The {name} of this preset is a published one: first run python -m sprdiff.training.pretrained "
            f"{folder}."
        )
    return True


def fit_encoder(encoder: ZooEncoder, crops: Crops, batches: int = 60) -> tuple[Tensor, Tensor]:
    """Solve the encoder's linear map over random crops: basis (M, 768) and rms (M,) of what it gives then."""
    features, blocks = [], []
    with torch.no_grad():
        for _ in range(batches):
            x = crops.batch(8)
            features.append(encoder.features(x).permute(0, 2, 3, 1).flatten(0, 2))
            blocks.append(to_blocks(x, encoder.stride).permute(0, 2, 3, 1).flatten(0, 2))
    return encoder.fit(torch.cat(features), torch.cat(blocks))


def psnr_db(x: Tensor, y: Tensor) -> float:
    """PSNR in dB of pictures in [-1, 1], rounded to 8 bits."""
    levels = [((t.clamp(-1, 1) + 1) * 127.5).round() for t in (x, y)]
    return decibels(F.mse_loss(*levels).item())


class VAESettings(Settings):
    """Of the VAE.

    Attributes:
        noise: deviation of what is added to the latents. It makes the latent space smooth: what the diffusion
            model gets slightly wrong stays slight.
        squared, edges, variance: weights of the squared error, of the error of differences, and of a variance
            of the latents above one, beside the absolute error.
    """

    steps: PositiveInt = 1400
    batch_size: PositiveInt = 32
    crop: Side = 128
    max_zoom: Zoom = 1.0
    learning_rate: PositiveFloat = 8e-4
    noise: NonNegativeFloat = 0.01
    squared: NonNegativeFloat = 2.0
    edges: NonNegativeFloat = 1.0
    variance: NonNegativeFloat = 0.02


class VAEObjective(nn.Module):
    """Absolute and squared error, and the error of horizontal and vertical differences."""

    def __init__(self, vae: nn.Module, settings: VAESettings) -> None:
        super().__init__()
        self.vae = vae
        self.settings = settings

    def forward(self, x: Tensor, progress: float) -> dict[str, Tensor]:
        latents = self.vae.encode(x)
        x_hat = self.vae.decode(latents + self.settings.noise * torch.randn_like(latents)).float()
        error = x_hat - x
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        variance = latents.float().pow(2).mean()
        loss = (
            error.abs().mean()
            + self.settings.squared * error.pow(2).mean()
            + self.settings.edges * edges
            + self.settings.variance * F.relu(variance - 1)
        )
        return {"loss": loss, "mse": error.pow(2).mean(), "variance": variance}


class VAEStage(Stage):
    """The autoencoder, from the KLT of its blocks; every later stage keeps it as it is."""

    name = "vae"
    settings: VAESettings
    settings_type = VAESettings

    def build(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        if published("vae", config, folder):
            raise SettingsError("The vae of this preset is a published one, and stays as it is.")
        self.vae = build_part("vae", config)
        sizes = self.vae.config
        self.vae.init_from_klt(*block_statistics(data, sizes.stride, sizes.latent_channels))
        self.objective = VAEObjective(self.vae, self.settings)

    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        values = [psnr_db(decode_latents(self.vae, encode_latents(self.vae, x)), x) for x in images]
        return [{"psnr": sum(values) / len(values)}]

    def save(self, folder: Path) -> None:
        save_part(self.vae, folder / "vae")


class RateDistortionSettings(Settings):
    """Of the stages that trade bits for error.

    Attributes:
        qualities: the range of them.
        structure: weight of structure beside squared error. It keeps contrast that costs few bits, and is
            small, so that PSNR hardly suffers.
        noisy_until: for this first share of the steps the rate is that of noisy symbols, without which the
            hyper-latent stays zero; then the mixed estimate: noise overstates the cost of symbols that are
            almost always zero by a factor of two.
    """

    steps: PositiveInt = 1500
    batch_size: PositiveInt = 8
    max_zoom: Zoom = 2.5
    learning_rate: PositiveFloat = 8e-4
    graphics: Share = 0.08
    qualities: QualityRange = QualityRange()
    structure: NonNegativeFloat = 0.06
    noisy_until: Share = 0.5


class CodecSettings(RateDistortionSettings):
    """Of the SPRDiff codec, which starts from that of the ``distortion`` stage."""

    steps: PositiveInt = 8000
    learning_rate: PositiveFloat = 4e-4
    noisy_until: Share = 0.0


class CodecObjective(nn.Module):
    """Rate and distortion over all qualities: bpp + lmbda(quality) * MSE of the coarse picture.

    Every crop has a quality of its own, see :meth:`QualityRange.draw`. The sum is divided by the square root
    of the Lagrangian, so that neither end of the range outweighs the other.
    """

    def __init__(
        self,
        parts: dict[str, nn.Module],
        frozen: dict[str, nn.Module],
        with_fusion: bool,
        settings: RateDistortionSettings,
        without: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.settings = settings
        self.without = without
        self.trained = nn.ModuleDict(parts)
        self.frozen = Frozen(frozen)
        self.with_fusion = with_fusion

    def analysis(self, x: Tensor) -> Tensor:
        """y of pixels in [-1, 1]."""
        if not self.with_fusion:
            return self.trained["distortion_encoder"](x)
        with torch.no_grad():
            vae = self.frozen["vae"]
            f_vae = vae_features(vae, encode_latents(vae, x))
            f_dist = self.frozen["distortion_encoder"](x)
            f_sem = semantic_features(self.frozen["semantic_encoder"], x)
        if "f_dist" in self.without:
            f_dist = torch.zeros_like(f_dist)
        if "f_sem" in self.without:
            f_sem = torch.zeros_like(f_sem)
        return self.trained["fusion"](f_vae, f_dist, f_sem)

    def forward(self, x: Tensor, progress: float) -> dict[str, Tensor]:
        settings = self.settings
        quality = settings.qualities.draw(len(x), x.device)
        y = self.analysis(x)
        rate = "noisy" if progress < settings.noisy_until else "mixed"
        out = self.trained["latent_codec"](y, quality, rate)
        x_coarse = self.trained["coarse"](out.y_hat, quality)
        bpp = (out.bits_y + out.bits_z) / (x.shape[-1] * x.shape[-2])
        mse = (x_coarse.float() - x).pow(2).mean((1, 2, 3)) * 127.5**2
        price = settings.qualities.lmbda(quality)
        weight = (settings.qualities.reference_lmbda / price).sqrt()
        structure = structure_loss(x_coarse, x)
        loss = (weight * (bpp + price * mse)).mean() + settings.structure * structure
        return {
            "loss": loss,
            "bpp": bpp.mean(),
            "bpp_z": (out.bits_z / (x.shape[-1] * x.shape[-2])).mean(),
            "mse": mse.mean(),
            "structure": structure,
        }


class _RateDistortionStage(Stage):
    trained: dict[str, nn.Module]
    validated = (0, 50, 100, 130, 160, 200, 255)

    def validate(self, images: list[Tensor]) -> list[dict[str, Any]]:
        rows = []
        for value in self.validated:
            bpps, psnrs = [], []
            for x in images[:12]:
                quality = torch.tensor([float(value)], device=x.device)
                y = self.objective.analysis(x)
                out = self.trained["latent_codec"](y, quality, "rounded")
                x_coarse = self.trained["coarse"](out.y_hat, quality)
                bpps.append(float(out.bits_y + out.bits_z) / (x.shape[-1] * x.shape[-2]))
                psnrs.append(psnr_db(x_coarse, x))
            rows.append(
                {
                    "quality": value,
                    "bpp_estimated": sum(bpps) / len(bpps),
                    "psnr_coarse": sum(psnrs) / len(psnrs),
                }
            )
        return rows

    def save(self, folder: Path) -> None:
        for name, part in self.trained.items():
            save_part(part, folder / name)


class DistortionStage(_RateDistortionStage):
    """A plain codec for mean squared error; its analysis transform becomes the distortion encoder.

    Where that is a published one, which the run holds already, the rest of the codec is trained for it.
    """

    name = "distortion"
    settings: RateDistortionSettings
    settings_type = RateDistortionSettings

    def build(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        if published("distortion_encoder", config, folder):
            encoder = load_part("distortion_encoder", folder).requires_grad_(False)
            basis, rms = fit_encoder(encoder, data)
        else:
            encoder = build_part("distortion_encoder", config)
            basis, rms = block_statistics(data, encoder.stride, encoder.config.channels)
            encoder.init_from_klt(basis)
        self.trained = {"distortion_encoder": encoder}
        self.trained |= {name: build_part(name, config) for name in ("latent_codec", "coarse")}
        codec = self.trained["latent_codec"]
        codec.init_from_statistics(rms, self.settings.qualities.step_sizes(codec.config.num_anchors))
        self.trained["coarse"].init_from_klt(basis, rms)
        self.objective = CodecObjective(self.trained, {}, with_fusion=False, settings=self.settings)

    def save(self, folder: Path) -> None:
        save_part(self.trained["distortion_encoder"], folder / "distortion_encoder")
        # What only the next stage starts from lies apart from the parts of the final model.
        for name in ("latent_codec", "coarse"):
            save_part(self.trained[name], folder / "distortion" / name)


class CodecStage(_RateDistortionStage):
    """The SPRDiff codec: fusion of the three encoders, latent codec and coarse reconstruction.

    Begins where the ``distortion`` stage ended, with the same latent codec and reconstruction and a fusion
    that starts as the distortion encoder's features; or, if the run already holds an SPRDiff codec, there.
    """

    name = "codec"
    settings: CodecSettings
    settings_type = CodecSettings
    ablations = ("f_dist", "f_sem")
    separable = ("fusion", "latent_codec", "coarse")

    def build(self, config: ModelConfig, folder: Path, data: Crops, options: StageOptions) -> None:
        frozen = {name: load_part(name, folder) for name in ("vae", "distortion_encoder", "semantic_encoder")}
        begun = (folder / "fusion").exists()
        start = folder if begun else folder / "distortion"
        fusion = load_part("fusion", folder).train() if begun else build_part("fusion", config)
        if not begun:
            with torch.no_grad():
                rms = frozen["distortion_encoder"](data.batch(32)).pow(2).mean((0, 2, 3)).sqrt()
                fusion.from_distortion.weight.div_(rms[:, None, None])
        # The order is part of the resumable state: optimizer and EMA know parameters by position.
        self.trained = {"fusion": fusion}
        self.trained |= {name: load_part(name, start).train() for name in ("latent_codec", "coarse")}
        self.objective = CodecObjective(
            self.trained,
            frozen,
            with_fusion=True,
            settings=self.settings,
            without=options.without,
        )
        for name in options.only and self.trained.keys() - options.only:
            self.trained[name].requires_grad_(False)
