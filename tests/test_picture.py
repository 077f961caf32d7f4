"""Pictures are PNG files that other readers open."""

from __future__ import annotations

import os

import numpy as np
import pytest

from chunkarr import picture


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (257, 3), (64, 64)])
def test_other_readers_see_the_same_pixels(tmp_path, shape):
    skimage_io = pytest.importorskip("skimage.io")
    pixels = np.random.default_rng(5).integers(0, 256, shape).astype(np.uint8)
    path = str(tmp_path / "p.png")
    picture.write_png(path, np.zeros((2, 2), np.uint8))
    picture.write_png(path, pixels)
    np.testing.assert_array_equal(skimage_io.imread(path), pixels)
    assert os.listdir(tmp_path) == ["p.png"]


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros(3, np.uint8), np.zeros((0, 3), np.uint8)])
def test_what_is_no_picture_is_refused(tmp_path, pixels):
    with pytest.raises(ValueError, match="uint8 of shape"):
        picture.write_png(str(tmp_path / "p.png"), pixels)
    assert os.listdir(tmp_path) == []


def test_a_flat_image_is_black():
    assert picture.stretch(np.full((3, 3), 7.0)).max() == 0


def test_shrunk_images_keep_their_mean():
    values = np.random.default_rng(1).normal(size=(64, 128))
    small = picture.shrink(values, 32)
    assert small.shape == (16, 32)
    assert small.mean() == pytest.approx(values.mean())
    assert picture.shrink(values, 1000) is not values
    np.testing.assert_array_equal(picture.shrink(values, 1000), values)


def test_the_highest_bar_fills_the_histogram():
    bars = picture.histogram(np.repeat([1, 2, 3], [1, 100, 0]), 4, 10)
    assert (bars == 255).sum(axis=0).max() == 10
    assert (bars == 255).sum(axis=0)[0] == 1


def test_captions_are_drawn_under_a_picture():
    grey = picture.enlarge(np.full((3, 5), 9, np.uint8), 4)
    drawn = picture.captioned(grey, "day 1", "-0.5: é")
    assert drawn.shape == (12 + 2 * 20, 64)
    assert (drawn[:12, :20] == 9).all()
    assert set(np.unique(drawn[12:])) == {0, 255}
    assert (drawn[32:, 4 + 6 * 8 :] == 255).all()  # what has no glyph is blank
    assert all(len(rows) == 5 and set(rows) <= set("01234567") for rows in picture.GLYPHS.values())
    assert len(set(picture.GLYPHS.values())) >= len(picture.GLYPHS)
