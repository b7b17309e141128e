"""Views: torchvision's distribution and pixels, drawn from (image, seed, epoch) alone."""

import numpy as np
import pytest
from PIL import Image

from lamm_cl.data.views import TrainView, View, view_box
from lamm_cl.errors import UsageError

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def photo(width: int = 90, height: int = 60) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_view_is_a_function_of_image_seed_and_epoch() -> None:
    first = view_box("a", 1, 0, 90, 60)
    view_box("b", 1, 0, 90, 60)
    assert view_box("a", 1, 0, 90, 60) == first
    others = {view_box(key, seed, epoch, 90, 60) for key in "ab" for seed in (1, 2) for epoch in (0, 1)}
    assert len(others) == 8


def test_a_view_stays_the_same_between_versions() -> None:
    assert view_box("a", 1, 0, 90, 60) == View(left=4, top=3, width=41, height=53, flip=True)


@pytest.mark.parametrize("size", [(90, 60), (8, 8), (1, 1), (500, 3), (3, 500)])
def test_boxes_lie_inside_the_picture(size: tuple[int, int]) -> None:
    for epoch in range(200):
        view = view_box("k", 0, epoch, *size)
        assert 0 <= view.left <= view.left + view.width <= size[0]
        assert 0 <= view.top <= view.top + view.height <= size[1]
        assert view.width >= 1
        assert view.height >= 1


@pytest.mark.parametrize("size", [(90, 60), (64, 300)])
def test_boxes_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    import torch
    from scipy.stats import ks_2samp
    from torchvision.transforms import RandomResizedCrop

    picture = torch.zeros(3, size[1], size[0])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = np.array([RandomResizedCrop.get_params(picture, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(3000)])
    ours = np.array([(v.top, v.left, v.height, v.width) for v in (view_box("k", 0, e, *size) for e in range(3000))])
    for column in range(4):
        assert ks_2samp(theirs[:, column], ours[:, column]).pvalue > 1e-3
    flips = sum(view_box("k", 1, e, *size).flip for e in range(3000))
    assert 1350 < flips < 1650


def test_extreme_pictures_fall_back_to_the_central_crop() -> None:
    views = {view_box("k", 0, epoch, 1000, 10)[:4] for epoch in range(50)}
    assert (493, 0, 13, 10) in views


@pytest.mark.parametrize(("size", "shape"), [((90, 60), (24, 24)), ((8, 8), (32, 32)), ((50, 70), (20, 30))])
def test_pixels_equal_torchvisions_for_the_same_box(size: tuple[int, int], shape: tuple[int, int]) -> None:
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    view = TrainView(shape, MEAN, STD, "bicubic")
    for epoch in range(6):
        box = view_box("k", 3, epoch, *size)
        image = photo(*size)
        expected = F.resized_crop(
            image, box.top, box.left, box.height, box.width, list(shape), InterpolationMode.BICUBIC
        )
        expected = F.hflip(expected) if box.flip else expected
        expected = F.normalize(F.to_tensor(expected), MEAN, STD)
        ours = view(image, "k", 3, epoch)
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, expected, rtol=0, atol=1e-6)


def test_flip_and_scale_can_be_narrowed() -> None:
    views = [view_box("k", 0, epoch, 100, 100, scale=(0.6, 1.0), flip=False) for epoch in range(300)]
    assert not any(view.flip for view in views)
    assert min(view.width * view.height for view in views) > 5800


def test_the_tag_tells_views_of_other_settings_apart() -> None:
    assert TrainView(8, MEAN, STD).tag == TrainView((8, 8), MEAN, STD).tag
    assert (
        len({TrainView(8, MEAN, STD, flip=flip, scale=(low, 1)).tag for flip in (True, False) for low in (0.1, 0.5)})
        == 4
    )


def test_wrong_settings_are_named() -> None:
    with pytest.raises(UsageError, match=r"bicubik.*bicubic"):
        TrainView(8, MEAN, STD, "bicubik")
