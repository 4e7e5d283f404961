"""Measure whether images with small letters are better enlarged, on the same images.

    python3 bench/bench_small_letters.py [--images N] [--steps N] [--fresh N]

Draws images (1,000 to learn, 2,000 fresh ones) of four characters, shrinks them to letters of some
16 pixels on a canvas of 72x27, and trains (1,500 steps) on them as they are and enlarged to 120x45.
Changes nothing in the project.
"""

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image

from cnnlib import console
from cnnlib.config import CAPTCHA_CONFIG, load_captcha_config
from cnnlib.console import SilentReporter
from cnnlib.dataset.splitting import verify_and_split
from cnnlib.evaluation import TestBatch
from cnnlib.importing.labelled_folder import read_labelled_folder
from cnnlib.importing.project import Project
from cnnlib.paths import PROJECT_ROOT
from cnnlib.training import TrainModel
from gen_image.generator import draw_samples

DRAWN, SHRUNK, CANVAS, ENLARGED = (200, 60), (60, 18), (72, 27), (120, 45)
QUIET = SilentReporter()


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    for name, default in (("images", 1000), ("steps", 1500), ("fresh", 2000)):
        parser.add_argument(f"--{name}", type=console.at_least_one, default=default, metavar="N")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, count in (("learned", args.images), ("fresh", args.fresh)):
            draw(root / name, count)
        for size in (CANVAS, ENLARGED):
            measure(root, size, args.steps)
    return 0


def draw(folder: Path, count: int) -> None:
    """Draw images with small letters in the middle of a plain ground."""
    width, height = DRAWN
    captcha = PROJECT_ROOT / CAPTCHA_CONFIG
    draw_samples(
        load_captcha_config(captcha, root_dir=str(folder), count=count, width=width, height=height)
    )
    place = (CANVAS[0] - SHRUNK[0]) // 2, (CANVAS[1] - SHRUNK[1]) // 2
    for file in folder.glob("*.png"):
        with Image.open(file) as opened:
            image = opened.convert("RGB").resize(SHRUNK, Image.Resampling.LANCZOS)
        canvas = Image.new("RGB", CANVAS, image.getpixel((0, 0)))
        canvas.paste(image, place)
        canvas.save(file)


def measure(root: Path, size: tuple[int, int], steps: int) -> None:
    project = Project(f"{size[0]}x{size[1]}", root)
    _, seen = project.copy_images(read_labelled_folder(root / "learned"), None, QUIET)
    project.write_config(seen)
    width, height = size
    config = dataclasses.replace(
        project.config(cycle_stop=steps, acc_stop=1.0),
        image_width=width,
        image_height=height,
        resize="" if size == CANVAS else "pad",
    )
    verify_and_split(config, reporter=QUIET)
    seconds = TrainModel.from_config(config, reporter=QUIET).train_cnn().seconds
    test = TestBatch(root / "fresh", config.char_set, config.model_save_dir, reporter=QUIET)
    result = test.test_batch()
    console.say(
        f"{width}x{height}, letters of {seen.text_height * height / CANVAS[1]:.0f} pixels: "
        f"{result.image_accuracy:.1%} of {result.total} right, {seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
