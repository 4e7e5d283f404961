"""Pictures of measurements, drawn off screen: no window, no state shared between two plots."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnlib.files import replacing
from cnnlib.packages import importing
from cnnlib.paths import AnyPath

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "AR PL UMing CN",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Heiti TC",
)


def box_plot(
    columns: Mapping[str, Sequence[float]], path: AnyPath, *, title: str = "", unit: str = ""
) -> None:
    """Draw one box a column: quartiles, median, whiskers to the 1st and 99th percentile.

    The dashed line is the mean. The PNG at `path` is replaced as a whole.
    """
    figure = _new_figure(8, 5)
    axes = figure.add_subplot()
    axes.boxplot(
        list(columns.values()),
        whis=(1, 99),
        showmeans=True,
        meanline=True,
        flierprops={"markersize": 2},
    )
    axes.set_xticks(range(1, len(columns) + 1), list(columns))
    axes.set(title=title, ylabel=unit)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    save_png(figure, path)


def line_plot(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    path: AnyPath,
    *,
    x_label: str,
    y_label: str,
) -> None:
    """Draw lines over the same x, from 0 to 1; the PNG at `path` is replaced as a whole."""
    figure = _new_figure(8, 5)
    axes = figure.add_subplot()
    for name, y in lines.items():
        axes.plot(x, y, label=name, linewidth=1)
    axes.set(xlabel=x_label, ylabel=y_label, ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_png(figure, path)


def dot_plot(
    x: Sequence[float], y: Sequence[float], path: AnyPath, *, title: str, x_label: str, y_label: str
) -> None:
    """Draw a dot for each value, and their median over twentieths of x as a line."""
    figure = _new_figure(8, 5)
    axes = figure.add_subplot()
    axes.plot(x, y, ".", markersize=2, alpha=0.5)
    order = np.argsort(x)
    parts = [part for part in np.array_split(order, 20) if len(part)]
    axes.plot(
        [np.median(np.take(x, part)) for part in parts],
        [np.median(np.take(y, part)) for part in parts],
        label="median",
    )
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    save_png(figure, path)


def image_plot(pixels: np.ndarray, path: AnyPath, *, title: str) -> None:
    """Draw pixels, uint8 [H, W] or [H, W, 3], under a title."""
    figure = _new_figure(5, 3.5)
    axes = figure.add_subplot()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontfamily=_fonts(), parse_math=False)
    axes.set_axis_off()
    save_png(figure, path)


def image_grid(
    images: Sequence[np.ndarray], titles: Sequence[str], path: AnyPath, *, columns: int = 6
) -> None:
    """Draw pixels, each uint8 [H, W] or [H, W, 3], in rows, each under its title."""
    rows = math.ceil(len(images) / columns)
    figure = _new_figure(1.8 * columns, 1.5 * rows)
    for place, (pixels, title) in enumerate(zip(images, titles, strict=True), 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontfamily=_fonts(), fontsize=9, parse_math=False)
        axes.set_axis_off()
    save_png(figure, path)


def explanation_plot(
    pixels: np.ndarray,
    panels: Sequence[tuple[str, str, np.ndarray]],
    path: AnyPath,
    *,
    title: str,
) -> None:
    """Draw an image under a title, and below it once more for each panel, with its heat map.

    `pixels` are uint8 [H, W] or [H, W, 3]; a panel is what stands above it, what stands below it (a
    few short lines), and the heat map, float [H, W] of 0 to 1. The PNG at `path` is replaced as a
    whole.
    """
    ratio = pixels.shape[0] / pixels.shape[1]
    columns = max(1, min(len(panels), 6 if ratio > 0.4 else 3))
    rows = math.ceil(len(panels) / columns)
    # All in inches, from the left and the top: to measure the texts would take most of the time.
    image_side, side = min(8, 3.5 / ratio), min(10 / max(columns, 3), 2.5 / ratio)
    gap = max(0.2, 1.6 - side)  # between panels: their texts are as wide
    first_panel, panel = image_side * ratio + 0.7, side * ratio + 1.5  # of it, and of a row
    width = max(columns * (side + gap), image_side + 0.4, 5)
    height = first_panel + rows * panel
    figure = _new_figure(width, height)
    figure.set_layout_engine("none")
    fonts = _fonts()

    def add_image(left: float, from_top: float, shown: float) -> Axes:
        bottom = height - from_top - shown * ratio
        axes = figure.add_axes(
            (left / width, bottom / height, shown / width, shown * ratio / height)
        )
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, aspect="auto")
        axes.set_axis_off()
        return axes

    axes = add_image((width - image_side) / 2, 0.4, image_side)
    axes.set_title(title, fontfamily=fonts, parse_math=False)
    margin = (width - columns * (side + gap)) / 2
    for place, (above, below, heat) in enumerate(panels):
        row, column = divmod(place, columns)
        left, from_top = margin + column * (side + gap) + gap / 2, first_panel + row * panel
        axes = add_image(left, from_top, side)
        axes.imshow(heat, cmap="autumn", vmin=0, vmax=1, alpha=0.7 * heat, aspect="auto")
        axes.set_title(above, fontfamily=fonts, parse_math=False)
        figure.text(
            (left + side / 2) / width,
            1 - (from_top + side * ratio + 0.06) / height,
            below,
            horizontalalignment="center",
            verticalalignment="top",
            fontfamily=fonts,
            fontsize=9,
            parse_math=False,
        )
    save_png(figure, path)


def _new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, its sides in inches; raises CaptchaError without matplotlib."""
    with importing("matplotlib"):  # serving does without
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained")


def _fonts() -> list[str]:
    """Return the standard font and those installed that have Chinese characters."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in CHINESE_FONTS if name in installed)]


def save_png(figure: Figure, path: AnyPath) -> None:
    """Write a figure to a PNG file, which is replaced as a whole; its folder is made."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # it shows a box instead
        FigureCanvasAgg(figure).print_png(temporary)
