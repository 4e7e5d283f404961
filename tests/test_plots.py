"""Pictures: that there are some, whole, of what they should show."""

import numpy as np
import pytest
from PIL import Image

from cnnlib import plots
from cnnlib.errors import CaptchaError


def is_drawn(path):
    with Image.open(path) as image:
        return image.format == "PNG" and len(np.unique(np.asarray(image.convert("L")))) > 10


def test_every_plot_is_a_png(tmp_path):
    pixels = np.arange(240, dtype=np.uint8).reshape(12, 20)
    colours = np.stack([pixels] * 3, axis=-1)
    plots.box_plot({"a": [1.0, 2.0, 9.0], "b": [3.0]}, tmp_path / "box.png", title="t", unit="ms")
    plots.line_plot(
        [1, 2, 3],
        {"train": [0, 0.5, 1], "test": [0, 0.2, 0.9]},
        tmp_path / "new folder" / "line.png",
        x_label="steps",
        y_label="accuracy",
    )
    plots.dot_plot(
        [1, 3, 2], [5, 9, 7], tmp_path / "dots.png", title="t", x_label="s", y_label="ms"
    )
    plots.image_plot(pixels, tmp_path / "image.png", title="label 验证 $^$^_")
    plots.image_plot(colours, tmp_path / "colours.png", title="label")
    plots.image_grid([pixels, colours] * 4, list("abcdefgh"), tmp_path / "grid.png", columns=3)
    panels = [("验 0.9 $^$^_", "b 0.1", pixels / 255)] * 8
    for count in (0, 1, 8):
        plots.explanation_plot(pixels, panels[:count], tmp_path / f"{count}.png", title="t")
    plots.explanation_plot(colours, panels[:2], tmp_path / "in colour.png", title="t")
    for name in ("0", "1", "8", "in colour"):
        assert is_drawn(tmp_path / f"{name}.png")
    for name in ("box", "new folder/line", "dots", "image", "colours", "grid"):
        assert is_drawn(tmp_path / f"{name}.png")


def test_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CaptchaError, match="cannot write"):
        plots.box_plot({"a": [1.0]}, tmp_path / "file" / "box.png")
