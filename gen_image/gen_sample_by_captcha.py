"""Draw practice captchas, in the style of the `captcha` library or another, named after their text.

    python3 gen_image/gen_sample_by_captcha.py [--config conf/captcha_config.json] [--count N]
                                               [--root-dir FOLDER] [--seed N]

Reads the config: how many, how long, how large, which characters, fonts and style. Writes images
named label_serial.suffix into root_dir, next to those that are there; --root-dir names another
folder, from the working directory. The seed decides the texts; the pixels are different each time.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cnnlib import console
from cnnlib.config import CAPTCHA_CONFIG, load_captcha_config
from cnnlib.paths import resolve_output_path


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, CAPTCHA_CONFIG)
    parser.add_argument("--count", type=int, metavar="N", help="images to draw")
    parser.add_argument(
        "--root-dir", metavar="FOLDER", type=resolve_output_path, help="where to put them"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="same seed, same texts")
    args = parser.parse_args(argv)
    from gen_image.generator import draw_samples  # its libraries are not in every installation

    config = load_captcha_config(args.config, count=args.count, root_dir=args.root_dir)
    written = draw_samples(config, args.seed)
    console.say(f"{written} images written to {config.root_dir}")
    console.say(
        "next: python3 verify_and_split_data.py, with the config that has this folder as "
        "origin_image_dir or new_image_dir"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
