"""Styles of practice captchas."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager

from bench.lib.chinese import CHINESE_FONT, COMMON_CHINESE
from cnnlib.config import STYLE_NAMES
from cnnlib.dataset.labels import label_of
from cnnlib.errors import ConfigError
from cnnlib.paths import PROJECT_ROOT, ProjectPath
from gen_image import styles, typefaces
from gen_image.generator import CaptchaGenerator, draw_samples
from tests.helpers import names_in


def test_the_styles_are_those_that_a_config_may_name():
    assert ("captcha", *styles.STYLES, "pycapt") == STYLE_NAMES


def test_library_of_a_style_is_named_where_it_is_missing(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycapt", None)
    with pytest.raises(ConfigError, match="pip install -r requirements-practice.txt"):
        CaptchaGenerator(replace(project.captcha, style="pycapt"))
    assert (PROJECT_ROOT / "requirements-practice.txt").exists()


@pytest.mark.parametrize("style", STYLE_NAMES)
def test_every_style_draws_new_images_of_a_text(project, style):
    config = replace(project.captcha, style=style, width=100, height=60, characters=tuple("ab"))
    generator = CaptchaGenerator(config)
    first, again = generator.draw("ab"), generator.draw("ab")
    assert first.mode == "RGB" and first.height == 60 and first.tobytes() != again.tobytes()
    assert style in ("strip", "scattered") or first.size == (100, 60)


@pytest.mark.parametrize("style", styles.STYLES)
def test_every_style_draws_the_text_it_is_given(style):
    drawn = [
        styles.draw(styles.STYLES[style], text, 100, 60, (), random.Random(1)).convert("L")
        for text in ("ab", "mm")
    ]
    assert drawn[0].size == drawn[1].size and drawn[0].tobytes() != drawn[1].tobytes()
    contrast = np.ptp(np.asarray(drawn[0]))
    assert contrast > 60


def test_pycapt_draws_the_text_it_is_given():
    drawn = {
        text: np.asarray(styles.draw_pycapt(text, 160, 40, [styles.PYCAPT_FONT])) < 128
        for text in ("....", "mmmm")
    }
    assert 0 < drawn["...."].sum() < drawn["mmmm"].sum() / 5
    assert not drawn["mmmm"][:, :4].any()  # no letter is cut


@pytest.mark.parametrize(("width", "height"), [(20, 12), (300, 20), (30, 120)])
def test_styles_draw_odd_sizes(width, height):
    assert styles.draw_pycapt("0123", width, height, [styles.PYCAPT_FONT]).size == (width, height)
    for style in styles.STYLES.values():
        image = styles.draw(style, "0123", width, height)
        assert image.height == height and (image.width == width or style.advance[0])


def test_strips_are_as_wide_as_their_texts(project):
    config = replace(project.captcha, style="strip", height=80, characters=tuple("abc"))
    widths = [CaptchaGenerator(config).draw("abcabc").width for _ in range(30)]
    assert min(widths) >= 6 * 30 and max(widths) <= 6 * 90 and len(set(widths)) > 10


def test_scattered_texts_stand_anywhere_in_images_of_any_width(project):
    config = replace(project.captcha, style="scattered", height=80, characters=tuple("abcAB12"))
    generator = CaptchaGenerator(config)
    widths, lefts, rights = [], [], []
    for _ in range(60):
        image = generator.draw("abc")
        pixels = np.asarray(image).astype(int)
        letters = np.flatnonzero((np.ptp(pixels, axis=-1) > 60).any(axis=0))  # lines are black
        widths.append(image.width)
        if len(letters) > 10:
            lefts.append(letters.min() / image.width)
            rights.append(letters.max() / image.width)
    assert 140 <= min(widths) < 300 and 600 < max(widths) <= 780
    assert min(lefts) < 0.2 < 0.5 < max(lefts) and min(rights) < 0.5 < 0.8 < max(rights)


def test_scattered_texts_are_in_one_case_or_in_both(project):
    config = replace(project.captcha, style="scattered", characters=tuple("abcdABCD12"))
    generator, rng = CaptchaGenerator(replace(config, char_count=8)), random.Random(1)
    texts = [generator.random_text(rng) for _ in range(90)]
    kinds = [(any(map(str.isupper, text)), any(map(str.islower, text))) for text in texts]
    assert all(kinds.count(kind) >= 15 for kind in ((True, True), (True, False), (False, True)))


def test_any_typeface_that_has_the_characters_is_found(monkeypatch):
    everywhere = font_manager.findSystemFonts()
    few = everywhere[:: 1 + len(everywhere) // 100]  # some machines have a thousand: 8 seconds
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: few)
    monkeypatch.setattr(typefaces, "_found", typefaces._found.__wrapped__)  # not what is cached
    found = typefaces.found_typefaces()
    assert len(found) == len(set(found)) >= 10 and found == sorted(
        found, key=lambda file: Path(file).name
    )
    assert not [
        f for f in found if Path(f).name in ("STIXSizOneSymReg.ttf", "cmex10.ttf", "cmsy10.ttf")
    ]
    assert len(typefaces.found_typefaces(at_most=5)) == 5
    assert typefaces.found_typefaces("\U0010fffe") == []


def test_style_for_which_no_typeface_has_the_characters_says_so(project, monkeypatch):
    monkeypatch.setattr(typefaces, "found_typefaces", lambda *_: [])
    config = replace(project.captcha, style="scattered")
    with pytest.raises(ConfigError, match="no font on this machine has all of the characters"):
        CaptchaGenerator(config)


@pytest.mark.skipif(
    not Path(CHINESE_FONT).exists(),
    reason=f"no {CHINESE_FONT}: install Debian's fonts-wqy-microhei",
)
@pytest.mark.parametrize("style", STYLE_NAMES)
def test_chinese_characters_are_drawn_with_a_font_that_has_them(project, style):
    assert len(set(COMMON_CHINESE)) == 500
    config = replace(
        project.captcha,
        characters=tuple(COMMON_CHINESE),
        style=style,
        width=120,
        height=60,
        fonts=(ProjectPath(CHINESE_FONT),),
        count=3,
    )
    draw_samples(config)
    labels = [label_of(name) for name in names_in(config.root_dir)]
    assert len(labels) == 3 and all(set(label) <= set(COMMON_CHINESE) for label in labels)
