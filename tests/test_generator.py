"""Practice data: what gen_image/ draws, writes and collects."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import captcha
import numpy as np
import pytest
from PIL import Image

from bench.chinese import CHINESE_FONT, COMMON_CHINESE
from cnnlib import encoding
from cnnlib.config import PROJECT_ROOT, STYLES, ProjectPath
from cnnlib.encoding import InputFormat
from cnnlib.errors import ConfigError, SampleError
from gen_image import collect_labels, gen_sample_by_captcha, styles
from gen_image.generator import ALONE, CaptchaGenerator, draw_samples

FONT = Path(captcha.__file__).parent / "data" / "DroidSansMono.ttf"


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.mark.parametrize(("suffix", "kind"), [
    ("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("gif", "GIF"), ("bmp", "BMP"),
    ("webp", "WEBP"),
])
def test_every_accepted_suffix_is_drawn_and_read_back(project, suffix, kind):
    generator = CaptchaGenerator(replace(project.captcha, image_suffix=suffix))
    image = generator.draw("01")
    assert (image.mode, image.size) == ("RGB", (40, 24))
    data = generator.encode(image)
    with Image.open(io.BytesIO(data)) as decoded:
        assert decoded.format == kind
    pixels = InputFormat(40, 24).read(data)
    difference = pixels.astype(int) - np.array(encoding.flat(image))
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


def test_fonts_of_the_config_are_used(project):
    config = replace(project.captcha, fonts=(ProjectPath(FONT),))
    assert CaptchaGenerator(config).draw("01").size == (40, 24)


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


@pytest.mark.parametrize("count", [30, ALONE + 50])  # in this process; by worker processes
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
        return sorted(encoding.label_of(name) for name in names)

    assert labels(set(both) - set(first)) == labels(first)
    generator, rng = CaptchaGenerator(config), random.Random(5)
    assert labels(first) == sorted(generator.random_text(rng) for _ in range(count))
    assert len({data for data in kept.values()}) == count, "workers drew the same pixels"
    for name in both:
        InputFormat(20, 12).read(folder / name)


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


def test_characters_that_no_file_name_bears_come_back_from_it(project):
    config = replace(project.captcha, characters=tuple('/_.%:"'), count=20)
    draw_samples(config)
    labels = [encoding.label_of(name) for name in names_in(Path(config.root_dir))]
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
    command = [sys.executable, PROJECT_ROOT / "gen_image" / "gen_sample_by_captcha.py", "--config",
               project.captcha_config_path, "--count", "100000", "--root-dir", folder]
    running = subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
    while running.poll() is None and not (folder.is_dir() and len(os.listdir(folder)) > 20):
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal sends it: to parent and workers
    assert running.communicate() == ("", "interrupted\n")
    assert running.returncode == 130
    for name in names_in(folder):
        InputFormat(40, 24).read(folder / name)


def test_script_writes_and_says_where_and_what_next(project, capsys, monkeypatch):
    monkeypatch.chdir("/")
    assert gen_sample_by_captcha.main(
        ["--config", str(project.captcha_config_path), "--count", "3", "--seed", "1"]) == 0
    assert len(names_in(project.root / "sample" / "origin")) == 3
    assert capsys.readouterr().out == (
        "3 images written to sample/origin/\n"
        "next: python3 verify_and_split_data.py, with the config that has this folder as "
        "origin_image_dir or new_image_dir\n")


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def collect(project, *options):
    return collect_labels.main([*map(str, options), "--config", str(project.config_path)])


def test_labels_keep_their_place_and_new_ones_follow(project, capsys):
    origin, labels = project.root / "sample" / "origin", project.root / "gen_image" / "labels.json"
    project.change(use_labels_json_file=True, char_set="")  # as it is before the first list
    touch(origin, "验b_1.png", "码a_2.JPG", ".DS_Store", "notes.txt", "x.png")
    assert collect(project) == 0
    first = list(project.sample.char_set)
    assert first == sorted("验码ab")
    assert "验" in labels.read_text(encoding="utf-8")
    assert capsys.readouterr().out.startswith(
        f"4 characters in {labels}, 4 of them new ab码验\n3 files were no labelled images\n")
    touch(project.root / "sample" / "train", "0b_3.png")
    (origin / "验b_1.png").unlink()
    assert collect(project) == 0
    assert list(project.sample.char_set) == [*first, "0"]


def test_labels_of_named_folders_go_to_the_named_file(project, tmp_path):
    touch(project.root / "sample" / "origin", "zz_1.png")
    touch(tmp_path / "a b", "ba_1.png")
    assert collect(project, tmp_path / "a b", "--output", tmp_path / "out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == ["a", "b"]
    assert names_in(tmp_path) == ["a b", "out.json", "project"]


@pytest.mark.parametrize("listed", ["[", '["ab"]', "{}"])
def test_damaged_list_is_refused_and_kept(project, capsys, listed):
    labels = project.root / "gen_image" / "labels.json"
    touch(project.root / "sample" / "origin", "zz_1.png")
    labels.parent.mkdir()
    labels.write_text(listed, encoding="utf-8")
    assert collect(project) == 2
    assert "labels.json" in capsys.readouterr().err
    assert labels.read_text(encoding="utf-8") == listed


def test_nothing_to_collect_is_an_error(project, capsys):
    assert collect(project) == 2
    assert "cannot be read" in capsys.readouterr().err
    touch(project.root / "sample" / "origin", "README.md")
    assert collect(project) == 2
    assert "no labelled image in" in capsys.readouterr().err
    assert not (project.root / "gen_image").exists()


# --- styles ---


def test_the_styles_are_those_that_a_config_may_name():
    assert ("captcha", *styles.STYLES, "pycapt") == STYLES


def test_library_of_a_style_is_named_where_it_is_missing(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycapt", None)
    with pytest.raises(ConfigError, match="pip install -r requirements-practice.txt"):
        CaptchaGenerator(replace(project.captcha, style="pycapt"))
    assert (PROJECT_ROOT / "requirements-practice.txt").exists()


@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws_new_images_of_a_text(project, style):
    config = replace(project.captcha, style=style, width=100, height=60, characters=tuple("ab"))
    generator = CaptchaGenerator(config)
    first, again = generator.draw("ab"), generator.draw("ab")
    assert first.mode == "RGB" and first.height == 60 and first.tobytes() != again.tobytes()
    assert style == "strip" or first.size == (100, 60)


@pytest.mark.parametrize("style", styles.STYLES)
def test_every_style_draws_what_it_is_told(style):
    drawn = [styles.draw(styles.STYLES[style], text, 100, 60, (), random.Random(1)).convert("L")
             for text in ("ab", "mm")]
    assert drawn[0].size == drawn[1].size and drawn[0].tobytes() != drawn[1].tobytes()
    contrast = np.ptp(np.asarray(drawn[0]))
    assert contrast > 60


def test_pycapt_draws_the_text_that_it_is_told():
    drawn = {text: np.asarray(styles.draw_pycapt(text, 160, 40, [styles.PYCAPT_FONT])) < 128
             for text in ("....", "mmmm")}
    assert 0 < drawn["...."].sum() < drawn["mmmm"].sum() / 5
    assert not drawn["mmmm"][:, :4].any()  # no letter is cut


@pytest.mark.parametrize(("width", "height"), [(20, 12), (300, 20), (30, 120)])
def test_styles_draw_odd_sizes(width, height):
    assert styles.draw_pycapt("0123", width, height, [styles.PYCAPT_FONT]).size == (width, height)
    for style in styles.STYLES.values():
        image = styles.draw(style, "0123", width, height)
        assert image.height == height and (image.width == width or style.advance[0])


def test_lengths_vary_between_the_two_counts(project):
    config = replace(project.captcha, min_char_count=1, char_count=3)
    generator = CaptchaGenerator(config)
    rng = random.Random(0)
    assert {len(generator.random_text(rng)) for _ in range(100)} == {1, 2, 3}


def test_strips_are_as_wide_as_their_texts(project):
    config = replace(project.captcha, style="strip", height=80, characters=tuple("abc"))
    widths = [CaptchaGenerator(config).draw("abcabc").width for _ in range(30)]
    assert min(widths) >= 6 * 30 and max(widths) <= 6 * 90 and len(set(widths)) > 10


@pytest.mark.skipif(not Path(CHINESE_FONT).exists(), reason=f"no {CHINESE_FONT}: install Debian's "
                                                            "fonts-wqy-microhei")
@pytest.mark.parametrize("style", STYLES)
def test_chinese_characters_are_drawn_with_a_font_that_has_them(project, style):
    assert len(set(COMMON_CHINESE)) == 500
    config = replace(project.captcha, characters=tuple(COMMON_CHINESE), style=style, width=120,
                     height=60, fonts=(ProjectPath(CHINESE_FONT),), count=3)
    draw_samples(config)
    labels = [encoding.label_of(name) for name in names_in(config.root_dir)]
    assert len(labels) == 3 and all(set(label) <= set(COMMON_CHINESE) for label in labels)
