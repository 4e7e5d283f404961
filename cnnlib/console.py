"""What the scripts show: the Chinese lines of version 2, word for word, and progress bars.

The lines (docs/en/version-2.md) are returned as text; a Reporter prints them. Lines go to stdout,
progress and warnings to stderr, progress only on a terminal.
"""

from __future__ import annotations

import argparse
import errno
import functools
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, TypeVar

from cnnlib.errors import CaptchaError

if TYPE_CHECKING:
    from tqdm import tqdm  # loaded when something is shown: a recogniser in a program needs none

T = TypeVar("T")
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

WRONG_SUFFIX = "文件后缀不正确"
WRONG_NAME = "图片标签异常"
WRONG_LENGTH = "标签长度不正确"
WRONG_CHARACTERS = "标签含有字符集以外的字符"
UNREADABLE = "图片无法正常打开"
WRONG_SIZE = "图片尺寸不正确"
SPLIT_STARTS = "开始分离原始图片集为：测试集（5%）和训练集（95%）"


# --- scripts ---


def script(main: Callable[..., int]) -> Callable[..., int]:
    """Make a script's `main` print in UTF-8 and answer a CaptchaError with one line and exit 2."""

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        _prepare_streams()
        try:
            return _exit_code(main, argv)
        except OSError as error:
            if not is_output_gone(error):
                raise
            _leave_streams(error)
            return EXIT_INTERRUPTED

    return run


def _exit_code(main: Callable[..., int], argv: Sequence[str] | None) -> int:
    try:
        return main(argv)
    except CaptchaError as error:
        warn(f"error: {error}")
        return EXIT_ERROR
    except (KeyboardInterrupt, ImportError) as error:
        # A compiled library makes an ImportError of Ctrl-C while it loads.
        if not any(isinstance(e, KeyboardInterrupt) for e in (error, error.__cause__)):
            raise
        warn("interrupted")
        return EXIT_INTERRUPTED


def _prepare_streams() -> None:
    """Make both streams print in UTF-8; those that are closed, or of no console, print nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _leave_streams(error: OSError) -> None:
    """Say on stderr why stdout cannot be printed to any more; then print nowhere."""
    if isinstance(error, OutputError):
        with suppress(OSError):
            warn(f"error: {error.strerror}")
    for stream in (sys.stdout, sys.stderr):  # or they would complain at exit
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class OutputError(OSError):
    """What is printed cannot be written, as on a full disk."""


def is_output_gone(error: OSError) -> bool:
    """Return whether nobody can read any more what is printed.

    A pipe to `head` has ended, a terminal is closed, or the disk of a log is full.
    """
    return isinstance(error, (BrokenPipeError, OutputError)) or error.errno == errno.EIO


def parser(manual: str | None, config: str = "") -> argparse.ArgumentParser:
    """Return a script's parser: its docstring is the manual.

    `config` adds the option --config, with this default.
    """
    options = argparse.ArgumentParser(
        description=manual, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if config:
        options.add_argument(
            "--config", default=config, metavar="FILE", help=f"(default: {config})"
        )
    return options


def add_runtime(
    options: argparse.ArgumentParser,
    names: Sequence[str],
    meaning: str = "what recognises (default: as the config says)",
) -> None:
    """Add the option --runtime, which replaces the key of this name."""
    options.add_argument("--runtime", choices=names, help=meaning)


def at_least_one(text: str) -> int:
    """Read an option that counts something; argparse shows the error."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


# --- output ---


def say(text: str = "") -> None:
    """Print one or several lines to stdout, above any progress bar; raises OutputError."""
    _write(text, sys.stdout)


def warn(text: str) -> None:
    """Print one or several lines to stderr, above any progress bar; raises OutputError."""
    _write(text, sys.stderr)


def _write(text: str, stream: TextIO) -> None:
    from tqdm import tqdm

    try:
        tqdm.write(_printable(text), file=stream)
        stream.flush()
    except OSError as error:
        if is_output_gone(error):
            raise
        raise OutputError(error.errno, f"cannot print: {error.strerror}") from error


