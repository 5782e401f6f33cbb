"""Features that nothing was trained for."""

import torch

from training.architectures.fixed_features import FixedFeatures

SHAPE = (1, 32, 64)


def bars(across: bool) -> torch.Tensor:
    wave = torch.sin(torch.arange(64.0) / 3)
    picture = wave.expand(32, 64) if across else wave[:32, None].expand(32, 64)
    return picture[None, None]


def test_there_are_no_weights_and_the_count_is_told():
    features = FixedFeatures(SHAPE)
    assert list(features.parameters()) == []
    assert features.state_dict() == {}
    assert features(torch.rand(3, *SHAPE)).shape == (3, features.count)


def test_gradients_tell_directions_apart():
    features = FixedFeatures(SHAPE)
    histograms = [features(bars(across))[0, :256].reshape(8, 32).sum(dim=1) for across in (0, 1)]
    along = histograms[0] / histograms[0].sum()
    across = histograms[1] / histograms[1].sum()
    # Bins 2 and 6 point up and down, 0 and 4 to the right and left.
    assert along[[2, 6]].sum() > 0.9
    assert across[[0, 4]].sum() > 0.9


def test_gradients_do_not_depend_on_brightness_or_contrast():
    features = FixedFeatures(SHAPE)
    picture = torch.rand(1, *SHAPE)
    torch.testing.assert_close(
        features(picture)[:, :256], features(2 * picture + 3)[:, :256], atol=1e-4, rtol=1e-3
    )


def test_several_slices_count_by_the_middle_one_and_their_mean():
    features = FixedFeatures((3, 32, 64))
    crop = torch.rand(1, 3, 32, 64)
    single = FixedFeatures(SHAPE)
    expected = torch.cat([single(crop[:, 1:2]), single(crop.mean(dim=1, keepdim=True))], dim=1)
    torch.testing.assert_close(features(crop), expected)
