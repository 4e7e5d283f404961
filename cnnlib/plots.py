"""Pictures of measurements, drawn off screen: no window, no state shared between two plots."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cnnlib.config import AnyPath
from cnnlib.errors import CaptchaError


def box_plot(columns: Mapping[str, Sequence[float]], path: AnyPath, *, title: str = "",
             unit: str = "") -> None:
    """Draw one box a column: quartiles, median, whiskers to the 1st and 99th percentile.

    The dashed line is the mean. The PNG at `path` is replaced as a whole.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.boxplot(list(columns.values()), whis=(1, 99), showmeans=True, meanline=True,
                 flierprops={"markersize": 2})
    axes.set_xticks(range(1, len(columns) + 1), list(columns))
    axes.set(title=title, ylabel=unit)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    save_png(figure, path)


def save_png(figure: Figure, path: AnyPath) -> None:
    """Write a figure to a PNG file, which is replaced as a whole; its folder is made.

    Raises CaptchaError where it cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_png(temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise CaptchaError(f"cannot write {target}: {error.strerror}; close what shows it, or "
                           "make its folder writable") from error
    finally:
        temporary.unlink(missing_ok=True)
