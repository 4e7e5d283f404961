"""What a network costs: reckoned by hand, within its budget, in proportion to the image."""

import dataclasses
import string

import pytest

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.networks.cost import Cost, cost

SPEC = CaptchaSpec(60, 100, 4, tuple(string.digits + string.ascii_lowercase))


def test_cost_of_the_network_of_version_2():
    # 2 x (60*100*9*32 + 30*50*9*32*64 + 15*25*9*64*128 + 13312*1024 + 1024*144) = 142 million
    known = cost("cnn5", SPEC)
    assert round(known.flop / 1e6) == 142
    assert (
        known.parameters
        == 9 * 32
        + 32
        + 9 * 32 * 64
        + 64
        + 9 * 64 * 128
        + 128
        + 13312 * 1024
        + 1024
        + 1024 * 144
        + 144
    )


def test_the_default_network_is_within_its_budget():
    assert cost("resnet_attention", SPEC).flop <= 100e6


def test_the_small_network_is_within_its_budget():
    small, default = (cost(f"resnet_attention{name}", SPEC) for name in ("_small", ""))
    assert small.flop <= 25e6
    assert small.parameters < default.parameters / 3 and small.activations < default.activations / 3


@pytest.mark.parametrize(("width", "height"), [(250, 50), (800, 250), (1600, 500)])
def test_the_cost_of_large_images_grows_no_faster_than_their_area(width, height):
    large_spec = dataclasses.replace(SPEC, image_width=width, image_height=height)
    base, large = (cost("resnet_attention", spec).flop for spec in (SPEC, large_spec))
    assert large <= 1.1 * base * width * height / (100 * 60)


def test_colour_and_the_end_class_cost_more():
    plain = cost("cnn5", SPEC).parameters
    colour = cost("cnn5", dataclasses.replace(SPEC, image_channels=3)).parameters
    shorter = cost("cnn5", dataclasses.replace(SPEC, min_captcha=1)).parameters
    assert colour - plain == 2 * 9 * 32
    assert shorter - plain == 4 * (1024 + 1)


def test_activations_grow_with_the_area():
    small, large = (
        cost("cnn5", dataclasses.replace(SPEC, image_width=80, image_height=height)).activations
        for height in (32, 64)
    )
    # What each convolution puts out, the same with bias, pooled, rectified.
    added = ((32 * 80, 32), (16 * 40, 64), (8 * 20, 128))
    assert large - small == sum(area * depth * (2 + 2 / 4) for area, depth in added)


def test_memory_of_a_training_grows_with_batch_and_weights():
    light = Cost(flop=0, activations=1000, parameters=0)
    assert light.training_bytes(20) - light.training_bytes(10) == 4 * 0.7 * 10_000
    heavier = Cost(flop=0, activations=1000, parameters=100)
    assert heavier.training_bytes(10) - light.training_bytes(10) == 4 * 7 * 100
