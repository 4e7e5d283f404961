"""What the model reads of the images to be labelled, in a thread of its own.

It also finds new images in the folders, and loads newer weights when a training has saved them.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset.images import read_pixels
from cnnlib.errors import CaptchaError, SampleError
from cnnlib.labelling.acceptance import Places
from cnnlib.labelling.selection import MAX_ORDERED, MAX_POOL, GradientSketch, order_by_gain
from cnnlib.labelling.store import GONE, UNUSABLE, WAITING, LabelStore
from cnnlib.networks.model_folder import ModelFolder, ModelInfo
from cnnlib.runtimes import is_installed

if TYPE_CHECKING:
    from cnnlib.recognizer import Recognizer

log = logging.getLogger(__name__)

POLL_S = 2.0  # between two looks at the model folder and at the folders of images
IMAGES_PER_PASS = 128
CONFIDENT = 0.9  # of a whole text, for views of many images


class SuggestionReader:
    """Reads the waiting images again with each new weights, and puts them in order.

    `find_images` looks for new images, and yields now and then. `recognizer` is the one of the
    newest weights, or None: to be used under `lock`.
    """

    def __init__(
        self,
        store: LabelStore,
        places: Places,
        folder: ModelFolder,
        find_images: Callable[[], Any],
    ) -> None:
        self._store, self._places, self._folder = store, places, folder
        self._find_images = find_images
        self.lock = threading.RLock()
        self.recognizer: Recognizer | None = None
        self.info: ModelInfo | None = None
        self.problem = ""  # why there are no suggestions
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="suggestions", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.recognizer is not None:
            self.recognizer.close()

    @property
    def weights(self) -> str:
        return self.info.best if self.info else ""

    def progress(self) -> tuple[int, int]:
        """Return how many waiting images the newest weights have read, and how many there are."""
        total = self._store.count("SELECT count(*) FROM images WHERE state = ?", WAITING)
        if not self.weights:
            return total, total
        sql = "SELECT count(*) FROM images WHERE state = ? AND weights = ?"
        return self._store.count(sql, WAITING, self.weights), total

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.work()
            except Exception:  # the page goes on without suggestions
                log.exception("suggestions are not made")
            self._stopped.wait(POLL_S)

    def work(self) -> None:
        """Do once what is to be done: new images, newer weights, suggestions, the order."""
        for _ in self._find_images():
            if self._stopped.is_set():
                return
        try:
            self._load_newer()
        except CaptchaError as error:
            if str(error) != self.problem:
                log.warning("no suggestions: %s", error)
            self.problem = str(error)
        if self.recognizer is not None:
            if self._read_all():
                self._put_in_order()
            self._locate_characters()

    def _load_newer(self) -> None:
        info = self._folder.read()
        if info is None or info.best == self.weights or not is_installed("tensorflow"):
            return
        from cnnlib.recognizer import Recognizer  # here: TensorFlow takes seconds to load

        newer = Recognizer.from_spec(info.spec, self._folder.path)
        with self.lock:
            former, self.recognizer, self.info = self.recognizer, newer, newer.info
            if former is not None:
                former.close()
        self.problem = ""

    def _read_all(self) -> bool:
        """Read what these weights have not read yet; return whether there was anything."""
        sql = "SELECT id, path FROM images WHERE state = ? AND weights != ? LIMIT ?"
        has_read = False
        while not self._stopped.is_set():
            rows = self._store.rows(sql, WAITING, self.weights, IMAGES_PER_PASS)
            if not rows:
                break
            self._read([(row["id"], row["path"]) for row in rows])
            has_read = True
        return has_read

    def _read(self, images: list[tuple[int, str]]) -> None:
        with self.lock:
            recognizer, weights = self.recognizer, self.weights
            assert recognizer is not None, "work says so"
            ids, pixels = self._pixels(images, recognizer.spec)
            if not ids:
                return
            details = recognizer.explain_pixels(pixels)
            read = [recognizer.read(p) for p in details.probabilities]
        self._store.update_many(
            ("text", "confidence", "char_confidences", "boxes", "weights", "sketch", "rank"),
            [
                (
                    prediction.text,
                    prediction.confidence,
                    json.dumps([round(c, 4) for c in prediction.char_confidences]),
                    "[]",
                    weights,
                    sketch.astype(np.float16).tobytes(),
                    None,
                    image,
                )
                for image, prediction, sketch in zip(
                    ids, read, self._sketches(details), strict=True
                )
            ],
        )

    def _pixels(
        self, images: Sequence[tuple[int, str]], spec: CaptchaSpec
    ) -> tuple[list[int], np.ndarray]:
        """Return the ids and the pixels of the images that can be read; note the others."""
        pixels, ids = [], []
        for image, text in images:
            try:
                pixels.append(read_pixels(self._places.path(text), spec))
                ids.append(image)
            except SampleError as error:
                state = UNUSABLE if self._places.path(text).exists() else GONE
                self._store.update(image, state=state, reason=str(error))
        return ids, np.stack(pixels) if pixels else np.empty((0, *spec.shape), np.uint8)

    def _locate_characters(self) -> None:
        """Find where the characters are in the images that the weights are sure of."""
        from cnnlib.explanation import character_boxes

        sql = (
            "SELECT id, path, text FROM images WHERE state = ? AND weights = ? AND boxes = '[]' "
            "AND confidence >= ? AND text != '' LIMIT ?"
        )
        while not self._stopped.is_set():
            rows = self._store.rows(sql, WAITING, self.weights, CONFIDENT, IMAGES_PER_PASS)
            if not rows:
                return
            length = {row["id"]: len(row["text"]) for row in rows}
            with self.lock:
                recognizer = self.recognizer
                assert recognizer is not None, "work says so"
                images = [(row["id"], row["path"]) for row in rows]
                ids, pixels = self._pixels(images, recognizer.spec)
                if not ids:
                    continue
                attention = recognizer.explain_pixels(pixels).attention
                saliency = recognizer.saliency_of(pixels)
            size = pixels.shape[1], pixels.shape[2]
            boxes = [
                character_boxes(a, length[image], size, s)
                for image, a, s in zip(ids, attention, saliency, strict=True)
            ]
            self._store.update_many(
                ("boxes",),
                [(json.dumps(b.tolist()), image) for b, image in zip(boxes, ids, strict=True)],
            )

    def _sketches(self, details: Any) -> np.ndarray:
        sketch = GradientSketch(details.probabilities.shape[-1], details.glimpses.shape[-1])
        return sketch.describe(details.probabilities, details.glimpses)

    def _put_in_order(self) -> None:
        """Give the waiting images their ranks: first what teaches most, then by confidence."""
        rows = self._store.rows(
            "SELECT id, sketch FROM images WHERE state = ? AND weights = ? ORDER BY confidence",
            WAITING,
            self.weights,
        )
        pool = rows[:MAX_POOL]
        sketches = np.array([np.frombuffer(row["sketch"], np.float16) for row in pool], np.float32)
        chosen = order_by_gain(sketches, MAX_ORDERED, np.random.default_rng(0)).tolist()
        rest = sorted(set(range(len(rows))) - set(chosen))
        ids = [rows[i]["id"] for i in (*chosen, *rest)]
        self._store.update_many(("rank",), [(rank, image) for rank, image in enumerate(ids)])
