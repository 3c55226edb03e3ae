"""The latent codec: y and a quality to one string of bytes, and back to the same y_hat everywhere."""

from __future__ import annotations

from collections.abc import Callable

import torch
from compressai.ops import LowerBound
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from sprdiff.errors import BitstreamError
from sprdiff.latent_codec.context import Pass, SpaceChannelContext, checkerboard
from sprdiff.latent_codec.entropy import (
    MAX_SYMBOL,
    EntropyTables,
    SymbolDecoder,
    SymbolEncoder,
    payload_limits,
)
from sprdiff.latent_codec.exactness import check_precision, check_sums
from sprdiff.latent_codec.gaussian import NUM_SCALES, build_tables, index_of, scale_of
from sprdiff.latent_codec.hyperprior import HyperAnalysis, HyperSynthesis
from sprdiff.latent_codec.rate_estimate import (
    LatentOutput,
    RateEstimate,
    estimate_bits,
    noise_like,
    round_ste,
)
from sprdiff.latent_codec.symbols import LatentSymbols, cheaper_symbols
from sprdiff.layers.fixed_point import FRACTION_BITS, MAX_ACTIVATION
from sprdiff.layers.quality import QualityAnchors

# z lies at a quarter of y's resolution; y's sides must be divisible by it.
HYPER_STRIDE = 4
_ONE = 2.0**FRACTION_BITS
# A scale index is a tenth of a natural logarithm, so one unit changes little.
_INDEX_UNIT = 32.0

PassCoder = Callable[[Pass, Tensor, Tensor, Tensor], Tensor]
"""(pass, mean in fixed point, table indexes, mask of the coded symbols) to all symbols of the pass, int64."""


