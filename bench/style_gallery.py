"""Draw the styles of practice captchas, one in each row, as readme_image/styles.png.

    python3 bench/style_gallery.py

Next to each is the share of fresh images that its row of bench_training.py had right, where that is
measured.
"""

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image, ImageDraw, ImageFont

from bench.lib.results import read_results
from bench.lib.rows import OTHERS, ROWS
from bench.lib.training_tables import RESULTS, median_run
from cnnlib import console
from cnnlib.config import CAPTCHA_CONFIG, STYLE_NAMES, load_captcha_config
from cnnlib.files import replacing
from cnnlib.paths import PROJECT_ROOT
from gen_image.generator import CaptchaGenerator
from gen_image.styles import FONT_DIR, PLAIN

PICTURE = PROJECT_ROOT / "readme_image" / "styles.png"
COLUMNS, HEIGHT, WIDTH, GAP, NAME_WIDTH = 4, 60, 130, 8, 110
FONT_SIZE, COLOURS = 16, 128


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    console.parser(__doc__).parse_args(argv)
    rng, results = random.Random(0), read_results(RESULTS)
    size = (NAME_WIDTH + COLUMNS * (WIDTH + GAP), len(STYLE_NAMES) * (HEIGHT + GAP))
    gallery = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(gallery), ImageFont.truetype(str(FONT_DIR / PLAIN[0]), FONT_SIZE)
    for row, style in enumerate(STYLE_NAMES):
        top = row * (HEIGHT + GAP)
        caption = f"{style}\n{accuracy(style, results)}"
        pen.text((4, top + HEIGHT / 2), caption, "black", font, anchor="lm")
        draw_style(gallery, style, top, rng)
    with replacing(PICTURE) as temporary:
        gallery.quantize(COLOURS).save(temporary, "PNG", optimize=True)
    console.say(f"written: {PICTURE}")
    return 0


def accuracy(style: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    run = median_run(OTHERS.get(style, ROWS["20k"]), results)
    return f"{run['right'] / run['fresh']:.1%}" if run else ""


def draw_style(gallery: Image.Image, style: str, top: int, rng: random.Random) -> None:
    """Draw one row of examples, at a distance from the top of the gallery."""
    config = load_captcha_config(
        PROJECT_ROOT / CAPTCHA_CONFIG, style=style, width=WIDTH, height=HEIGHT
    )
    generator = CaptchaGenerator(config)
    for column in range(COLUMNS):
        image = generator.draw(generator.random_text(rng))
        image.thumbnail((WIDTH, HEIGHT))
        left = NAME_WIDTH + column * (WIDTH + GAP)
        gallery.paste(image, (left, top + (HEIGHT - image.height) // 2))


if __name__ == "__main__":
    sys.exit(main())
