"""Practice captchas: what is drawn, and what is written where."""

import io
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import captcha
import captcha.image
import numpy as np
import pytest
from PIL import Image, ImageFont

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset.images import read_pixels, to_gray_or_rgb
from cnnlib.dataset.labels import label_of
from cnnlib.errors import ConfigError, SampleError
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from gen_image import gen_sample_by_captcha
from gen_image.generator import MAX_WITHOUT_WORKERS, CaptchaGenerator, draw_samples
from tests.helpers import SPEC, names_in

FONT = Path(captcha.__file__).parent / "data" / "DroidSansMono.ttf"


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("png", "PNG"),
        ("jpg", "JPEG"),
        ("jpeg", "JPEG"),
        ("gif", "GIF"),
        ("bmp", "BMP"),
        ("webp", "WEBP"),
        ("tif", "TIFF"),
        ("tiff", "TIFF"),
        ("ico", "ICO"),
    ],
)
def test_every_accepted_suffix_is_drawn_and_read_back(project, suffix, kind):
    generator = CaptchaGenerator(replace(project.captcha, image_suffix=suffix))
    image = generator.draw("01")
    assert (image.mode, image.size) == ("RGB", (40, 24))
    data = generator.encode(image)
    with Image.open(io.BytesIO(data)) as decoded:
        assert (decoded.format, decoded.size) == (kind, (40, 24))
    pixels = read_pixels(data, SPEC)
    difference = pixels.astype(int) - np.array(to_gray_or_rgb(image))
    assert np.abs(difference).mean() < 12  # JPEG, GIF and WebP are not exact


def test_same_text_is_drawn_differently_each_time(project):
    generator = CaptchaGenerator(project.captcha)
    assert generator.draw("01").tobytes() != generator.draw("01").tobytes()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 12), (300, 20), (30, 120)])
def test_odd_sizes_are_drawn(project, width, height):
    config = replace(project.captcha, width=width, height=height)
    assert CaptchaGenerator(config).draw("0123").size == (width, height)


def test_texts_follow_the_seed_and_use_every_character(project):
    generator = CaptchaGenerator(project.captcha)
    first, again, other = (random.Random(seed) for seed in (1, 1, 2))
    texts = [generator.random_text(first) for _ in range(50)]
    assert texts == [generator.random_text(again) for _ in range(50)]
    assert texts != [generator.random_text(other) for _ in range(50)]
    assert {len(text) for text in texts} == {2} and set("".join(texts)) == set("0123")


def test_fonts_of_the_config_are_used(project, monkeypatch):
    """Both that the library draws with and that the styles draw with."""
    used = set()
    truetype = ImageFont.truetype

    def recorded(font, *rest, **options):
        used.add(str(font))
        return truetype(font, *rest, **options)

    monkeypatch.setattr(ImageFont, "truetype", recorded)
    monkeypatch.setattr(captcha.image, "truetype", recorded)
    for style in ("captcha", "wave"):
        config = replace(project.captcha, fonts=(ProjectPath(FONT),), style=style)
        assert CaptchaGenerator(config).draw("01").size == (40, 24)
    assert {Path(font).name for font in used} == {Path(FONT).name}


def test_unusable_fonts_are_named(project, tmp_path):
    text_file = tmp_path / "text.ttf"
    text_file.write_text("no font")
    for font, why in ((tmp_path / "missing.ttf", "cannot be read"), (text_file, "cannot be read")):
        with pytest.raises(ConfigError, match=f"{font.name} {why}"):
            CaptchaGenerator(replace(project.captcha, fonts=(ProjectPath(font),)))


def test_the_librarys_fonts_have_no_chinese_and_say_so(project):
    with pytest.raises(ConfigError, match="has no glyph for '验': name another font in 'fonts'"):
        CaptchaGenerator(replace(project.captcha, characters=tuple("a验")))


