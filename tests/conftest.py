"""Fixtures for every test: a photograph that is made here, the measured images, the trained model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from browser import Page
    from selenium.webdriver import Chrome

    from sprdiff.pipeline import SPRDiffPipeline
    from sprdiff.ui.desk import Desk
    from sprdiff.ui.sessions import Session

# Before torch is imported, and for the processes that tests start: a test machine has few cores, and two
# tests run at once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test may depend on a network; those of the Hub client undo this in the processes they start.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ["HF_HUB_OFFLINE"] = "1"
# Before tests import it, or it could not be a plugin as well.
pytest.register_assert_rewrite("runs")

LONGEST = "test_training_processes.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the file that takes minutes: at the end, one process would wait for the other."""
    items.sort(key=lambda item: item.path.name != LONGEST)


def make_photo(width: int = 192, height: int = 176, seed: int = 7) -> Image.Image:
    """A picture with what a photograph has: a sky, a ground, soft and sharp edges, texture, sensor noise.

    The same bytes for the same arguments; RGB.
    """
    generator = np.random.default_rng(seed)
    rows = np.linspace(0, 1, height)[:, None, None]
    sky, ground = np.array([92, 142, 205]), np.array([214, 190, 150])
    canvas = Image.fromarray(
        np.broadcast_to(sky + (ground - sky) * rows, (height, width, 3)).astype(np.uint8)
    )
    draw = ImageDraw.Draw(canvas)
    horizon = round(height * 0.62)
    hills = [(0, horizon), (width * 0.3, height * 0.38), (width * 0.55, horizon), (0, horizon)]
    draw.polygon(hills, fill=(96, 112, 104))
    draw.rectangle((0, horizon, width, height), fill=(84, 118, 58))
    draw.ellipse(
        (width * 0.7, height * 0.08, width * 0.86, height * 0.08 + width * 0.16), fill=(250, 236, 190)
    )
    house = (width * 0.52, height * 0.44, width * 0.82, height * 0.8)
    draw.rectangle(house, fill=(178, 92, 70), outline=(60, 40, 34), width=2)
    roof = [(house[0] - 6, house[1]), (width * 0.67, height * 0.27), (house[2] + 6, house[1])]
    draw.polygon(roof, fill=(92, 52, 48))
    for left in (0.57, 0.7):
        draw.rectangle(
            (width * left, height * 0.52, width * (left + 0.07), height * 0.64), fill=(240, 226, 150)
        )
    canvas = canvas.filter(ImageFilter.GaussianBlur(0.7))
    # Texture at three scales, stronger on the ground than in the sky, then noise in every pixel.
    texture = np.zeros((height, width))
    for cell, strength in ((32, 10), (8, 8), (3, 6)):
        coarse = generator.normal(0, strength, (height // cell + 2, width // cell + 2)).astype(np.float32)
        texture += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    texture *= 0.3 + 0.7 * (rows[..., 0] > 0.62)
    noise = generator.normal(0, 2, (height, width, 3))
    pixels = np.asarray(canvas, dtype=np.float64) + texture[..., None] + noise
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


@pytest.fixture
def photo() -> Image.Image:
    """A synthetic photograph, 192 x 176, RGB, the same in every run."""
    return make_photo()


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command gets the same stand-in; ``missing`` in a model's name means that there is none."""
    from fakes import FakePipeline

    import sprdiff

    monkeypatch.setitem(vars(sprdiff), "SPRDiffPipeline", FakePipeline)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the measured images (``kodak/``) that ``SPRDIFF_DATA`` names; skips without it."""
    folder = os.environ.get("SPRDIFF_DATA", "")
    if not folder or not (Path(folder) / "kodak").is_dir():
        pytest.skip("SPRDIFF_DATA does not name a folder with kodak/")
    return Path(folder)


@pytest.fixture(scope="session")
def pipeline() -> SPRDiffPipeline:
    """The embedded checkpoint, loaded once for all tests; it holds no state between calls."""
    import torch

    from sprdiff import SPRDiffPipeline
    from sprdiff.checkpoint.weights import embedded_checkpoint

    torch.set_num_threads(min(2, torch.get_num_threads()))
    return SPRDiffPipeline.from_pretrained(embedded_checkpoint())


@pytest.fixture
def torch_cache(monkeypatch, tmp_path) -> Iterator[Path]:
    """An empty cache of pretrained weights, no memory of failures, and no networks built."""
    from sprdiff.metrics import deep, download

    networks = (deep.lpips_network, deep.dists_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download, "_failures", {})
    monkeypatch.delenv("HF_HUB_OFFLINE")  # who asks for an empty cache brings a network
    for network in networks:
        network.cache_clear()
    yield tmp_path / "hub"
    for network in networks:
        network.cache_clear()


@pytest.fixture
def desk() -> Desk:
    """The page's desk over a model that works at once."""
    from fakes import FakePipeline

    from sprdiff.ui.desk import Desk

    return Desk(FakePipeline, "fake")


@pytest.fixture
def session() -> Iterator[Session]:
    """A visitor of the page."""
    from sprdiff.ui.sessions import Session

    session = Session()
    yield session
    session.close()


@pytest.fixture
def picture(photo, desk, session, tmp_path):
    """The photograph as the page shows it after an upload."""
    from sprdiff.ui import handlers

    photo.save(tmp_path / "a photo.png")
    return handlers.show_picture(desk, session, str(tmp_path / "a photo.png"), "a photo.png")[0]


@pytest.fixture(scope="session")
def driver() -> Iterator[Chrome]:
    """One Chromium for all tests of a page; skips where it is not installed."""
    from browser import CHROMEDRIVER, CHROMIUM, chromium

    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    with chromium(logs=True) as driver:
        yield driver


@pytest.fixture(scope="session")
def page_url() -> Iterator[str]:
    """The address of one page for all tests, with the stand-in for the model."""
    from fakes import FakePipeline

    from sprdiff.ui import build_app, launch_options

    app = build_app(lambda: FakePipeline(seconds=0.3), model_name="stand-in")
    _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield address
    app.close()


@pytest.fixture
def page(driver, page_url) -> Iterator[Page]:
    """The page, newly opened; fails where the browser's console has an error at the end."""
    from browser import Page, prefer, resize, wait

    driver.get("about:blank")  # leaving a page may abort what it still waits for
    driver.get_log("browser")
    resize(driver, 1280, 900)
    prefer(driver, "")
    page = Page(driver, page_url).open()
    wait(lambda: "Model ready" in page.model_state(), "the model")  # a test may open the page anew
    yield page
    problems = [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
    assert not problems, problems


@pytest.fixture(scope="session")
def page_photo() -> Image.Image:
    """The photograph that is compared on the page, 360 x 240, RGB."""
    return make_photo(360, 240)


@pytest.fixture
def photo_file(page_photo, tmp_path) -> Path:
    """The same as a file."""
    page_photo.save(tmp_path / "a photo.png")
    return tmp_path / "a photo.png"
