"""What training measures: losses, the adversary, and pretrained teachers."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from random_weights import store_random_backbone, store_random_dists
from safetensors.torch import save_file
from teachers import FeatureNetwork

from sprdiff.errors import WeightsError
from sprdiff.metrics.deep import dists_network, lpips_network
from sprdiff.training.backbones import feature_network
from sprdiff.training.discriminator import ProjectedDiscriminator, generator_loss, hinge_loss
from sprdiff.training.losses import PerceptualLoss, flat_error, grid_error, structure_loss
from sprdiff.training.qualities import QualityRange
from sprdiff.training.semantic_stage import Teacher, contrast, retrieval
from sprdiff.training.transform_stages import psnr_db

BACKBONE = "tf_efficientnet_lite0"


def test_flat_error_counts_where_the_picture_is_flat():
    torch.manual_seed(0)
    flat, busy = torch.zeros(2, 3, 64, 64), torch.rand(2, 3, 64, 64) * 2 - 1
    grid = torch.zeros(2, 3, 64, 64)
    grid[..., ::8] = 0.02
    assert flat_error(flat, flat) == 0 and flat_error(busy, busy) == 0
    # 15 of 63 horizontal differences are off by 0.02; nothing moderates them on a flat picture.
    assert flat_error(flat + grid, flat).item() == pytest.approx(0.02 * 15 / 63, rel=1e-4)
    assert flat_error(busy + grid, busy) < 0.1 * flat_error(flat + grid, flat)


def test_grid_error_sees_what_repeats_and_not_texture():
    torch.manual_seed(0)
    x = torch.zeros(1, 3, 96, 96)
    noise = 0.1 * torch.randn(1, 1, 96, 96)
    lines = torch.zeros(1, 1, 96, 96)
    lines[..., ::8] = 0.1
    assert grid_error(x + 0.3, x, 8) < 1e-6
    # One column in eight is off by 0.1, and by an eighth of that less the mean: 0.1 * 2 * 7 / 64.
    assert grid_error(x + lines, x, 8).item() == pytest.approx(0.1 * 2 * 7 / 64, rel=1e-4)
    # A grid of opposite colours, whose grey is flat, is one as well.
    opposite = torch.tensor([1.0, 0.0, -1.0])[:, None, None] * lines
    colours = grid_error(x + lines, x, 8) * 2 / 3
    assert grid_error(x + opposite, x, 8).item() == pytest.approx(colours.item(), rel=1e-4)
    # 25 cells together leave a fifth of the noise's mean magnitude.
    assert grid_error(x + noise, x, 8).item() == pytest.approx(0.1 * 0.798 / 5, rel=0.1)


def test_structure_loss_is_zero_for_the_same_and_grows_with_blur():
    photo = torch.rand(2, 3, 64, 64) * 2 - 1
    photo = torch.nn.functional.avg_pool2d(photo, 3, 1, 1)
    blurred = torch.nn.functional.avg_pool2d(photo, 5, 1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same, worse = structure_loss(photo, photo), structure_loss(blurred, photo)
        flat = structure_loss(torch.zeros_like(photo).requires_grad_(), torch.zeros_like(photo))
    assert abs(same.item()) < 1e-5 and worse > 0.1
    flat.backward()
    assert flat.item() == pytest.approx(0, abs=1e-5)


@pytest.fixture
def perceptual(torch_cache) -> PerceptualLoss:
    store_random_backbone(torch_cache, "vgg16")
    store_random_dists(torch_cache)
    return PerceptualLoss()


def blurred_pair(batch: int = 2, size: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures in [-1, 1] and the same, blurred."""
    torch.manual_seed(0)
    x = F.avg_pool2d(torch.rand(batch, 3, size + 2, size + 2) * 2 - 1, 3, 1)
    return F.avg_pool2d(x, 5, 1, 2), x


