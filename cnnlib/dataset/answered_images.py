"""Images that were recognised, each kept under the text that was read."""

from __future__ import annotations

from cnnlib import console
from cnnlib.dataset.labels import file_name
from cnnlib.errors import SampleError
from cnnlib.files import store_image
from cnnlib.paths import AnyPath


class AnsweredImages:
    """Keeps images in a folder; where that cannot be written it says so once, and keeps none."""

    def __init__(self, folder: AnyPath, separator: str) -> None:
        self._folder, self._separator = folder, separator
        self.has_failed = False

    def keep(self, image: bytes, text: str, suffix: str) -> None:
        if self.has_failed:
            return
        try:
            name = file_name(text, suffix, separator=self._separator)
            store_image(image, self._folder, name)
        except SampleError as error:
            self.has_failed = True
            console.warn(f"{error}. Images are answered, and not kept")