class LatentCodec(ModelMixin, ConfigMixin):
    """Gains, hyperprior and space-channel context around a rANS coder.

    ::

        y --x gain(quality)--+--> h_a --> z --round--> z_hat --> h_s --> features --+
                             |                                                      v
                             +--> minus mean, round --> symbols <-- means, scales <-- context <-- y_hat

    All that the decoder computes before y_hat is complete (h_s, context, gains' effect on the scales)
    has a fixed-point twin; the float version serves training only. Mean and scale: Minnen et al. 2018,
    arXiv:1809.02736. SPRDiff (arXiv:2606.01608) does not publish its entropy model's details; this one
    is ours.

    Args:
        latent_channels: M, channels of y.
        slices: of the channel context; they sum to M.
        hyper_channels: N, channels of z.
        feature_channels: of h_s's output; hidden_channels: of h_a and the context networks.
        num_anchors: qualities at which gains and scales are learned.
        skip_index: symbols whose scale index is below are zero and not coded.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 128,
        slices: tuple[int, ...] = (8, 16, 40, 64),
        hyper_channels: int = 16,
        feature_channels: int = 96,
        hidden_channels: int = 128,
        num_anchors: int = 8,
        skip_index: int = 1,
    ) -> None:
        super().__init__()
        if sum(slices) != latent_channels:
            raise ValueError(
                f"slices {tuple(slices)} sum to {sum(slices)}, not to {latent_channels} channels"
            )
        self.log_gain = QualityAnchors(torch.zeros(num_anchors, latent_channels))
        self.log_inverse_gain = QualityAnchors(torch.zeros(num_anchors, latent_channels))
        self.y_scale = QualityAnchors(torch.full((num_anchors, latent_channels), 20.0), _INDEX_UNIT)
        self.z_scale = QualityAnchors(torch.full((num_anchors, hyper_channels), 25.0), _INDEX_UNIT)
        self.h_a = HyperAnalysis(latent_channels, hidden_channels, hyper_channels)
        self.h_s = HyperSynthesis(hyper_channels, feature_channels, num_anchors)
        self.context = SpaceChannelContext(tuple(slices), feature_channels, hidden_channels)
        self.lower_bound = LowerBound(0.0)
        for name, table in zip(("cdfs", "cdf_lengths", "offsets"), build_tables(), strict=True):
            self.register_buffer(name, table)
        self._tables: EntropyTables | None = None

    @torch.no_grad()
    def init_from_statistics(self, rms: Tensor, step_sizes: Tensor) -> None:
        """Start the gains at a quantizer step per quality and the scales at what data statistics say.

        Args:
            rms: (M,) root mean square of each channel of y.
            step_sizes: (num_anchors,) quantizer steps, lowest quality first.
        """
        log_gain = -step_sizes.log()[:, None].expand(-1, len(rms))
        self.log_gain.set(log_gain)
        self.log_inverse_gain.set(-log_gain)
        self.y_scale.set(index_of(rms[None] / step_sizes[:, None]).clamp(0, NUM_SCALES - 1))

    # -- exactness ----------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LatentCodec:
        """Moves between devices and memory formats, and no change of precision: see :meth:`half`.

        Rounded weights decode to other symbols without an error: the pictures would be garbage.
        """

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)

    def half(self) -> LatentCodec:
        """Weights in half precision, as checkpoints store them: to be saved, not to code with."""
        return super()._apply(lambda tensor: tensor.half() if tensor.is_floating_point() else tensor)

    def check_sums(self) -> None:
        """Passes if the arithmetic is exact for any symbols that a stream may hold, with the actual weights.

        Raises:
            WeightsError: a sum can leave the range in which it is; names the layer and the largest sum.
        """
        # A decoded y is its symbol and a mean.
        symbol = MAX_SYMBOL * _ONE
        feature = self.h_s.largest_feature()
        context = self.context.largest_sums(feature, symbol + MAX_ACTIVATION)
        check_sums(
            {
                "z_scale": self.z_scale.largest_sum(),
                "y_scale": self.y_scale.largest_sum(),
                **{f"h_s.{name}": value for name, value in self.h_s.largest_sums(symbol)},
                **{f"context.{name}": value for name, value in context},
            }
        )

    # -- training -----------------------------------------------------------------------------------

    def forward(self, y: Tensor, quality: Tensor, rate: RateEstimate) -> LatentOutput:
        """y_hat and estimated bits.

        Args:
            y: (B, M, H, W), H and W divisible by 4.
            quality: (B,) float in [0, 255].
            rate: how bits are estimated. ``rounded`` gives what coding will cost, but its gradient leaves
                the many symbols that round to zero alone, and with it the transforms stop improving.
                ``noisy``, with uniform noise for rounding, has good gradients and overstates what rare
                symbols cost. ``mixed`` has the rounded value, the rounded gradient for the scales and the
                noisy one for symbols and means.
        """
        y_scaled = (y * self.log_gain(quality).exp()).float()
        z = self.h_a(y_scaled).float()
        # With noise, z informs h_s even before it is wide enough to survive rounding.
        z_hat = z + noise_like(z) if rate == "noisy" else round_ste(z)
        z_scale = scale_of(self._bounded(self.z_scale(quality))).expand_as(z)
        bits_z = estimate_bits(z, z_hat, z_scale, rate)
        features = self.h_s(z_hat, quality)
        base = self.y_scale(quality)
        height, width = y.shape[-2:]
        anchors = checkerboard(height, width, device=y.device).to(y_scaled.dtype)
        y_hat, bits_y = y_scaled[:, :0], 0.0
        for step in self.context.passes():
            mean, index = self.context(step, features, y_hat)
            index = self._bounded(index.float() + base[:, step.start : step.stop])
            mask = anchors if step.anchors else 1 - anchors
            residual = (y_scaled[:, step.start : step.stop] - mean).float()
            rounded = round_ste(residual)
            coded = residual + noise_like(residual) if rate == "noisy" else rounded
            bits_y = bits_y + (estimate_bits(residual, coded, scale_of(index), rate) * mask).sum((1, 2, 3))
            decoded = (rounded + mean) * mask
            if step.anchors:
                y_hat = torch.cat([y_hat, decoded], 1)
            else:
                y_hat = torch.cat([y_hat[:, : step.start], y_hat[:, step.start :] + decoded], 1)
        return LatentOutput(y_hat * self.log_inverse_gain(quality).exp(), bits_y, bits_z.sum((1, 2, 3)))

    def _bounded(self, index: Tensor) -> Tensor:
        return self.lower_bound(index).clamp(max=NUM_SCALES - 1)

    # -- coding -------------------------------------------------------------------------------------

    @property
    def tables(self) -> EntropyTables:
        """The checkpoint's integer tables."""
        if self._tables is None:
            self._tables = EntropyTables(self.cdfs, self.cdf_lengths, self.offsets)
        return self._tables

    @torch.no_grad()
    def quantize(self, y: Tensor, quality: int, bit_price: float = 0.0) -> LatentSymbols:
        """The symbols that represent y, chosen by true cost.

        Args:
            y: (1, M, H, W), H and W divisible by 4.
            quality: 0 to 255.
            bit_price: squared error, in units of a quantizer step, that saving one bit is worth; 0 rounds
                to the nearest. The decoder does not know it (rate-distortion optimised quantization).
        Raises:
            WeightsError: the weights are not in the precision in which symbols are exact.
        """
        check_precision(self.parameters())
        gain = self.log_gain(torch.tensor([quality], device=y.device)).exp()
        y_scaled = y.float() * gain
        z = self.h_a(y_scaled).round().double().clamp(-MAX_SYMBOL, MAX_SYMBOL)
        z_indexes = self._z_indexes(quality, z.shape)
        coded = z_indexes >= self.config.skip_index
        # A symbol that is not coded is zero for the decoder, so it is for the encoder.
        z = torch.where(coded, z, 0.0)
        parts = [(z[coded].long(), z_indexes[coded])]
        y_scaled = y_scaled.double()

        def choose(step: Pass, mean: Tensor, indexes: Tensor, coded: Tensor) -> Tensor:
            residual = y_scaled[:, step.start : step.stop] - mean / _ONE
            symbols = residual.round().clamp(-MAX_SYMBOL, MAX_SYMBOL).long()
            if bit_price:
                symbols = cheaper_symbols(symbols, residual, indexes, self.tables, bit_price)
            parts.append((symbols[coded], indexes[coded]))
            return symbols

        return self._symbols(self._run_passes(z, quality, choose), parts)

    def compress(self, symbols: LatentSymbols) -> bytes:
        """One rANS string of all symbols."""
        encoder = SymbolEncoder(self.tables)
        for part in symbols.parts:
            encoder.push(*part)
        return encoder.finish()

    def payload_limits(self, quality: int, height: int, width: int) -> tuple[int, int]:
        """Fewest and most bytes that :meth:`compress` makes of any y of that size.

        The tables of z depend on the quality alone, so z costs at least its most probable symbols; y may cost
        next to nothing. A flat grey picture comes down to the fewest bytes but for what its y takes.

        Args:
            quality: 0 to 255.
            height, width: of y, divisible by 4.
        """
        positions = (height // HYPER_STRIDE) * (width // HYPER_STRIDE)
        indexes = self._z_indexes(quality, (1, self.config.hyper_channels, 1, 1)).flatten().cpu()
        least = self.tables.least_bits[indexes[indexes >= self.config.skip_index]]
        fewest, _ = payload_limits(len(least) * positions, positions * float(least.sum()))
        _, most = payload_limits(self._num_symbols(height, width), 0.0)
        return fewest, most

    def _num_symbols(self, height: int, width: int) -> int:
        positions = (height // HYPER_STRIDE) * (width // HYPER_STRIDE)
        return self.config.latent_channels * height * width + self.config.hyper_channels * positions

    @torch.no_grad()
    def decompress(
        self,
        payload: bytes,
        quality: int,
        height: int,
        width: int,
        on_step: Callable[[float], None] | None = None,
    ) -> LatentSymbols:
        """The symbols in a string of :meth:`compress`.

        Args:
            quality: the one it was compressed with.
            height, width: of y, divisible by 4.
            on_step: called before each pass with the share that is done; what it raises ends the work.
        Raises:
            BitstreamError: the string is not one of this codec: too short or too long for a y of that size,
                which is found before anything is allocated for it, or not the string of what it decodes to.
            WeightsError: the weights are not in the precision in which symbols are exact.
        """
        fewest, most = self.payload_limits(quality, height, width)
        if not fewest <= len(payload) <= most:
            raise BitstreamError(
                f"The coded data has {len(payload)} bytes; a latent of {width} x {height} takes {fewest} to "
                f"{most} at quality {quality}."
            )
        check_precision(self.parameters())
        config = self.config
        z_shape = (1, config.hyper_channels, height // HYPER_STRIDE, width // HYPER_STRIDE)
        decoder = SymbolDecoder(self.tables, payload, self._num_symbols(height, width))
        z_indexes = self._z_indexes(quality, z_shape)
        coded = z_indexes >= config.skip_index
        z = torch.zeros(z_shape, dtype=torch.float64, device=z_indexes.device)
        z_symbols = decoder.pop(z_indexes[coded]).to(z.device)
        z[coded] = z_symbols.double()
        parts = [(z_symbols, z_indexes[coded])]

        passes = len(list(self.context.passes()))

        def read(step: Pass, mean: Tensor, indexes: Tensor, coded: Tensor) -> Tensor:
            if on_step is not None:
                on_step((len(parts) - 1) / passes)
            symbols = decoder.pop(indexes[coded]).to(indexes.device)
            parts.append((symbols, indexes[coded]))
            full = torch.zeros_like(indexes)
            full[coded] = symbols
            return full

        symbols = self._symbols(self._run_passes(z, quality, read), parts)
        # Also finds bytes that are left over, and a string that went on being read behind its end.
        if self.compress(symbols) != payload:
            raise BitstreamError("The coded data is not what its own symbols are coded as: it is damaged.")
        return symbols

    def dequantize(self, symbols: LatentSymbols, quality: int) -> Tensor:
        """y_hat in the units of y, (1, M, H, W) float32."""
        inverse_gain = self.log_inverse_gain(torch.tensor([quality], device=self.cdfs.device)).exp()
        return (symbols.y_hat / _ONE).float() * inverse_gain

    @torch.no_grad()
    def bit_map(self, symbols: LatentSymbols, quality: int, height: int, width: int) -> Tensor:
        """Where the bits went: (H, W) float64, bits spent at each position of y; they sum to bits_z + bits_y.

        The bits of each z symbol are spread evenly over the 4 x 4 positions that it describes.

        Args:
            symbols: of :meth:`quantize` or :meth:`decompress`.
            quality: the one they were coded with.
            height, width: of y, divisible by 4.
        """
        config = self.config
        z_shape = (1, config.hyper_channels, height // HYPER_STRIDE, width // HYPER_STRIDE)
        parts = iter(symbols.parts)

        def place(indexes: Tensor, coded: Tensor) -> tuple[Tensor, Tensor]:
            """The next part's symbols at their positions, and the bits of each position."""
            values = torch.zeros_like(indexes)
            values[coded] = next(parts)[0]
            return values, (self.tables.bits(values, indexes) * coded).sum((0, 1))

        z_indexes = self._z_indexes(quality, z_shape)
        z_hat, z_bits = place(z_indexes, z_indexes >= config.skip_index)
        spread = z_bits.repeat_interleave(HYPER_STRIDE, 0).repeat_interleave(HYPER_STRIDE, 1)
        maps = [spread / HYPER_STRIDE**2]

        def replay(step: Pass, mean: Tensor, indexes: Tensor, coded: Tensor) -> Tensor:
            values, bits = place(indexes, coded)
            maps.append(bits)
            return values

        self._run_passes(z_hat.double(), quality, replay)
        return torch.stack(maps).sum(0)

    def _run_passes(self, z_hat: Tensor, quality: int, code: PassCoder) -> Tensor:
        """y_hat in fixed point, (1, M, H, W); ``code`` gives the symbols of each pass."""
        features = self.h_s.fixed(z_hat, quality)
        base = self.y_scale.fixed(quality)
        height, width = features.shape[-2:]
        anchors = checkerboard(height, width, device=features.device)
        y_hat = features[:, :0]
        for step in self.context.passes():
            mean, index = self.context.fixed(step, features, y_hat)
            indexes = self._to_indexes(index + base[:, step.start : step.stop])
            mask = (anchors if step.anchors else ~anchors).expand_as(mean)
            coded = mask & (indexes >= self.config.skip_index)
            symbols = code(step, mean, indexes, coded)
            decoded = torch.where(mask, torch.where(coded, symbols.double() * _ONE, 0.0) + mean, 0.0)
            if step.anchors:
                y_hat = torch.cat([y_hat, decoded], 1)
            else:
                y_hat = torch.cat([y_hat[:, : step.start], y_hat[:, step.start :] + decoded], 1)
        return y_hat

    def _z_indexes(self, quality: int, shape) -> Tensor:
        return self._to_indexes(self.z_scale.fixed(quality)).expand(shape)

    def _symbols(self, y_hat: Tensor, parts: list[tuple[Tensor, Tensor]]) -> LatentSymbols:
        bits = [float(self.tables.bits(symbols, indexes).sum()) for symbols, indexes in parts]
        return LatentSymbols(y_hat, parts, bits[0], sum(bits[1:]))

    @staticmethod
    def _to_indexes(fixed: Tensor) -> Tensor:
        """Table indices of fixed-point scale indices: the nearest, halves up."""
        return torch.floor(fixed * (1 / _ONE) + 0.5).clamp(0, NUM_SCALES - 1).long()