def test_perceptual_losses_are_the_metrics(perceptual):
    x_hat, x = blurred_pair()
    with torch.no_grad():
        dists = dists_network()(x_hat / 2 + 0.5, x / 2 + 0.5).flatten()
        lpips = lpips_network("vgg")(x_hat, x).flatten()
        assert dists.min() > 0.01 and lpips.min() > 0.01
        assert torch.allclose(perceptual.dists(x_hat, x), dists, rtol=1e-5)
        assert torch.allclose(perceptual.lpips(x_hat, x), lpips, rtol=1e-5)
        assert perceptual.dists(x, x).abs().max() < 1e-5
    perceptual.to(torch.float64)
    for network in (dists_network(), lpips_network("vgg")):
        assert {p.dtype for p in network.parameters()} == {torch.float32}, "the metrics' own must stay"


def test_perceptual_losses_teach_in_half_precision(perceptual):
    x_hat, x = blurred_pair()
    for loss in (perceptual.lpips, perceptual.dists):
        exact = loss(x_hat, x).detach()
        x_hat.requires_grad_().grad = None
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = loss(x_hat, x)
        assert rough.dtype == torch.float32
        assert torch.allclose(rough, exact, rtol=0.05)
        rough.sum().backward()
        assert all(x_hat.grad[i].any() for i in range(2))
    # Covariances of features in bfloat16 would give identical pictures a distance.
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert perceptual.dists(x, x).abs().max() < 1e-5
    assert not any(parameter.requires_grad for parameter in perceptual.parameters())


