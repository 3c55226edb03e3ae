"""Whether the integer arithmetic of the entropy model is exact: the same on every machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sprdiff.errors import WeightsError
from sprdiff.layers.fixed_point import MAX_EXACT


def check_precision(parameters: Iterable[Tensor]) -> None:
    """Passes if all are float32 or float64.

    Raises:
        WeightsError: some are not; names their precision.
    """
    wrong = {each.dtype for each in parameters} - {torch.float32, torch.float64}
    if wrong:
        raise WeightsError(
            f"The latent codec has weights of {', '.join(map(str, wrong))}, and rounded ones decode "
            "other symbols: load the checkpoint again, and give only other parts another precision."
        )


def check_sums(largest: Mapping[str, float]) -> None:
    """Passes if no sum can leave the range in which float64 holds every integer.

    Args:
        largest: of each layer, the largest absolute value that a sum can come to.
    Raises:
        WeightsError: a layer's sums can; names it and the largest of them.
    """
    for name, value in largest.items():
        # Not "value > MAX_EXACT": a weight may be no number.
        if not value <= MAX_EXACT:
            raise WeightsError(
                f"Sums in the layer {name} of the latent codec can come to {value:.4g}; they are exact "
                f"up to {MAX_EXACT:.4g}, and beyond it other machines would decode other symbols."
            )