def test_font_that_lacks_characters_is_refused(project):
    config = replace(project.captcha, fonts=(ProjectPath(FONT),), characters=tuple("a验 码"))
    with pytest.raises(ConfigError, match="DroidSansMono.ttf has no glyph for '验' '码'"):
        CaptchaGenerator(config)


@pytest.mark.parametrize(
    "count", [30, MAX_WITHOUT_WORKERS + 50]
)  # in this process; by worker processes
def test_samples_follow_the_seed_and_leave_older_ones_alone(project, count):
    config = replace(project.captcha, count=count, height=12, width=20)
    folder = Path(config.root_dir)
    assert draw_samples(config, seed=5) == count
    first = names_in(folder)
    kept = {name: (folder / name).read_bytes() for name in first}
    assert draw_samples(config, seed=5) == count
    both = names_in(folder)
    assert len(both) == 2 * count
    assert all((folder / name).read_bytes() == data for name, data in kept.items())

    def labels(names):
        return sorted(label_of(name) for name in names)

    assert labels(set(both) - set(first)) == labels(first)
    generator, rng = CaptchaGenerator(config), random.Random(5)
    assert labels(first) == sorted(generator.random_text(rng) for _ in range(count))
    assert len({data for data in kept.values()}) == count, "workers drew the same pixels"
    for name in both:
        read_pixels(folder / name, CaptchaSpec(12, 20))


def test_interrupted_drawing_leaves_no_part_of_an_image(project, monkeypatch):
    drawn = []

    def interrupted(generator, image):
        drawn.append(image)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return b"whole"

    monkeypatch.setattr(CaptchaGenerator, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_samples(project.captcha)
    folder = Path(project.captcha.root_dir)
    assert len(names_in(folder)) == 3
    assert all((folder / name).read_bytes() == b"whole" for name in names_in(folder))


def test_characters_that_cannot_be_part_of_a_file_name_come_back_from_it(project):
    config = replace(project.captcha, characters=tuple('/_.%:"'), count=20)
    draw_samples(config, seed=0)
    labels = [label_of(name) for name in names_in(Path(config.root_dir))]
    assert len(labels) == 20 and {len(label) for label in labels} == {2}
    assert set("".join(labels)) == set(config.characters)


def test_file_in_the_way_of_the_folder_is_named(project, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(SampleError, match="cannot write images to .*file"):
        draw_samples(replace(project.captcha, root_dir=ProjectPath(blocked / "sub")))


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send Ctrl-C to one process group")
def test_ctrl_c_leaves_whole_images_and_no_traceback(project):
    folder = project.root / "many"
    command = [
        sys.executable,
        PROJECT_ROOT / "gen_image" / "gen_sample_by_captcha.py",
        "--config",
        project.captcha_config_path,
        "--count",
        "100000",
        "--root-dir",
        folder,
    ]
    running = subprocess.Popen(
        command,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while running.poll() is None and not (folder.is_dir() and len(os.listdir(folder)) > 20):
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal sends it: to parent and workers
    assert running.communicate() == ("", "interrupted\n")
    assert running.returncode == 130
    for name in names_in(folder):
        read_pixels(folder / name, SPEC)


def test_script_writes_and_says_where_and_what_next(project, capsys, monkeypatch):
    monkeypatch.chdir("/")
    assert (
        gen_sample_by_captcha.main(
            ["--config", str(project.captcha_config_path), "--count", "3", "--seed", "1"]
        )
        == 0
    )
    assert len(names_in(project.root / "sample" / "origin")) == 3
    assert capsys.readouterr().out == (
        "3 images written to sample/origin/\n"
        "next: python3 verify_and_split_data.py, with the config that has this folder as "
        "origin_image_dir or new_image_dir\n"
    )


def test_lengths_vary_between_the_two_counts(project):
    config = replace(project.captcha, min_char_count=1, char_count=3)
    generator = CaptchaGenerator(config)
    rng = random.Random(0)
    assert {len(generator.random_text(rng)) for _ in range(100)} == {1, 2, 3}
