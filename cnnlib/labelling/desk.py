"""The desk at which images are labelled: who gets which, and what becomes of the answers."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec, fold_case
from cnnlib.config import SampleConfig
from cnnlib.dataset.images import open_image, to_pixels
from cnnlib.dataset.labels import clean_label, unknown_characters
from cnnlib.dataset.verification import Rules
from cnnlib.errors import CaptchaError, SampleError
from cnnlib.evaluation.metrics import wilson_interval
from cnnlib.labelling import new_characters, unlabelled
from cnnlib.labelling.acceptance import Places, carry_out
from cnnlib.labelling.reading import CONFIDENT, SuggestionReader
from cnnlib.labelling.round_files import LEAST_LABELS
from cnnlib.labelling.store import (
    DUPLICATE,
    GONE,
    LABEL,
    LABELLED,
    MARK_UNREADABLE,
    SECOND,
    UNDO,
    UNREADABLE,
    WAITING,
    Change,
    LabelStore,
)
from cnnlib.networks.model_folder import ModelFolder

LEASE_S = 5 * 60.0  # that an image is a labeller's own without an answer
CHANCE_RATE = 0.1  # of the images shown: those that say how the model reads all
SECOND_RATE = 0.05  # of the images shown: labelled ones, to be read again
SECOND_AFTER = 20  # labels later at least
DOUBTFUL = 0.9  # of a character: below, the page marks it and starts there
MOST_AT_ONCE = 200
PAUSE_S = 60.0  # without an answer: not counted as work
LOOK_S = 10.0  # between two looks at the folders
RECENT = 300  # steps, for the images an hour


Values = sqlite3.Row | dict[str, Any]  # of an image


class LabelError(CaptchaError):
    """What cannot be done with an image; `code` says it to the page, with more in `details`."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code, self.details = code, details


