"""What the model reads of the images to be labelled, in a thread of its own.

It also finds new images in the folders, and loads newer weights when a training has saved them.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset.images import read_pixels
from cnnlib.errors import CaptchaError, SampleError
from cnnlib.labelling.acceptance import Places
from cnnlib.labelling.selection import MAX_ORDERED, MAX_POOL, GradientSketch, order_by_gain
from cnnlib.labelling.store import UNRANKED, WAITING, LabelStore
from cnnlib.labelling.unlabelled import read_plain
from cnnlib.networks.model_folder import ModelFolder, ModelInfo
from cnnlib.packages import require
from cnnlib.reloads import Reloads

if TYPE_CHECKING:
    from cnnlib.recognizer import Recognizer

log = logging.getLogger(__name__)

PAUSE_S = 2.0  # between two checks of the model folder and of the folders of images
IMAGES_PER_PASS = 128
CONFIDENT = 0.9  # of a whole text, for views of many images
UNORDERED_SHARE = 0.02  # of the images: from here on a new order is worth its time


class Source(Protocol):
    """Where the images come from, and what they are."""

    @property
    def spec(self) -> CaptchaSpec: ...

    def find_images(self) -> Iterator[None]:
        """Find new images; yield now and then."""


class SuggestionReader:
    """Reads the waiting images again with each new weights, and puts them in order.

    `recognizer` is that of the newest weights, or None: to be used under `lock`. `problem` says why
    there are no suggestions. `augments`: with test-time augmentation, where the model has it.
    """

    def __init__(
        self,
        store: LabelStore,
        places: Places,
        folder: ModelFolder,
        source: Source,
        *,
        augments: bool = True,
    ) -> None:
        self._store, self._places, self._folder = store, places, folder
        self._source, self._augments = source, augments
        self._reloads = Reloads("")
        self.lock = threading.RLock()
        self.recognizer: Recognizer | None = None
        self.info: ModelInfo | None = None
        self.problem = ""
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
            is_busy = False
            try:
                is_busy = self.work_once()
            except Exception:  # the page goes on without suggestions
                log.exception("suggestions are not made")
            if not is_busy:
                self._stopped.wait(PAUSE_S)

    def work(self) -> None:
        """Do all that is to be done."""
        while self.work_once():
            pass

    def work_once(self) -> bool:
        """Do a part of it: new images, newer weights, suggestions, the order; return if more is."""
        for _ in self._source.find_images():
            if self._stopped.is_set():
                return False
        try:
            self._load_newer()
        except CaptchaError as error:
            if str(error) != self.problem:
                log.warning("no suggestions: %s", error)
            self.problem = str(error)
        if self.recognizer is None:
            return False
        return self._read_some() or self._put_in_order() or self._locate_some_characters()

    def _load_newer(self) -> None:
        info = self._folder.read()
        if info is None or info.best == self.weights:
            return
        require("tensorflow")
        if info.spec.shape != self._source.spec.shape:
            raise CaptchaError(
                f"the model in {self._folder.path} reads images of another size or colour than the "
                "configuration says: train with what is new, or correct the configuration"
            )
        newer = self._reloads.load(info.best, lambda: self._recognizer_of(info))
        if newer is None:
            return
        with self.lock:
            former, self.recognizer, self.info = self.recognizer, newer, newer.info
            if former is not None:
                former.close()
        self.problem = ""

    def _recognizer_of(self, info: ModelInfo) -> Recognizer:
        from cnnlib.recognizer import Recognizer  # here: TensorFlow takes seconds to load

        return Recognizer.from_spec(
            info.spec, self._folder.path, test_time_augmentation=self._augments
        )

    def _read_some(self) -> bool:
        """Read some images that these weights have not read yet; return whether there were any."""
        rows = self._store.rows(
            "SELECT id, path, text, confirmed FROM images WHERE state = ? "
            "AND (weights < ? OR weights > ?) LIMIT ?",
            WAITING,
            self.weights,  # the two comparisons use an index
            self.weights,
            IMAGES_PER_PASS,
        )
        if not rows:
            return False
        with self.lock:
            recognizer, weights = self.recognizer, self.weights
            assert recognizer is not None, "work_once says so"
            ids, pixels = self._pixels([(row["id"], row["path"]) for row in rows], recognizer.spec)
            if not ids:
                return True
            details = recognizer.explain_pixels(pixels)
            read = [recognizer.read(p) for p in details.probabilities]
        before = {row["id"]: (row["text"], json.loads(row["confirmed"])) for row in rows}
        sketch = GradientSketch(details.probabilities.shape[-1], details.glimpses.shape[-1])
        sketches = sketch.describe(details.probabilities, details.glimpses).astype(np.float16)
        self._store.update_waiting(
            (
                *("text", "confidence", "char_confidences", "weights", "sketch"),
                *("boxes", "confirmed", "rank"),  # of what was read before
            ),
            [
                (
                    prediction.text,
                    prediction.confidence,
                    json.dumps([round(c, 4) for c in prediction.char_confidences]),
                    weights,
                    described.tobytes(),
                    *("[]", _still_confirmed(*before[image], prediction.text), UNRANKED),
                    image,
                )
                for image, prediction, described in zip(ids, read, sketches, strict=True)
            ],
        )
        return True

    def _pixels(
        self, images: Sequence[tuple[int, str]], spec: CaptchaSpec
    ) -> tuple[list[int], np.ndarray]:
        """Return ids and pixels of the images that can be read; the others get no suggestion."""
        pixels, ids, others = [], [], []
        for image, text in images:
            try:
                pixels.append(read_pixels(read_plain(self._places.path(text)), spec))
                ids.append(image)
            except SampleError as error:
                others.append(("", 0.0, "[]", str(error), self.weights, image))
        columns = ("text", "confidence", "char_confidences", "reason", "weights")
        self._store.update_waiting(columns, others)
        return ids, np.stack(pixels) if pixels else np.empty((0, *spec.shape), np.uint8)

    def _put_in_order(self) -> bool:
        """Give the waiting images their ranks: first what teaches most, then by confidence."""
        sql = "SELECT count(*) FROM images WHERE state = ? AND weights = ?"
        total = self._store.count(sql, WAITING, self.weights)
        unordered = self._store.count(f"{sql} AND rank = ?", WAITING, self.weights, UNRANKED)
        if unordered <= UNORDERED_SHARE * total:
            return False
        rows = self._store.rows(
            "SELECT id, sketch FROM images WHERE state = ? AND weights = ? ORDER BY confidence",
            WAITING,
            self.weights,
        )
        pool = [i for i, row in enumerate(rows) if row["sketch"]][:MAX_POOL]
        sketches = np.array(
            [np.frombuffer(rows[i]["sketch"], np.float16) for i in pool], np.float32
        )
        chosen = [pool[k] for k in order_by_gain(sketches, MAX_ORDERED, np.random.default_rng(0))]
        rest = sorted(set(range(len(rows))) - set(chosen))
        ids = [rows[i]["id"] for i in (*chosen, *rest)]
        self._store.update_waiting(("rank",), [(rank, image) for rank, image in enumerate(ids)])
        return True

    def _locate_some_characters(self) -> bool:
        """Find where the characters are in some images that the weights are sure of."""
        from cnnlib.explanation import character_boxes

        rows = self._store.rows(
            "SELECT id, path, text FROM images WHERE state = ? AND weights = ? AND boxes = '[]' "
            "AND confidence >= ? AND text != '' LIMIT ?",
            WAITING,
            self.weights,
            CONFIDENT,
            IMAGES_PER_PASS,
        )
        if not rows:
            return False
        length = {row["id"]: len(row["text"]) for row in rows}
        with self.lock:
            recognizer = self.recognizer
            assert recognizer is not None, "work_once says so"
            images = [(row["id"], row["path"]) for row in rows]
            ids, pixels = self._pixels(images, recognizer.spec)
            if not ids:
                return True
            attention = recognizer.explain_pixels(pixels).attention
            saliency = recognizer.saliency_of(pixels)
        size = pixels.shape[1], pixels.shape[2]
        boxes = [
            character_boxes(a, length[image], size, s)
            for image, a, s in zip(ids, attention, saliency, strict=True)
        ]
        self._store.update_waiting(
            ("boxes",), [(json.dumps(b.tolist()), i) for b, i in zip(boxes, ids, strict=True)]
        )
        return True


def _still_confirmed(former: str, confirmed: Sequence[int], text: str) -> str:
    """Return the confirmed positions, as JSON, that are read as before."""
    same = [i for i in confirmed if len(former) == len(text) and former[i] == text[i]]
    return json.dumps(same)
