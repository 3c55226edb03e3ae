"""Published curves: all of them, each with its source, and no two kinds of a metric on one axis."""

from __future__ import annotations

import json

import pytest

from sprdiff.ui import published


@pytest.fixture(scope="module")
def sets() -> dict[str, dict]:
    return {entry["id"]: entry for entry in published.published_value()["sets"]}


def raw(name: str) -> list[dict]:
    from sprdiff.evaluation.curves import PUBLISHED_FOLDER

    return json.loads((PUBLISHED_FOLDER / f"{name}.json").read_text())["curves"]


@pytest.mark.parametrize("name", published.DATA_SETS)
def test_every_curve_is_there_with_an_address(sets, name):
    curves = [curve for curve in sets[name]["curves"] if not curve["measured"]]
    assert [curve["label"] for curve in curves] == [entry["method"] for entry in raw(name)]
    for curve in curves:
        assert curve["source"]["links"] and curve["source"]["title"] and curve["source"]["how"]
        assert all(url.startswith("https://") for _, url in curve["source"]["links"])


@pytest.mark.parametrize("name", published.DATA_SETS)
def test_kinds_of_a_metric_never_share_an_axis(sets, name):
    ids = [column["id"] for column in sets[name]["columns"]]
    assert len(set(ids)) == len(ids) and not {"lpips", "ms-ssim"} & set(ids)
    for curve, entry in zip(
        (curve for curve in sets[name]["curves"] if not curve["measured"]), raw(name), strict=True
    ):
        shown = {metric for point in curve["points"] for metric in point["values"]}
        keys = {key for point in entry["points"] for key in point}
        assert ("lpips-alex" in shown) <= ("lpips_alex" in keys)
        assert ("lpips-vgg" in shown) <= ("lpips_vgg" in keys)
        assert not {"ms-ssim-rgb", "ms-ssim-y"} <= shown
        if "luma" in entry["metric_notes"].get("ms_ssim", ""):
            assert "ms-ssim-rgb" not in shown


def test_our_own_curve_stands_beside_them_and_says_so(tmp_path):
    means = [
        {
            "method": method,
            "target_bpp": bpp,
            "images": 24,
            "over_budget": 0,
            "bpp": bpp,
            "metrics": {"psnr-rgb": {"mean": 22.0 + bpp, "dashes": 0}},
        }
        for method in ("sprdiff-final", "avif")
        for bpp in (0.02, 0.03)
    ]
    (tmp_path / "kodak.json").write_text(json.dumps({"means": means, "settings": {"runs": []}}))
    curves = published.data_set("kodak", tmp_path / "kodak.json")["curves"]
    ours = {curve["id"]: curve for curve in curves if curve["measured"]}
    assert ours["sprdiff-final"]["kind"] == "ours" and ours["sprdiff-final"]["label"].endswith("ours")
    assert ours["avif"]["label"] == "AVIF, run here"
    assert "own weights" in ours["sprdiff-final"]["source"]["title"]
    assert [point["bpp"] for point in ours["avif"]["points"]] == [0.02, 0.03]
    assert len(curves) == len(raw("kodak")) + 2
