"""The one generator of practice captchas: for the script, the captcha server and the tests."""

from __future__ import annotations

import functools
import io
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

from PIL import Image

from cnnlib.config import CaptchaConfig
from cnnlib.console import CONSOLE, Reporter
from cnnlib.cores import usable_cores
from cnnlib.dataset.labels import file_name
from cnnlib.errors import ConfigError, SampleError
from cnnlib.files import reason, store_image
from cnnlib.packages import importing, require
from gen_image import styles, typefaces

with importing("captcha"):
    from captcha.image import DEFAULT_FONTS, ImageCaptcha

PYCAPT_STYLE = "pycapt"
FULL_HEIGHT, FULL_AREA = 60, 100 * 60  # from this size on the library draws as it is
FONT_SIZES = (42, 50, 56)  # the library's own
NOISE_DOTS = 30  # the library's own
IMAGES_PER_TASK = 50  # of a worker: about 0.3 s, which is how long Ctrl-C may take
MAX_WITHOUT_WORKERS = 200  # images, drawn sooner than workers start


class CaptchaGenerator:
    """Draw captchas by a config.

    Raises ConfigError where a font cannot be read or lacks one of the config's characters, or the
    style's library is not installed.
    """

    def __init__(self, config: CaptchaConfig) -> None:
        self.config = config
        fonts = [os.fspath(font) for font in config.fonts]
        style = styles.STYLES.get(config.style)  # None: that of a library, captcha or pycapt
        if config.style == PYCAPT_STYLE:
            fonts = fonts or [styles.PYCAPT_FONT]
        if style and not fonts:
            fonts = style.default_fonts(config.characters)
            if not fonts:
                raise ConfigError(
                    "no font on this machine has all of the characters: name one in 'fonts'"
                )
        for font in fonts or DEFAULT_FONTS:
            _check_font(font, config.characters)
        self._cases = style.cases if style else False
        self._draw = self._drawing(style, fonts)

    def _drawing(
        self, style: styles.Style | None, fonts: list[str]
    ) -> Callable[[str], Image.Image]:
        """Return what draws a text."""
        width, height = self.config.width, self.config.height
        if style is not None:
            return lambda text: styles.draw(style, text, width, height, fonts)
        if self.config.style == PYCAPT_STYLE:
            require("pycapt")
            return lambda text: styles.draw_pycapt(text, width, height, fonts)
        library = _ScaledCaptcha(width, height, fonts)
        library.truefonts  # noqa: B018 - the library loads its fonts at the first access
        return library.generate_image

    def random_text(self, rng: random.Random) -> str:
        """Return characters, each drawn independently of the others; any length is as likely.

        In a style with `cases`, some texts are all in upper or all in lower case.
        """
        characters = self.config.characters
        if self._cases:
            other = rng.choice((str.isupper, str.islower, lambda _: False))
            characters = tuple(c for c in characters if not other(c)) or characters
        count = rng.randint(self.config.min_char_count, self.config.char_count)
        return "".join(rng.choices(characters, k=count))

    def draw(self, text: str) -> Image.Image:
        """Return an RGB image; the same text looks different each time.

        It has the config's size, but in a style whose text sets the width.
        """
        return self._draw(text)

    def encode(self, image: Image.Image) -> bytes:
        """Return the bytes of a file with the config's suffix."""
        file = io.BytesIO()
        kind = Image.registered_extensions()[f".{self.config.image_suffix}"]
        # An icon would hold copies of some usual sizes.
        image.save(file, kind, **({"sizes": [image.size]} if kind == "ICO" else {}))
        return file.getvalue()


