"""The desk at which images are labelled: who gets which, and what becomes of the answers."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import SampleConfig
from cnnlib.dataset.images import open_image, to_pixels
from cnnlib.dataset.labels import clean_label, content_serial, unknown_characters
from cnnlib.dataset.verification import Rules
from cnnlib.errors import CaptchaError, SampleError
from cnnlib.labelling import new_characters, unlabelled
from cnnlib.labelling.acceptance import Places, carry_out
from cnnlib.labelling.reading import CONFIDENT, SuggestionReader
from cnnlib.labelling.store import (
    CONFIRM,
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
MANY, CHARACTERS = "#many", "#characters"  # leases of these views are apart
CHANCE_RATE = 0.1  # of the images shown: those that say how the model reads all
SECOND_RATE = 0.05  # of the images shown: labelled ones, to be read again
SECOND_AFTER = 20  # labels later at least
DOUBTFUL = 0.9  # of a character: below, the page marks it and starts there
MOST_AT_ONCE = 200
KEYS_OF_SCREEN = 0  # of an image whose characters were confirmed among others of their kind
RESCAN_S = 10.0  # between two looks at the folders


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
        self._folders = list(dict.fromkeys(folders))
        self._changed: list[int] = []  # when each folder did, at the last scan
        self._rescan_at_s = 0.0
        self._rng = random.Random(seed)
        self._lock = threading.RLock()  # one step after the other: their files must not cross
        self.reader = SuggestionReader(
            self.store,
            self.places,
            ModelFolder(config.model_save_dir),
            self,
            augments=config.test_time_augmentation,
        )
        # Why what was decided could not be carried out, until the next start.
        self.problem = carry_out(self.store, self.places, self.store.pending())
        self._shown_folders: set[str] | None = None
        self._show_folders()
        self.store.release_all()  # pages that are still open say what they hold

    def start(self) -> None:
        """Find the images and have them read, in the background."""
        self.reader.start()

    def close(self) -> None:
        self.reader.close()
        self.store.close()

    @property
    def spec(self) -> CaptchaSpec:
        return self.config.spec

    def find_images(self) -> Iterator[None]:
        """Find new images where a folder has changed, not too often; yield now and then."""
        changed = [folder.stat().st_mtime_ns if folder.exists() else 0 for folder in self._folders]
        if changed == self._changed or time.monotonic() < self._rescan_at_s:
            return
        rules = Rules.from_config(self.config)
        known = [*self.places.labelled, self.config.origin_image_dir.full]
        yield from unlabelled.find_images(self.store, self._folders, known, self.places, rules)
        self._changed, self._rescan_at_s = changed, time.monotonic() + RESCAN_S

    # --- what is shown ---

    def next_images(self, labeller: str, count: int, held: Iterable[int]) -> list[dict[str, Any]]:
        """Lease images to a labeller: those that teach most, some by chance, some a second time."""
        held = set(held)
        self.store.release(labeller, keep=held)
        self.store.renew(labeller, held, LEASE_S)
        items: list[dict[str, Any]] = []
        self._show_folders()
        while len(items) < min(count, MOST_AT_ONCE) and (row := self._next_image(labeller)):
            items += self._shown([row])
        return items

    def _show_folders(self) -> None:
        """Show images of the folders given that are there; others wait for theirs."""
        there = {self.places.text(folder) for folder in self._folders if folder.is_dir()}
        if there != self._shown_folders:
            self.store.show(there)
            self._shown_folders = there

    def _is_folder_away(self, row: sqlite3.Row) -> bool:
        """Return whether an image's folder is not there, as that of a disk that is not mounted."""
        return not self.places.path(row["path"]).parent.is_dir()

    def _next_image(self, labeller: str) -> sqlite3.Row | None:
        if self._rng.random() < SECOND_RATE and (again := self._second_reading(labeller)):
            return again
        ways = [("by_chance = 1", "skipped, digest"), ("by_chance = 0", "skipped, rank, digest")]
        if self._rng.random() >= CHANCE_RATE:
            ways.reverse()
        for where, order in (("urgent = 1", "skipped, digest"), *ways):
            where = f"state = '{WAITING}' AND {where}"
            if found := self.store.lease(labeller, where, order, 1, LEASE_S):
                return found[0]
        return None

    def _second_reading(self, labeller: str) -> sqlite3.Row | None:
        """Lease an image that has a label, and is shown as it was before it had one."""
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
        return found[0] if found else None

    def confident_images(self, labeller: str, count: int) -> list[dict[str, Any]]:
        """Lease images that the model is sure of, sorted by what it reads."""
        self._show_folders()
        self.store.release(labeller + MANY)
        found = self.store.lease(
            labeller + MANY,
            f"state = '{WAITING}' AND by_chance = 0 AND urgent = 0 AND confidence >= ?",
            "text, digest",
            max(0, min(count, MOST_AT_ONCE)),
            LEASE_S,
            (CONFIDENT,),
        )
        return self._shown(found)

    def characters(
        self, labeller: str, asked: str
    ) -> tuple[Counter[str], str, list[dict[str, Any]]]:
        """Lease single characters that were all read as the same one, the least certain first.

        Returns how many of confident images are not confirmed yet, by what is read; which one was
        chosen, `asked` where there are any; and those.
        """
        found = []
        for row in self._confident_rows(labeller):
            confirmed = set(json.loads(row["confirmed"]))
            found += [
                {"id": row["id"], "position": i, "text": row["text"], "confidence": confidence}
                for i, confidence in enumerate(json.loads(row["char_confidences"]))
                if i not in confirmed
            ]
        counts = Counter(item["text"][item["position"]] for item in found)
        left = Counter(dict(sorted(counts.items())))
        chosen = asked if asked in left else next(iter(left), "")
        same = [item for item in found if item["text"][item["position"]] == chosen]
        same = sorted(same, key=lambda item: item["confidence"])[:MOST_AT_ONCE]
        shown = {item["id"] for item in same}
        self.store.release(labeller + CHARACTERS, keep=shown)
        self.store.renew(labeller + CHARACTERS, shown, LEASE_S)
        return left, chosen, same

    def _confident_rows(self, labeller: str) -> list[sqlite3.Row]:
        self._show_folders()
        return self.store.rows(
            "SELECT id, text, confirmed, char_confidences FROM images WHERE state = ? "
            "AND by_chance = 0 AND urgent = 0 AND confidence >= ? AND boxes != '[]' "
            "AND (leased_until < ? OR leased_by = ?)",
            WAITING,
            CONFIDENT,
            time.time(),
            labeller + CHARACTERS,
        )

    def picture(self, image: int) -> Image.Image:
        """Return an image as it is shown; raises LabelError where its file is gone or damaged."""
        return self._picture_of(self._required(image))

    def _picture_of(self, row: sqlite3.Row) -> Image.Image:
        try:
            return open_image(self._content(row))
        except SampleError as error:
            raise self._lost(row, str(error)) from error

    def _content(self, row: sqlite3.Row) -> bytes:
        """Return an image's file; raises SampleError where it is gone, or another one."""
        path = self.places.find(row["path"])
        if path is None:
            raise SampleError("the file of the image is gone")
        data = unlabelled.read_plain(path)
        if content_serial(data) != row["digest"]:
            raise SampleError("the file of the image is another one than before")
        return data

    def _lost(self, row: sqlite3.Row, why: str) -> LabelError:
        """Note that an image cannot be shown any more; the next scan of the folders may find it."""
        if not self._is_folder_away(row):
            self.store.update_waiting(("state", "reason"), [(GONE, why, row["id"])])
            self._changed = []
        return LabelError(GONE, why)

    def character(self, image: int, position: int) -> Image.Image:
        """Return the part of an image that shows one character; raises LabelError if none is."""
        row = self._required(image)
        picture, boxes = self._picture_of(row), json.loads(row["boxes"])
        if not 0 <= position < len(boxes):
            raise LabelError("unknown", f"image {image} has no character {position}")
        spec = self.spec  # the boxes are those of the network's image
        return Image.fromarray(to_pixels(picture, spec)).crop(boxes[position])

    def shown(self, image: int) -> list[dict[str, Any]]:
        """Return what the page needs to show an image; nothing where its file is gone."""
        return self._shown([self._required(image)])

    def _shown(self, rows: Iterable[sqlite3.Row]) -> list[dict[str, Any]]:
        items = []
        for row in rows:
            with suppress(LabelError):
                picture = self._picture_of(row)
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
        with self._lock:
            row = self._required(image)
            if not self._is_second(row, labeller):
                self._require_free(row, labeller)
            text = self._checked(text, accept_new)
            if self._is_second(row, labeller):
                return self._compare(labeller, row, text, keys)
            return {"step": self._apply(labeller, LABEL, [self._labelling(row, text, keys)])}

    @staticmethod
    def _is_second(row: sqlite3.Row, labeller: str) -> bool:
        return bool(row["state"] == LABELLED and row["leased_by"] == labeller)

    def _compare(
        self, labeller: str, row: sqlite3.Row, text: str, keys: int | None
    ) -> dict[str, Any]:
        """Note a second reading; the first label stays."""
        where = row["path"]
        change = Change(row["id"], where, where, LABELLED, text, row["label"], "", keys)
        with self.store.transaction():
            step = self.store.write_step(labeller, SECOND, [change])
            self.store.update(row["id"], leased_by="", leased_until=0.0)
        return {"step": step, "second": {"earlier": row["label"]} if text != row["label"] else None}

    def relabel(self, labeller: str, image: int, text: str) -> dict[str, Any]:
        """Give a labelled image another label."""
        with self._lock:
            row = self._required(image)
            text = self._checked(text, accept_new=False)
            current = self.places.find(row["path"])
            if row["state"] != LABELLED or current is None:
                raise LabelError("taken", "the image has no label any more")
            if text == row["label"]:
                return {"step": None}
            new = current.with_name(self._under_label(row, current, text).name)
            if new.name != current.name and new.name.casefold() == current.name.casefold():
                # A disk that ignores case takes both for one name.
                serial = f"2{self.places.separator}{row['digest']}"
                new = new.with_name(self._under_label(row, current, text, serial).name)
            source, target = self.places.text(current), self.places.text(new)
            self.store.move(image, source)
            change = Change(image, source, target, LABELLED, text, row["text"], row["weights"])
            return {"step": self._apply(labeller, LABEL, [change])}

    def skip(self, labeller: str, image: int) -> None:
        """Show an image again later."""
        row = self._required(image)
        if row["leased_by"] == labeller:
            skipped = row["skipped"] + 1
            self.store.update(image, skipped=skipped, urgent=0, leased_by="", leased_until=0.0)

    def mark_unreadable(self, labeller: str, image: int) -> dict[str, Any]:
        """Leave an image out, where it is."""
        with self._lock:
            row = self._required(image)
            if self._is_second(row, labeller):
                return self._compare(labeller, row, "", None)
            self._require_free(row, labeller)
            change = Change(image, row["path"], row["path"], UNREADABLE, "", row["text"])
            return {"step": self._apply(labeller, MARK_UNREADABLE, [change])}

    def accept(
        self, labeller: str, texts: Mapping[int, str], wrong: Iterable[int]
    ) -> dict[str, Any]:
        """Label many images in one step; those that are wrong are shown first, one by one."""
        changes, refused = [], []
        with self._lock:
            for image, text in texts.items():
                try:
                    row = self._required(image)
                    self._require_free(row, labeller)
                    changes.append(self._labelling(row, self._checked(text, False), None))
                except LabelError as error:
                    refused.append({"id": image, "message": str(error)})
            self._show_first(labeller, wrong)
            step = self._apply(labeller, LABEL, changes) if changes else None
        self.store.release(labeller + MANY)
        return {"step": step, "accepted": len(changes), "refused": refused}

    def accept_characters(
        self,
        labeller: str,
        character: str,
        right: Iterable[tuple[int, int]],
        wrong: Iterable[tuple[int, int]],
    ) -> dict[str, Any]:
        """Note characters that were read as this one, rightly; label images of which all are.

        What newer weights have read otherwise since it was shown does not count.
        """
        asked: dict[int, set[int]] = {}
        for image, position in right:
            asked.setdefault(image, set()).add(position)
        wrong = list(wrong)
        wrong_images = {image for image, _ in wrong}
        confirmations, complete, count = [], [], 0
        with self._lock:
            with self.store.transaction():
                self._show_first(labeller, wrong_images)
                self._doubt(wrong)
                for image in asked.keys() - wrong_images:
                    row = self.store.image(image)
                    if row is None or row["state"] != WAITING or self._is_others(row, labeller):
                        continue
                    known = set(json.loads(row["confirmed"]))
                    new = {i for i in asked[image] if row["text"][i : i + 1] == character} - known
                    count += len(new)
                    where = row["path"]
                    confirmations.append(Change(image, where, where, WAITING, row["confirmed"]))
                    self.store.update(image, confirmed=json.dumps(sorted(known | new)))
                    if len(known | new) == len(row["text"]):
                        complete.append(row)
                if confirmations:
                    self.store.write_step(labeller, CONFIRM, confirmations)
            changes = []
            for row in complete:  # one that cannot be labelled is shown by itself
                try:
                    text = self._checked(row["text"], False)
                    changes.append(self._labelling(row, text, KEYS_OF_SCREEN))
                except LabelError:
                    self._show_first(labeller, [row["id"]])
            step = self._apply(labeller, LABEL, changes) if changes else None
        return {"step": step, "confirmed": count, "labelled": len(changes)}

    def _doubt(self, characters: Iterable[tuple[int, int]]) -> None:
        """Mark characters that somebody doubts: the page starts there."""
        for image, position in characters:
            row = self.store.image(image)
            confidences = json.loads(row["char_confidences"]) if row else []
            if position < len(confidences):
                confidences[position] = 0.0
                self.store.update_waiting(("char_confidences",), [(json.dumps(confidences), image)])

    def undo(self, labeller: str, *, lease: bool = True) -> dict[str, Any]:
        """Take back the last step, and where asked lease its images to the labeller."""
        with self._lock:
            last = self.store.last_step(labeller)
            if last is None:
                raise LabelError("nothing", "there is nothing to undo")
            done = self.store.changes_of(last["id"])
            if last["kind"] == SECOND:
                self.store.write_step(labeller, UNDO, [], last["id"])
            elif last["kind"] == CONFIRM:
                self._take_back_confirmations(labeller, last["id"], done)
                done = []
            else:
                self._take_back(labeller, last["id"], done)
                self._take_back_screen(labeller, last["id"], done)
            for change in done if lease else ():
                until = time.time() + LEASE_S
                self.store.update(change.image, leased_by=labeller, leased_until=until)
            return {
                "items": self._shown(self._required(change.image) for change in done),
                "labels": {str(change.image): change.label for change in done},
                "left": self.store.last_step(labeller) is not None,
            }

    def _take_back(self, labeller: str, step: int, done: Sequence[Change]) -> None:
        """Give the images of a step the state that they had before it."""
        changes, in_force = [], {}
        for change in done:
            row = self._required(change.image)
            if row["step"] != step:
                continue  # a later step has its own way back
            before = self.store.change_before(change.image, step)
            state, label = (before["state"], before["label"]) if before else (WAITING, "")
            in_force[change.image] = before["step"] if before else 0
            target = self._free_path(self._source_of(change, is_label=before is not None), row)
            changes.append(Change(change.image, row["path"], target, state, label, row["text"]))
        self._apply(labeller, UNDO, changes, step, in_force)

    def _source_of(self, change: Change, *, is_label: bool) -> str:
        """Return where an image was before a change; without a label not among those with one.

        The label before it may have been undone since.
        """
        if is_label:
            return change.source
        sources = [change.source, *self.store.sources(change.image)]
        labelled = {self.places.text(folder) for folder in self.places.labelled}
        return next((s for s in sources if os.path.dirname(s) not in labelled), change.source)

    def _take_back_screen(self, labeller: str, step: int, done: Sequence[Change]) -> None:
        """Take back the confirmations that completed the labels of a step, which came with it."""
        before = self.store.row("SELECT * FROM steps WHERE id = ? AND kind = ?", step - 1, CONFIRM)
        confirmed = self.store.changes_of(step - 1) if before else []
        came_with = bool(done) and all(change.keys == KEYS_OF_SCREEN for change in done)
        if came_with and {c.image for c in done} <= {c.image for c in confirmed}:
            self._take_back_confirmations(labeller, step - 1, confirmed)

    def _free_path(self, text: str, row: sqlite3.Row) -> str:
        """Return the path that an image had, or one next to it where another file has that now."""
        path = self.places.path(text)
        if row["path"] == text or not os.path.lexists(path):
            return text
        return self.places.text(path.with_name(f"{path.stem}-{row['digest']}{path.suffix}"))

    def _take_back_confirmations(self, labeller: str, step: int, done: Sequence[Change]) -> None:
        with self.store.transaction():
            self.store.write_step(labeller, UNDO, [], step)
            self.store.update_waiting(
                ("confirmed",), [(change.label, change.image) for change in done]
            )

    def _labelling(self, row: sqlite3.Row, text: str, keys: int | None) -> Change:
        """Return what labels an image; raises LabelError where its file is not the one shown."""
        try:
            self._content(row)
        except SampleError as error:
            raise self._lost(row, str(error)) from error
        target = self._under_label(row, self.places.path(row["path"]), text)
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

    def _under_label(self, row: sqlite3.Row, source: Path, text: str, serial: str = "") -> Path:
        try:
            return self.places.under_label(source, text, serial or row["digest"])
        except SampleError as error:
            raise LabelError("length", str(error)) from error

    def _apply(
        self,
        labeller: str,
        kind: str,
        changes: Sequence[Change],
        undoes: int | None = None,
        in_force: Mapping[int, int] | None = None,
    ) -> int:
        """Decide a step, and carry it out; raises LabelError where a file cannot be moved.

        What could not be moved has then its state of before.
        """
        before = {change.image: self._required(change.image) for change in changes}
        with self.store.transaction():
            step = self.store.write_step(labeller, kind, changes, undoes)
            for change in changes:
                self.store.decide(step, change, in_force=(in_force or {}).get(change.image))
        failure = carry_out(self.store, self.places, [c for c in changes if c.moves])
        left = [c for c in changes if self._required(c.image)["pending"] == step]
        if left:
            with self.store.transaction():
                for change in left:
                    row = before[change.image]
                    self.store.update(
                        change.image, pending=0, **{n: row[n] for n in ("step", "state", "label")}
                    )
                self._split_step(labeller, kind, step, undoes, changes, left)
            raise LabelError("failed", failure or "the name of a file is taken: try again")
        if kind == LABEL and len(changes) == 1:
            state = self._required(changes[0].image)["state"]
            if state != LABELLED:
                raise LabelError(state, NOT_LABELLED[state])
        return step

    def _split_step(
        self,
        labeller: str,
        kind: str,
        step: int,
        undoes: int | None,
        changes: Sequence[Change],
        left: Sequence[Change],
    ) -> None:
        """Undo a step of which some was left undone; what was done becomes a step of its own.

        Of an undoing it stays, and what it left becomes a step that can be undone.
        """
        of_step = [c for c in changes if c not in left]
        if undoes is not None and of_step:
            [undone] = self.store.rows("SELECT kind FROM steps WHERE id = ?", undoes)
            images, kind = {c.image for c in left}, undone["kind"]
            of_step = [c for c in self.store.changes_of(undoes) if c.image in images]
        else:
            self.store.write_step(labeller, UNDO, [], step)
        if of_step:
            own = self.store.write_step(labeller, kind, of_step)
            for change in of_step:
                self.store.update(change.image, step=own)

    def _checked(self, text: str, accept_new: bool) -> str:
        """Return a text as a label; raises LabelError where it cannot be one."""
        spec = self.spec
        text = spec.normalize(clean_label(text))
        if problem := spec.length_problem(text):
            raise LabelError("length", problem)
        if unknown := unknown_characters(text, spec.char_set):
            if any(unicodedata.category(c)[0] in "CMZ" for c in unknown):
                raise LabelError(
                    "malformed", "control characters and lone accents cannot be labels"
                )
            if not accept_new:
                raise LabelError(
                    "new_characters",
                    f"{' '.join(unknown)} is new: not in char_set",
                    characters=unknown,
                )
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
        holder = row["leased_by"].partition("#")[0]
        return holder not in ("", labeller) and row["leased_until"] >= time.time()

    def _show_first(self, labeller: str, images: Iterable[int]) -> None:
        rows = [row for image in images if (row := self.store.image(image))]
        own = [row["id"] for row in rows if not self._is_others(row, labeller)]
        self.store.update_waiting(
            ("urgent", "confirmed", "leased_by", "leased_until"),
            [(1, "[]", "", 0.0, image) for image in own],
        )


NOT_LABELLED = {
    GONE: "the file of the image is gone",
    DUPLICATE: "the same image is there already under this label",
}
