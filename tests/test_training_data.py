"""Crops of photographs and rendered graphics: which are used, when, and which are held out."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path

import numpy as np
import pytest
import teachers
import torch
from conftest import make_photo
from PIL import Image

from sprdiff.errors import InputImageError
from sprdiff.images import load_image
from sprdiff.training import pieces
from sprdiff.training.data import Crops, Photographs, list_images, split, stream, validation_images
from sprdiff.training.graphics import draw_graphic


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    return teachers.save_photographs(folder, 6, 200, 196)


def test_crops_are_in_range_and_repeatable(photos):
    paths = list_images(photos)
    a, b = Crops(paths, 64, 1.5, 3).batch(6), Crops(paths, 64, 1.5, 3).batch(6)
    assert a.shape == (6, 3, 64, 64) and a.min() >= -1 and a.max() <= 1
    assert torch.equal(a, b) and not torch.equal(a, Crops(paths, 64, 1.5, 4).batch(6))


def test_pictures_are_decoded_as_they_are_needed(photos, tmp_path, monkeypatch):
    decoded = []

    def remembering(path: Path) -> Image.Image:
        decoded.append(path.name)
        return load_image(path)

    monkeypatch.setattr("sprdiff.training.data.photographs.load_image", remembering)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for i in range(3):
        make_photo(96, 80, i).save(tmp_path / "a" / f"{i}.png")
        make_photo(96, 80, 3 + i).save(tmp_path / "a" / "b" / f"{i}.png")
    make_photo(60, 80).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("no picture")
    paths = list_images(tmp_path)
    assert len(paths) == 8, "folders in the folder, too"
    with pytest.warns(UserWarning, match=r"text\.png is left out"):
        pictures = Photographs(paths, 64, kept_bytes=2 * 96 * 80 * 3)
    assert len(pictures.paths) == 6 and not decoded
    for _ in range(2):
        for i in range(6):
            assert np.array_equal(pictures[i], np.asarray(make_photo(96, 80, i)))
    assert len(decoded) == 6 + 4, "two fit into memory"
    with pytest.warns(UserWarning), pytest.raises(InputImageError, match="None of 8 pictures is 200 pixels"):
        Photographs(paths, 200)


def pack(shard: Path, folder: Path, mode: str = "w") -> None:
    """As WebDataset packs pictures, with what else it puts beside them."""
    with tarfile.open(shard, mode) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
        archive.addfile(tarfile.TarInfo("0.json"), io.BytesIO())


def test_shards_are_folders_of_pictures(photos, tmp_path):
    (tmp_path / "flickr").mkdir()
    pack(tmp_path / "flickr/00.tar", photos)
    make_photo(200, 196, 9).save(tmp_path / "alone.png")
    paths = list_images(tmp_path)
    assert [str(path.parent) for path in paths].count(str(tmp_path / "flickr/00.tar")) == 6 and len(
        paths
    ) == 7
    inside, outside = Photographs(paths[1:], 64), Photographs(list_images(photos), 64)
    for i in (3, 0, 5):
        assert np.array_equal(inside[i], outside[i])
    # What a folder gives, a shard gives: the same crops in the same order.
    assert torch.equal(Crops(paths[1:], 64, 1.5, 3).batch(6), Crops(list_images(photos), 64, 1.5, 3).batch(6))
    assert Crops(paths, 64, 1.0, sources={"flickr": 0.0}).weights[0] == 1
    assert torch.equal(validation_images(paths[1:])[0], validation_images(list_images(photos))[0])


@pytest.mark.parametrize("fault", ["compressed", "none", "cut off"])
def test_a_shard_without_places_is_named(fault, photos, tmp_path):
    shard = tmp_path / "00.tar"
    pack(shard, photos, "w:gz" if fault == "compressed" else "w")
    if fault == "none":
        shard.write_text("no tar file, " * 100)
    elif fault == "cut off":
        shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(InputImageError, match=r"00\.tar is (no uncompressed tar file|cut off)"):
        list_images(tmp_path)


def test_a_damaged_picture_is_passed_over(photos, tmp_path):
    whole = (photos / "0.png").read_bytes()
    (tmp_path / "damaged.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "whole.png").write_bytes(whole)
    crops = Crops(list_images(tmp_path), 64, 1.0)
    with pytest.warns(UserWarning, match=r"damaged\.png is passed over: .*damaged or incomplete"):
        batch = crops.batch(12)
    assert batch.shape == (12, 3, 64, 64)


@pytest.mark.parametrize("settings", [{}, {"min_zoom": 0.6, "turned": 0.5, "tint": 0.2}])
def test_what_is_seen_depends_on_the_seed_and_the_step_alone(settings, photos):
    crops = Crops(list_images(photos), 64, 1.5, **settings)

    def seen(steps: int, count: int = 4, seed: int = 3, **options) -> list[torch.Tensor]:
        return list(itertools.islice(stream(crops, count, seed, **options), steps))

    batches = seen(4)
    assert all(batch.shape == (4, 3, 64, 64) for batch in batches)
    assert not any(torch.equal(a, b) for a, b in itertools.combinations([*batches, *seen(1, seed=4)], 2))
    crops.batch(5)  # other users of the global random state change nothing
    for again in (seen(4), seen(4, workers=2), [*seen(1), *seen(3, first_step=1, workers=2)]):
        assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))
    halves = zip(*(seen(4, count=2, rank=rank, processes=2) for rank in (0, 1)), strict=True)
    assert all(torch.equal(torch.cat(pair), batch) for pair, batch in zip(halves, batches, strict=True))


def test_drawn_pictures_come_at_their_share(photos):
    paths = list_images(photos)
    drawn = Crops(paths, 64, 1.5, 3, graphics=1.0).batch(40)
    assert drawn.shape == (40, 3, 64, 64) and drawn.min() >= -1 and drawn.max() <= 1
    assert torch.equal(drawn, Crops(paths, 64, 1.5, 3, graphics=1.0).batch(40))
    # A photograph hardly has neighbours of exactly one colour; of a drawing they are the most part.
    alike = (drawn.diff(dim=-1).abs().amax(1) == 0).float().mean((1, 2))
    assert alike.mean() > 0.5
    mixed = Crops(paths, 64, 1.0, 3, graphics=0.25).batch(80)
    count = ((mixed.diff(dim=-1).abs().amax(1) == 0).float().mean((1, 2)) > 0.3).sum()
    assert 8 <= count <= 32


def test_drawn_pictures_are_of_every_kind():
    random = np.random.default_rng(0)
    pictures = [draw_graphic(random, 96) for _ in range(60)]
    assert all(picture.shape == (96, 96, 3) and picture.dtype == np.uint8 for picture in pictures)
    colours = [len(np.unique(picture.reshape(-1, 3), axis=0)) for picture in pictures]
    assert min(colours) == 1 and max(colours) > 50
    white = [(picture == 255).all(2).mean() for picture in pictures]
    assert any(0.5 < share < 0.99 for share in white), "no page with text"


def test_held_out_pictures_are_not_trained_on(photos):
    training, held_out = split(list_images(photos))
    assert held_out and not set(training) & set(held_out)
    assert all(side % 64 == 0 for x in validation_images(held_out) for side in x.shape[-2:])


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(InputImageError, match="at least 2 pictures"):
        list_images(tmp_path)


def test_crops_may_be_reduced_turned_and_tinted(tmp_path):
    """Of a picture with columns of one colour each: what each setting does to it can be seen."""
    columns = np.repeat(np.linspace(60, 180, 128).astype(np.uint8)[None, :, None], 128, 0).repeat(3, 2)
    columns[..., 2] = 120
    Image.fromarray(columns).save(tmp_path / "0.png")
    Image.fromarray(columns).save(tmp_path / "1.png")
    paths = list_images(tmp_path)

    def batch(count: int = 40, **settings: float) -> torch.Tensor:
        return Crops(paths, 64, 1.0, 5, **settings).batch(count)

    def steepness(crops: torch.Tensor, axis: int) -> torch.Tensor:
        return crops[:, :1].diff(dim=axis).abs().mean((1, 2, 3))

    plain = batch()
    assert torch.equal(plain, batch(min_zoom=1.0, turned=0.0, tint=0.0))
    reduced = steepness(batch(min_zoom=0.5), 3) / steepness(plain, 3).mean()
    # Half of them by a factor between one and two, the largest that the picture allows.
    assert 0.3 < (reduced > 1.15).float().mean() < 0.6 and 1.7 < reduced.max() < 2.1
    turned = steepness(batch(turned=0.5), 3) < 0.1 * steepness(plain, 3).mean()
    assert 0.3 < turned.float().mean() < 0.7 and torch.all(steepness(batch(turned=1.0), 2) > 0)
    tinted = batch(tint=0.3)
    assert tinted.min() >= -1 and tinted.max() <= 1
    means = tinted.mean((1, 2, 3)).std() / plain.mean((1, 2, 3)).std()
    assert means > 1.5, "brighter and darker"
    assert torch.equal(tinted, batch(tint=0.3)), "by the seed"


def test_large_photographs_are_cut_into_pieces(tmp_path, capsys):
    photographs, out = tmp_path / "photographs", tmp_path / "out"
    for folder in ("a", "b"):
        (photographs / folder).mkdir(parents=True)
    whole = make_photo(400, 300)
    whole.save(photographs / "a" / "0.png")
    make_photo(100, 90, 3).save(photographs / "b" / "0.png")
    Image.new("RGB", (400, 300), "blue").save(photographs / "b" / "sky.png")
    (photographs / "broken.png").write_bytes(b"no picture")

    pieces.main(photographs, out, side=128, shrink=1.0, least=0.5)
    told = capsys.readouterr()
    assert "broken.png is left out" in told.err and "13 pieces of 4 photographs" in told.out
    cut = {path.name: load_image(path) for path in out.iterdir()}
    assert set(cut) == {*(f"a-0-{i:02}.png" for i in range(12)), "b-0-00.png"}, "no sky"
    assert {cut[f"a-0-{i:02}.png"].size for i in range(12)} == {(100, 100)}
    rows = [np.hstack([cut[f"a-0-{4 * row + i:02}.png"] for i in range(4)]) for row in range(3)]
    assert np.array_equal(np.vstack(rows), whole), "nothing is lost between them"

    halves = pieces.pieces(whole, 128, 2.0)
    assert [each.size for each in halves] == [(100, 75)] * 4
    smaller = np.asarray(whole.reduce(2), dtype=float)[:75, :100]
    assert np.abs(np.asarray(halves[0]) - smaller).mean() < 4, "reduced, not cut out at full size"
