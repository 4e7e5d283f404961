"""Pictures: that there are some, whole, of what they should show."""

import numpy as np
import pytest
from PIL import Image

from cnnlib import plots
from cnnlib.errors import CaptchaError


def is_drawn(path):
    with Image.open(path) as image:
        return image.format == "PNG" and len(set(image.convert("L").get_flattened_data()
                                                 if hasattr(image, "get_flattened_data")
                                                 else image.convert("L").getdata())) > 10


def test_every_plot_is_a_png(tmp_path):
    plots.box_plot({"a": [1.0, 2.0, 9.0], "b": [3.0]}, tmp_path / "box.png", title="t", unit="ms")
    plots.line_plot([1, 2, 3], {"train": [0, 0.5, 1], "test": [0, 0.2, 0.9]},
                    tmp_path / "new folder" / "line.png", x_label="steps", y_label="accuracy")
    plots.image_plot(np.arange(240, dtype=np.uint8).reshape(12, 20), tmp_path / "image.png",
                     title="label 验证 $^$^_")
    for name in ("box.png", "new folder/line.png", "image.png"):
        assert is_drawn(tmp_path / name)


def test_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CaptchaError, match="cannot write"):
        plots.box_plot({"a": [1.0]}, tmp_path / "file" / "box.png")