def test_the_adversary_tells_sharp_from_blurred():
    torch.manual_seed(0)
    sharp = torch.rand(4, 3, 64, 64) * 2 - 1
    blurred = F.avg_pool2d(sharp, 5, 1, 2)
    adversary = ProjectedDiscriminator(FeatureNetwork().eval(), sharp, 8)
    heads = [parameter for parameter in adversary.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(heads, 2e-3)
    real, fake = adversary.features(sharp), adversary.features(blurred)
    # One for each map but that of stride 32, and one for the pixels, which ends at stride 4.
    assert [scores.shape for scores in adversary(real, fake)] == [(4, 1, n, n) for n in (32, 16, 8, 4, 16)]
    losses = []
    for _ in range(40):
        loss = hinge_loss(adversary(real, fake), adversary(fake, fake))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    assert (generator_loss(adversary(fake, fake)) > generator_loss(adversary(real, fake))).all()


def test_the_adversary_sees_every_channel_at_one_scale():
    torch.manual_seed(0)
    pictures = torch.rand(8, 3, 64, 64) * 2 - 1
    *maps, pixels = ProjectedDiscriminator(FeatureNetwork().eval(), pictures).features(pictures)
    assert len(maps) == 4 and torch.equal(pixels, pictures)
    for each in maps:
        assert torch.allclose(each.std((0, 2, 3)), torch.ones(each.shape[1]), rtol=1e-3)


def test_hinge_and_generator_losses_of_known_scores():
    sure, unsure = [torch.full((2, 1, 4, 4), 3.0), torch.ones(2, 1, 2, 2)], [torch.zeros(2, 1, 4, 4)] * 2
    assert hinge_loss(sure, [-scores for scores in sure]) == 0
    assert hinge_loss(unsure, unsure) == 2
    assert hinge_loss([-scores for scores in sure], sure) == pytest.approx((2 * 4 + 2 * 2) / 2)
    # Every head counts alike, whatever its size.
    scores = [torch.tensor([1.0, -3.0])[:, None, None, None].expand(2, 1, n, n) for n in (2, 8)]
    assert generator_loss(scores).tolist() == [-1, 3]
    assert generator_loss([scores[0], unsure[0]]).tolist() == [-0.5, 1.5]


def test_a_feature_network_is_read_from_its_file(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model(BACKBONE, pretrained=False, features_only=True).eval()
    save_file(network.state_dict(), tmp_path / f"{BACKBONE}.safetensors")
    loaded = feature_network(BACKBONE, tmp_path)
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    maps = loaded(x)
    assert [each.shape[-1] for each in maps] == [32, 16, 8, 4, 2]
    assert all(torch.equal(a, b) for a, b in zip(maps, network(x), strict=True))
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


def test_missing_weights_of_a_feature_network_are_named(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=rf"{BACKBONE}.*{BACKBONE}\.safetensors does not exist"):
        feature_network(BACKBONE, tmp_path)

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=rf"{BACKBONE} cannot be fetched: no network"):
        feature_network(BACKBONE)


def test_what_the_teacher_sees_is_standardized():
    torch.manual_seed(0)
    pictures = torch.rand(32, 3, 1, 1) + torch.rand(32, 3, 64, 64) - 1
    network = FeatureNetwork().eval()
    teacher = Teacher(network, pictures)
    knowledge = teacher(pictures)
    assert [tuple(each.shape) for each in knowledge] == [(32, 8, 4, 4), (32, 12, 2, 2), (32, 12)]
    for each in knowledge:
        dims = [dim for dim in range(each.ndim) if dim != 1]
        assert torch.allclose(each.mean(dims), torch.zeros(each.shape[1]), atol=1e-4)
        assert torch.allclose(each.std(dims), torch.ones(each.shape[1]), atol=1e-3)
    # The same affine map for every picture: differences keep their signs.
    fine = network(pictures)[3]
    assert torch.equal(knowledge.fine[0] > knowledge.fine[1], fine[0] > fine[1])


def test_contrast_is_lower_for_the_right_pairs():
    torch.manual_seed(0)
    target = torch.randn(8, 32)
    near = target + 0.5 * torch.randn(8, 32)
    assert contrast(3 * near, target, 0.1) == pytest.approx(contrast(near, target, 0.1).item(), rel=1e-5)
    assert (
        contrast(target, target, 0.1)
        < contrast(near, target, 0.1)
        < contrast(torch.randn(8, 32), target, 0.1)
    )
    assert contrast(torch.randn(8, 32), target, 0.1) < contrast(near.roll(1, 0), target, 0.1)
    alike = torch.ones(8, 32)
    assert contrast(alike, alike, 0.1).item() == pytest.approx(torch.tensor(8.0).log().item(), rel=1e-5)


def test_retrieval_counts_who_finds_their_own():
    features = torch.eye(8)
    order = torch.tensor([0, 1, 2, 4, 5, 6, 7, 3])
    assert retrieval(features, features) == 1
    assert retrieval(features[order], features) == 3 / 8
    assert retrieval(features[order], features[order]) == 1


def test_what_all_pictures_share_does_not_count_in_retrieval():
    # Shrunken queries: beside a large common part those of large features lie nearer to small ones.
    own = torch.diag(torch.tensor([1.0, 3.0]).repeat(4))
    common = torch.full((8, 1), 100.0)
    queries, gallery = (torch.cat([common, scale * own], 1) for scale in (0.3, 1.0))
    likeness = torch.cosine_similarity(queries[1:2], gallery[:2])
    assert likeness[0] > likeness[1]
    assert retrieval(queries, gallery) == 1


def test_the_lagrangian_rises_with_quality():
    qualities = QualityRange()
    values = qualities.lmbda(torch.linspace(0, 255, 9))
    assert (values.diff() > 0).all()
    steps = qualities.step_sizes(6)
    assert (steps.diff() < 0).all()
    # Price times squared step is constant: the rule of high-resolution quantization.
    ends = qualities.lmbda(torch.tensor([0.0, 255.0])) * (steps[[0, -1]] * 127.5) ** 2
    assert ends[0].item() == pytest.approx(ends[1].item(), rel=1e-4)


def test_psnr_of_known_error():
    x = torch.zeros(1, 3, 8, 8)
    assert psnr_db(x, x + 10 / 127.5) == pytest.approx(
        20 * torch.log10(torch.tensor(255 / 10)).item(), abs=1e-3
    )