class _ScaledCaptcha(ImageCaptcha):
    """The library's drawing, with smaller letters and fewer dots on images below 100x60.

    It has fixed sizes for both, which leave no letter whole and readable on a small image.
    """

    def __init__(self, width: int, height: int, fonts: list[str]) -> None:
        scale = min(1.0, height / FULL_HEIGHT)
        sizes = tuple(max(6, round(size * scale)) for size in FONT_SIZES)
        super().__init__(width, height, fonts or None, sizes)
        self._dots = round(NOISE_DOTS * min(1.0, width * height / FULL_AREA))

    def create_noise_dots(  # type: ignore[override]  # static there, but called on the instance
        self, image: Image.Image, color: Any, width: int = 3, number: int = NOISE_DOTS
    ) -> Image.Image:
        return ImageCaptcha.create_noise_dots(image, color, width, min(number, self._dots))


def _check_font(font: str | os.PathLike[str], characters: Sequence[str]) -> None:
    try:
        missing = typefaces.lacking(os.fspath(font), characters)
    except OSError as error:
        raise ConfigError(
            f"font {font} cannot be read ({error}): name an existing TrueType or "
            "OpenType file in 'fonts'"
        ) from error
    if missing:
        raise ConfigError(
            f"font {font} has no glyph for {' '.join(map(repr, missing[:10]))}: "
            "name another font in 'fonts' or remove these from 'characters'"
        )


def draw_samples(
    config: CaptchaConfig, seed: int | None = None, reporter: Reporter = CONSOLE
) -> int:
    """Draw `count` labelled captchas into `root_dir` on all cores; return how many were written.

    The seed decides the texts and their order, not the pixels; None takes other texts each time.
    Files that are there already stay as they are. Ctrl-C leaves only whole images behind.
    """
    generator = CaptchaGenerator(config)
    rng = random.Random(seed)
    texts = [generator.random_text(rng) for _ in range(config.count)]
    chunks = [
        texts[start : start + IMAGES_PER_TASK] for start in range(0, len(texts), IMAGES_PER_TASK)
    ]
    try:
        os.makedirs(config.root_dir, exist_ok=True)
        with (
            reporter.progress(range(0), "drawing", config.count) as bar,
            _written(generator, chunks) as counts,
        ):
            for count in counts:
                bar.update(count)
    except OSError as error:
        raise SampleError(
            f"cannot write images to {config.root_dir} ({os.fspath(config.root_dir)}): "
            f"{reason(error)}; free some space, make the folder writable, or name "
            "another one"
        ) from error
    return len(texts)


@contextmanager
def _written(generator: CaptchaGenerator, chunks: list[list[str]]) -> Iterator[Iterator[int]]:
    """Give the numbers of images written, chunk by chunk as they are done."""
    if len(chunks) * IMAGES_PER_TASK <= MAX_WITHOUT_WORKERS:
        yield map(functools.partial(_write, generator), chunks)
        return
    # Workers are started afresh: forking is unsafe with threads and unknown on Windows, and
    # captcha before 0.7 would draw the same random noise in every forked worker.
    pool = ProcessPoolExecutor(
        usable_cores(), multiprocessing.get_context("spawn"), _start_worker, (generator.config,)
    )
    try:
        with _interrupts_held():  # while workers start, which would answer Ctrl-C with tracebacks
            results = pool.map(_write_in_worker, chunks)
        yield results
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ignore Ctrl-C; what is started meanwhile ignores it for good."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change how signals are answered, and gets them
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


_worker: CaptchaGenerator | None = None  # the generator of this worker process


def _start_worker(config: CaptchaConfig) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers it and ends the workers
    threading.Thread(target=end_with_parent, daemon=True).start()
    _worker = CaptchaGenerator(config)


def end_with_parent() -> None:
    """Wait, in a worker, until the process that started it has ended, and end too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # killed or crashed; without this the workers would wait for work for ever


def _write_in_worker(texts: Sequence[str]) -> int:
    assert _worker is not None, "the pool calls _start_worker first"
    return _write(_worker, texts)


def _write(generator: CaptchaGenerator, texts: Sequence[str]) -> int:
    """Write one image of each text."""
    for text in texts:
        name = file_name(text, generator.config.image_suffix)
        store_image(generator.encode(generator.draw(text)), generator.config.root_dir, name)
    return len(texts)
