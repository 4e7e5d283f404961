"""Draw the styles of practice captchas, one in each row, as readme_image/styles.png.

    python3 bench/style_gallery.py

Beside each stands how many fresh images its row of bench_training.py had right, where that is
measured.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image, ImageDraw, ImageFont

from bench.bench_training import OTHERS, RESULTS, ROWS, median_run
from cnnlib import console
from cnnlib.config import PROJECT_ROOT, STYLES, load_captcha_config, read_json
from cnnlib.files import replacing
from gen_image.generator import CaptchaGenerator
from gen_image.styles import FONT_DIR, PLAIN

PICTURE = PROJECT_ROOT / "readme_image" / "styles.png"
SHOWN, HEIGHT, WIDTH, GAP, NAME_WIDTH = 4, 60, 130, 8, 110


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    argparse.ArgumentParser(description=__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    rng, results = random.Random(0), read_json(RESULTS)
    rows = Image.new("RGB", (NAME_WIDTH + SHOWN * (WIDTH + GAP), len(STYLES) * (HEIGHT + GAP)),
                     "white")
    pen, font = ImageDraw.Draw(rows), ImageFont.truetype(str(FONT_DIR / PLAIN[0]), 16)
    for row, style in enumerate(STYLES):
        top = row * (HEIGHT + GAP)
        run = median_run(OTHERS.get(style, ROWS["20k"]), results)
        right = f"{run['right'] / run['fresh']:.1%}" if run else ""
        pen.text((4, top + HEIGHT / 2), f"{style}\n{right}", "black", font, anchor="lm")
        generator = CaptchaGenerator(load_captcha_config(style=style, width=WIDTH, height=HEIGHT))
        for column in range(SHOWN):
            image = generator.draw(generator.random_text(rng))
            image.thumbnail((WIDTH, HEIGHT))
            rows.paste(image, (NAME_WIDTH + column * (WIDTH + GAP),
                               top + (HEIGHT - image.height) // 2))
    with replacing(PICTURE) as temporary:
        rows.quantize(128).save(temporary, "PNG", optimize=True)
    console.say(f"written: {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