def _printable(text: str) -> str:
    """Escape bytes of file names that are not text, which no stream could print."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def examples(names: Sequence[str], most: int = 3, separator: str = ", ") -> str:
    """Return the first of some names as one text, which says how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def progress(
    items: Iterable[T], title: str, total: int | None = None, unit: str = "image"
) -> tqdm[T]:
    """Wrap items in a progress bar; without a terminal nothing is shown."""
    from tqdm import tqdm

    return tqdm(
        items,
        desc=title,
        total=total,
        unit=unit,
        disable=None,
        file=sys.stderr,
        leave=False,
        dynamic_ncols=True,
    )


class Reporter:
    """Where the library reports what it does: the console. Override its methods to send it on.

    `say` and `warn` get one or several lines. `progress` returns the items, wrapped in a tqdm or
    what has its interface: iterable, a context manager, `update(count)`, `n`, `set_postfix_str`.
    """

    def say(self, text: str = "") -> None:
        say(text)

    def warn(self, text: str) -> None:
        warn(text)

    def progress(
        self, items: Iterable[T], title: str, total: int | None = None, unit: str = "image"
    ) -> tqdm[T]:
        return progress(items, title, total, unit)


class SilentReporter(Reporter):
    """Reports nothing: for programs that use what the library returns."""

    def say(self, text: str = "") -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    def progress(
        self, items: Iterable[T], title: str, total: int | None = None, unit: str = "image"
    ) -> tqdm[T]:
        from tqdm import tqdm

        return tqdm(items, disable=True)


CONSOLE = Reporter()


def say_if_heard(reporter: Reporter, text: str) -> None:
    """Report what matters less than going on; nobody may read any more."""
    with suppress(OSError):
        reporter.say(text)


# --- the lines of version 2 ---


def verification_starts(folder: object) -> str:
    return f">>> 开始校验目录：[{folder}]"


def folder_created(folder: object) -> str:
    return f"【警告】找不到目录{folder}，即将创建"


def verification_counts(total: int) -> str:
    return f"开始校验原始图片集\n原始集共有图片: {total}张"


def verification_result(bad_images: Sequence[tuple[int, str, str]], total: int) -> str:
    return "\n".join(
        [
            f"====以下{len(bad_images)}张图片有异常====",
            *(f"[第{index}张图片] [{name}] [{reason}]" for index, name, reason in bad_images),
            *([] if bad_images else [f"未发现异常（共 {total} 张图片）"]),
            "========end",
        ]
    )


def split_result(test_count: int, train_count: int, left_count: int) -> str:
    return (
        f"共分配{test_count + train_count}张图片到训练集和测试集，"
        f"其中{left_count}张为异常留在原始目录\n"
        f"测试集数量为：{test_count}\n"
        f"训练集数量为：{train_count}"
    )


STEP_LINE = re.compile(r"第(\d+)次训练 >>> ")


def training_step(step: int) -> str:
    return f"第{step}次训练 >>> "


def training_scores(which: str, char_accuracy: float, image_accuracy: float, loss: float) -> str:
    """Return the scores of one set; `which` is "训练集" (training) or "验证集" (validation)."""
    return (
        f"[{which}] 字符准确率为 {char_accuracy:.5f} 图片准确率为 {image_accuracy:.5f} "
        f">>> loss {loss:.10f}"
    )


def batch_test_result(count: int, seconds: float, image_accuracy: float) -> str:
    return f"{count}个样本识别耗时{seconds}秒，准确率{round(image_accuracy * 100, 4)}%"


def time_test_line(
    serial: int, value: str, clock: str, total_ms: int, recognize_ms: int, request_ms: int
) -> str:
    return (
        f"{serial},{value},{clock},总耗时：{total_ms}ms,识别：{recognize_ms}ms,请求：{request_ms}ms"
    )