class LabellingDesk:
    """Everything that the page can ask for, without HTTP. Safe to call from many threads.

    `folders` are those of the images to be labelled. Closing it ends its thread.
    """

    def __init__(
        self, config: SampleConfig, config_file: Path, folders: Sequence[Path], seed: int = 0
    ) -> None:
        self.config, self.config_file = config, config_file
        self.store = LabelStore(config.labelling_dir.full)
        labelled = (config.new_image_dir, config.train_image_dir, config.test_image_dir)
        self.places = Places(config.root, [p.full for p in labelled], config.label_separator)
        self._folders = folders
        self._changed: list[int] = []  # when each folder did, at the last look
        self._look_again_s = 0.0
        self._rng = random.Random(seed)
        self._lock = threading.RLock()  # one step after the other: their files must not cross
        carry_out(self.store, self.places, self.store.unfinished())
        self.store.release_all()  # pages that are still open say what they hold
        self.reader = SuggestionReader(
            self.store, self.places, ModelFolder(config.model_save_dir), self._find_images
        )

    def start(self) -> None:
        """Find the images and have them read, in the background."""
        self.reader.start()

    def close(self) -> None:
        self.reader.close()
        self.store.close()

    @property
    def spec(self) -> CaptchaSpec:
        return self.config.spec

    def _find_images(self) -> Iterator[int]:
        """Look for new images where a folder has changed, not too often; yield now and then."""
        changed = [folder.stat().st_mtime_ns if folder.exists() else 0 for folder in self._folders]
        if changed == self._changed or time.monotonic() < self._look_again_s:
            return
        rules = Rules.from_config(self.config)
        yield from unlabelled.find_images(self.store, self._folders, self.places, rules)
        self._changed, self._look_again_s = changed, time.monotonic() + LOOK_S

    # --- what is shown ---

    def next_images(self, labeller: str, count: int, held: Iterable[int]) -> list[dict[str, Any]]:
        """Lease images to a labeller: those that teach most, some by chance, some a second time."""
        held = set(held)
        self.store.release(labeller, keep=held)
        self.store.renew(labeller, held, LEASE_S)
        items: list[dict[str, Any]] = []
        while len(items) < min(count, MOST_AT_ONCE):
            row = self._next_image(labeller)
            if row is None:
                break
            items += self._shown([row])
        return items

    def _next_image(self, labeller: str) -> Values | None:
        if self._rng.random() < SECOND_RATE and (again := self._second_reading(labeller)):
            return again
        ways = ["by_chance", "NOT by_chance"]
        if self._rng.random() >= CHANCE_RATE:
            ways.reverse()
        for way in ("urgent", *ways):
            found = self.store.lease(
                labeller,
                f"state = '{WAITING}' AND {way}",
                "skipped, rank IS NULL, rank, digest" if "NOT" in way else "skipped, digest",
                1,
                LEASE_S,
            )
            if found:
                return found[0]
        return None

    def _second_reading(self, labeller: str) -> Values | None:
        last = self.store.count("SELECT coalesce(max(id), 0) FROM steps")
        found = self.store.lease(
            labeller,
            f"state = '{LABELLED}' AND step <= ? AND id NOT IN (SELECT image FROM changes "
            f"JOIN steps ON steps.id = changes.step WHERE kind = '{SECOND}')",
            "random()",
            1,
            LEASE_S,
            (last - SECOND_AFTER,),
        )
        if not found:
            return None
        first = self.store.changes_of(found[0]["step"])
        suggestion = next(c.suggestion for c in first if c.image == found[0]["id"])
        return dict(found[0]) | {"text": suggestion, "char_confidences": "[]"}  # as the first time

    def confident_images(self, labeller: str, count: int) -> list[dict[str, Any]]:
        """Lease images that the model is sure of, sorted by what it reads."""
        self.store.release(labeller)
        found = self.store.lease(
            labeller,
            f"state = '{WAITING}' AND NOT by_chance AND NOT urgent AND confidence >= ?",
            "text, digest",
            min(count, MOST_AT_ONCE),
            LEASE_S,
            (CONFIDENT,),
        )
        return self._shown(found)

    def character_classes(self) -> Counter[str]:
        """Return how many characters of confident images are not confirmed yet, by what is read."""
        counts: Counter[str] = Counter()
        for row in self._confident_rows():
            confirmed = set(json.loads(row["confirmed"]))
            counts.update(c for i, c in enumerate(row["text"]) if i not in confirmed)
        return Counter(dict(sorted(counts.items())))

    def characters_read_as(self, character: str) -> list[dict[str, Any]]:
        """Return single characters that were all read as this one, the least certain first."""
        found = []
        for row in self._confident_rows():
            confirmed = set(json.loads(row["confirmed"]))
            confidences = json.loads(row["char_confidences"])
            found += [
                {"id": row["id"], "position": i, "text": row["text"], "confidence": confidences[i]}
                for i, c in enumerate(row["text"])
                if c == character and i not in confirmed
            ]
        return sorted(found, key=lambda item: item["confidence"])[:MOST_AT_ONCE]

    def _confident_rows(self) -> list[sqlite3.Row]:
        return self.store.rows(
            "SELECT id, text, confirmed, char_confidences FROM images WHERE state = ? "
            "AND NOT by_chance AND NOT urgent AND confidence >= ? AND boxes != '[]'",
            WAITING,
            CONFIDENT,
        )

    def picture(self, image: int) -> Image.Image:
        """Return an image as it is shown; raises LabelError where its file is gone or damaged."""
        row = self._required(image)
        try:
            path = self.places.find(row["path"])
            if path is None:
                raise SampleError("the file of the image is gone")
            return open_image(unlabelled.read_plain(path))
        except SampleError as error:
            if row["state"] == WAITING:
                self.store.update(image, state=GONE, reason=str(error))
            raise LabelError(GONE, str(error)) from error

    def shown(self, image: int) -> list[dict[str, Any]]:
        """Return what the page needs to show an image; nothing where its file is gone."""
        return self._shown([self._required(image)])

    def character(self, image: int, position: int) -> Image.Image:
        """Return the part of an image that shows one character; raises LabelError if none is."""
        picture = self.picture(image)
        boxes = json.loads(self._required(image)["boxes"])
        if not 0 <= position < len(boxes):
            raise LabelError("unknown", f"image {image} has no character {position}")
        spec = self.spec  # the boxes are those of the network's image
        return Image.fromarray(to_pixels(picture, spec)).crop(boxes[position])

    def _shown(self, rows: Iterable[Values]) -> list[dict[str, Any]]:
        """Return what the page needs to show images; those whose files are gone are left out."""
        items = []
        for row in rows:
            with suppress(LabelError):
                picture = self.picture(row["id"])
                items.append(
                    {
                        "id": row["id"],
                        "width": picture.width,
                        "height": picture.height,
                        "text": row["text"],
                        "confidence": row["confidence"],
                        "char_confidences": json.loads(row["char_confidences"]),
                    }
                )
        return items

    # --- what is answered ---

    def label(
        self, labeller: str, image: int, text: str, *, keys: int | None, accept_new: bool
    ) -> dict[str, Any]:
        """Give an image its label; of one that has a label already, compare.

        Raises LabelError where the text cannot be a label, or the image is somebody else's.
        """
        row = self._required(image)
        text = self._checked(text, accept_new)
        if row["state"] == LABELLED and row["leased_by"] == labeller:
            return self._compare(labeller, row, text, keys)
        self._require_free(row, labeller)
        return {"step": self._apply(labeller, LABEL, [self._labelling(row, text, keys)])}

    def _compare(
        self, labeller: str, row: sqlite3.Row, text: str, keys: int | None
    ) -> dict[str, Any]:
        """Note a second reading; the first label stays."""
        where = row["path"]
        change = Change(row["id"], where, where, LABELLED, text, row["label"], "", keys)
        step = self.store.write_step(labeller, SECOND, [change])
        self.store.update(row["id"], leased_by="", leased_until=0.0)
        return {"step": step, "second": {"earlier": row["label"]} if text != row["label"] else None}

    def relabel(self, labeller: str, image: int, text: str) -> dict[str, Any]:
        """Give a labelled image another label."""
        row = self._required(image)
        if row["state"] != LABELLED:
            raise LabelError("taken", "the image has no label any more")
        text = self._checked(text, accept_new=False)
        current = self.places.find(row["path"])
        if current is None:
            raise LabelError("gone", "the file of the image is gone")
        name = self.places.under_label(current, text, row["digest"]).name
        change = Change(
            image,
            self.places.text(current),
            self.places.text(current.with_name(name)),
            LABELLED,
            text,
            row["text"],
            row["weights"],
        )
        return {"step": self._apply(labeller, LABEL, [change])}

    def skip(self, labeller: str, image: int) -> None:
        """Show an image again later."""
        row = self._required(image)
        if row["leased_by"] == labeller:
            self.store.update(image, skipped=row["skipped"] + 1, leased_by="", leased_until=0.0)

    def mark_unreadable(self, labeller: str, image: int) -> int:
        """Leave an image out, where it is; return the step."""
        row = self._required(image)
        if row["state"] == LABELLED and row["leased_by"] == labeller:  # a second reading
            return int(self._compare(labeller, row, "", None)["step"])
        self._require_free(row, labeller)
        change = Change(image, row["path"], row["path"], UNREADABLE, "", row["text"])
        return self._apply(labeller, MARK_UNREADABLE, [change])

    def accept(
        self, labeller: str, texts: Mapping[int, str], wrong: Iterable[int]
    ) -> dict[str, Any]:
        """Label many images in one step; those that are wrong are shown first, one by one."""
        changes, refused = [], []
        for image, text in texts.items():
            try:
                row = self._required(image)
                self._require_free(row, labeller)
                changes.append(self._labelling(row, self._checked(text, False), None))
            except LabelError as error:
                refused.append({"id": image, "message": str(error)})
        self._show_first(wrong)
        step = self._apply(labeller, LABEL, changes) if changes else None
        self.store.release(labeller)
        return {"step": step, "accepted": len(changes), "refused": refused}

    def accept_characters(
        self,
        labeller: str,
        right: Iterable[tuple[int, int]],
        wrong: Iterable[tuple[int, int]],
    ) -> dict[str, Any]:
        """Note characters that are read right; an image of which all are is labelled."""
        confirmed: dict[int, set[int]] = {}
        for image, position in right:
            confirmed.setdefault(image, set()).add(position)
        wrong_images = {image for image, _ in wrong}
        self._show_first(wrong_images)
        changes, count = [], 0
        for image, positions in confirmed.items():
            row = self.store.image(image)
            if row is None or row["state"] != WAITING or self._is_others(row, labeller):
                continue
            known = set(json.loads(row["confirmed"]))
            count += len(positions - known)
            positions |= known
            self.store.update(image, confirmed=json.dumps(sorted(positions)))
            if image not in wrong_images and positions >= set(range(len(row["text"]))):
                changes.append(self._labelling(row, row["text"], None))
        step = self._apply(labeller, LABEL, changes) if changes else None
        return {"step": step, "confirmed": count, "labelled": len(changes)}

    def undo(self, labeller: str) -> dict[str, Any]:
        """Take back the last step, and lease its images to the labeller."""
        with self._lock:
            last = self.store.last_step(labeller)
            if last is None:
                raise LabelError("nothing", "there is nothing to undo")
            done = self.store.changes_of(last["id"])
            changes = []
            for change in done:
                row = self._required(change.image)
                if row["step"] != last["id"]:
                    continue  # of a later step, which has its own way back
                before = self._before(change)
                changes.append(
                    Change(change.image, row["path"], change.source, *before, row["text"])
                )
            self._apply(labeller, UNDO, changes, last["id"])
            ids = [change.image for change in changes]
            for image in ids:
                self.store.update(image, leased_by=labeller, leased_until=time.time() + LEASE_S)
            rows = [self._required(image) for image in ids]
            return {
                "items": self._shown(rows),
                "labels": {str(change.image): change.label for change in done},
                "left": self.store.last_step(labeller) is not None,
            }

    def _before(self, change: Change) -> tuple[str, str]:
        """Return state and label that an image had before a change."""
        earlier = self.store.rows(
            "SELECT changes.* FROM changes JOIN steps ON steps.id = changes.step WHERE image = ? "
            "AND target = ? AND kind != ? ORDER BY changes.step DESC LIMIT 1",
            change.image,
            change.source,
            SECOND,
        )
        if earlier and change.source != change.target:
            return earlier[0]["state"], earlier[0]["label"]
        return WAITING, ""

    def _labelling(self, row: sqlite3.Row, text: str, keys: int | None) -> Change:
        source = self.places.path(row["path"])
        target = self.places.under_label(source, text, row["digest"])
        return Change(
            row["id"],
            row["path"],
            self.places.text(target),
            LABELLED,
            text,
            row["text"],
            row["weights"],
            keys,
        )

    def _apply(
        self, labeller: str, kind: str, changes: Sequence[Change], undoes: int | None = None
    ) -> int:
        with self._lock:
            step = self.store.write_step(labeller, kind, changes, undoes)
            states = carry_out(self.store, self.places, [(step, change) for change in changes])
        if len(changes) == 1 and states[changes[0].image] in (GONE, DUPLICATE):
            state = states[changes[0].image]
            raise LabelError(
                state,
                "the file of the image is gone"
                if state == GONE
                else "the same image is there already under this label",
            )
        return step

    def _checked(self, text: str, accept_new: bool) -> str:
        """Return a text as a label; raises LabelError where it cannot be one."""
        spec = self.spec
        text = clean_label(text)
        text = fold_case(text) if spec.ignore_case else text
        least, most = spec.min_captcha, spec.max_captcha
        if not least <= len(text) <= most:
            expected = f"{most}" if least == most else f"{least} to {most}"
            raise LabelError("length", f"{len(text)} characters, expected {expected}")
        if unknown := unknown_characters(text, spec.char_set):
            if not accept_new:
                raise LabelError(
                    "new_characters",
                    f"{' '.join(unknown)} is new: not in char_set",
                    characters=unknown,
                )
            with self._lock:
                self.config = new_characters.add(self.config_file, self.config, unknown)
        return text

    def _required(self, image: int) -> sqlite3.Row:
        row = self.store.image(image)
        if row is None:
            raise LabelError("unknown", f"there is no image {image}")
        return row

    def _require_free(self, row: sqlite3.Row, labeller: str) -> None:
        if row["state"] != WAITING or self._is_others(row, labeller):
            raise LabelError("taken", "somebody else has this image")

    @staticmethod
    def _is_others(row: sqlite3.Row, labeller: str) -> bool:
        return row["leased_by"] not in ("", labeller) and row["leased_until"] >= time.time()

    def _show_first(self, images: Iterable[int]) -> None:
        self.store.update_many(
            ("urgent", "confirmed", "leased_by", "leased_until"),
            [(True, "[]", "", 0.0, image) for image in images],
        )

    # --- how it goes ---

    def state(self) -> dict[str, Any]:
        """Return what is the same for all labellers: counts, agreement, speed (JSON values)."""
        spec, info = self.spec, self.reader.info
        done, total = self.reader.progress()
        return {
            "name": self.config_file.stem,
            "char_set": list(spec.char_set),
            "min_captcha": spec.min_captcha,
            "max_captcha": spec.max_captcha,
            "ignore_case": spec.ignore_case,
            "width": spec.image_width,
            "height": spec.image_height,
            "model": info and {"step": info.step, **info.scores},
            "counts": self.store.counts(),
            "images_per_hour": self._images_per_hour(),
            "agreement": self._agreement(),
            "second_readings": self._second_readings(),
            "reading": {"done": done, "of": total},
            "problem": self.reader.problem,
        }

    def new_labels(self) -> int:
        """Return how many images wait in new_image_dir for the next training."""
        return len(unlabelled.image_names_in(self.places.labelled[0]))

    def require_labels(self) -> None:
        """Raise LabelError where there is nothing new to train with, or too little."""
        new = self.new_labels()
        total = sum(len(unlabelled.image_names_in(folder)) for folder in self.places.labelled)
        if not new or total < LEAST_LABELS:
            raise LabelError(
                "too_few",
                f"{total} images are labelled, {new} of them new: a training needs {LEAST_LABELS} "
                "labels, and a new one",
            )

    def _agreement(self) -> dict[str, Any]:
        """Compare the labels of images chosen by chance with what the current weights had read."""
        counts = self.store.row(
            "SELECT count(*) AS n, coalesce(sum(images.label = changes.suggestion), 0) AS same "
            "FROM images JOIN changes ON changes.image = images.id AND changes.step = images.step "
            "WHERE images.state = ? AND images.by_chance AND changes.suggestion != '' "
            "AND changes.weights = ?",
            LABELLED,
            self.reader.weights,
        )
        assert counts is not None
        low, high = wilson_interval(counts["same"], counts["n"])
        return {"same": counts["same"], "of": counts["n"], "low": low, "high": high}

    def _second_readings(self) -> dict[str, Any]:
        counts = self.store.row(
            "SELECT count(*) AS n, coalesce(sum(label != suggestion), 0) AS different FROM changes "
            "JOIN steps ON steps.id = changes.step WHERE kind = ?",
            SECOND,
        )
        assert counts is not None
        low, high = wilson_interval(counts["different"], counts["n"])
        return {"different": counts["different"], "of": counts["n"], "low": low, "high": high}

    def _images_per_hour(self) -> int | None:
        """Return the speed of the last steps; pauses are not counted."""
        rows = self.store.rows(
            "SELECT time, (SELECT count(*) FROM changes WHERE step = steps.id) AS images "
            "FROM steps WHERE kind = ? ORDER BY id DESC LIMIT ?",
            LABEL,
            RECENT,
        )
        gaps = [(a["time"] - b["time"], a["images"]) for a, b in zip(rows, rows[1:], strict=False)]
        work = [(gap, images) for gap, images in gaps if gap < PAUSE_S]
        seconds = sum(gap for gap, _ in work)
        if len(work) < 5 or seconds <= 0:
            return None
        return round(sum(images for _, images in work) / seconds * 3600)
