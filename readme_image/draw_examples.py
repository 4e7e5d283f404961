"""Draw the row of example captchas at the top of README.

    python3 readme_image/draw_examples.py

Reads conf/captcha_config.json; writes readme_image/captchas.png.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image

from cnnlib import console
from cnnlib.config import CAPTCHA_CONFIG, load_captcha_config
from cnnlib.files import replacing
from cnnlib.paths import PROJECT_ROOT
from gen_image.generator import CaptchaGenerator

PICTURE = PROJECT_ROOT / "readme_image" / "captchas.png"
COLUMNS, GAP = 6, 8


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    console.parser(__doc__).parse_args(argv)
    generator = CaptchaGenerator(load_captcha_config(PROJECT_ROOT / CAPTCHA_CONFIG))
    width, height = generator.config.width, generator.config.height
    row = Image.new("RGB", (COLUMNS * (width + GAP) - GAP, height), "white")
    rng = random.Random(0)
    for column in range(COLUMNS):
        row.paste(generator.draw(generator.random_text(rng)), (column * (width + GAP), 0))
    with replacing(PICTURE) as temporary:
        row.save(temporary, "PNG", optimize=True)
    console.say(f"written: {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
