"""The state of labelling, in one SQLite file; the images themselves stay files.

Everything that a labeller does is a row in `steps` and `changes`, the journal, to which rows are
added alone. A change is written down before its file moves, and `images.step` says which change of
an image was carried out last: what was stopped between the two is carried out at the next start.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnlib.errors import CaptchaError
from cnnlib.files import make_folder

STATE_FILE = "labelling.sqlite"
FORMAT = 1
BUSY_S = 30.0  # to wait for another process
ABSENT_S = 60.0  # without a step: others may undo
# Of an image: to be labelled; labelled; said to be unreadable; not an image of this captcha; of a
# content that is there already; deleted by somebody else.
WAITING, LABELLED, UNREADABLE = "waiting", "labelled", "unreadable"
UNUSABLE, DUPLICATE, GONE = "unusable", "duplicate", "gone"
# Of a step.
LABEL, MARK_UNREADABLE, SECOND, UNDO = "label", "unreadable", "second", "undo"

SCHEMA = """
CREATE TABLE IF NOT EXISTS images (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    state TEXT NOT NULL,
    by_chance INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    step INTEGER NOT NULL DEFAULT 0,
    label TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    confidence REAL NOT NULL DEFAULT 0,
    char_confidences TEXT NOT NULL DEFAULT '[]',
    boxes TEXT NOT NULL DEFAULT '[]',
    confirmed TEXT NOT NULL DEFAULT '[]',
    weights TEXT NOT NULL DEFAULT '',
    sketch BLOB NOT NULL DEFAULT x'',
    rank INTEGER,
    urgent INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    leased_by TEXT NOT NULL DEFAULT '',
    leased_until REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS images_by_state ON images (state, by_chance, skipped, rank);
CREATE INDEX IF NOT EXISTS images_by_digest ON images (digest);
CREATE TABLE IF NOT EXISTS steps (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    labeller TEXT NOT NULL,
    kind TEXT NOT NULL,
    undoes INTEGER
);
CREATE TABLE IF NOT EXISTS changes (
    step INTEGER NOT NULL REFERENCES steps,
    image INTEGER NOT NULL REFERENCES images,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    state TEXT NOT NULL,
    label TEXT NOT NULL,
    suggestion TEXT NOT NULL,
    weights TEXT NOT NULL,
    keys INTEGER
);
CREATE INDEX IF NOT EXISTS changes_by_step ON changes (step);
CREATE INDEX IF NOT EXISTS changes_by_image ON changes (image);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Change:
    """What a step does to one image: from `source` to `target`, the same where no file moves.

    `state` and `label` are those of the image afterwards; `suggestion` is what weights had read.
    """

    image: int
    source: str
    target: str
    state: str
    label: str = ""
    suggestion: str = ""
    weights: str = ""
    keys: int | None = None  # pressed by the labeller


class LabelStore:
    """The SQLite file in a folder. Safe to use from threads; several processes may share it.

    Raises CaptchaError where it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.RLock()
        try:
            make_folder(folder)
            self._connection = sqlite3.connect(
                folder / STATE_FILE, timeout=BUSY_S, check_same_thread=False, isolation_level=None
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")  # a step outlasts a power cut
            self._connection.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise CaptchaError(
                f"cannot open {folder / STATE_FILE}: {error}; make the folder writable, or restore "
                "the file (without it the labels stay, and the history of them is lost)"
            ) from error
        if self.fact("format", str(FORMAT)) != str(FORMAT):
            raise CaptchaError(
                f"{folder / STATE_FILE} is of a newer version: use that, or move the file away"
            )

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all of what is done within whole or nothing; no other thread or process between."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        found = self.rows(sql, *values)
        return found[0] if found else None

    def count(self, sql: str, *values: Any) -> int:
        """Return the number that a query of one row and one column gives."""
        return int(self.rows(sql, *values)[0][0])

    def fact(self, name: str, default: str) -> str:
        """Return what is noted under a name; at first `default`, which is noted."""
        with self.transaction():
            self._connection.execute(
                "INSERT OR IGNORE INTO facts (name, value) VALUES (?, ?)", (name, default)
            )
            return str(self.rows("SELECT value FROM facts WHERE name = ?", name)[0]["value"])

    # --- images ---

    def add_images(self, images: Iterable[tuple[str, str, str, bool, str]]) -> None:
        """Add images that are not known yet: path, digest, state, by_chance, reason."""
        with self.transaction():
            self._connection.executemany(
                "INSERT OR IGNORE INTO images (path, digest, state, by_chance, reason) "
                "VALUES (?, ?, ?, ?, ?)",
                images,
            )

    def image(self, image_id: int) -> sqlite3.Row | None:
        return self.row("SELECT * FROM images WHERE id = ?", image_id)

    def update(self, image_id: int, **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        with self.transaction():
            self._connection.execute(
                f"UPDATE images SET {names} WHERE id = ?", (*values.values(), image_id)
            )

    def update_many(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Set columns of many images; a row has their values, then the id."""
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.transaction():
            self._connection.executemany(f"UPDATE images SET {names} WHERE id = ?", rows)

    def counts(self) -> dict[str, int]:
        """Return how many images are in each state."""
        counts = dict.fromkeys((WAITING, LABELLED, UNREADABLE, UNUSABLE, DUPLICATE), 0)
        for row in self.rows("SELECT state, count(*) AS n FROM images GROUP BY state"):
            counts[row["state"]] = row["n"]
        counts.pop(GONE, None)
        return counts

    # --- leases ---

    def lease(
        self,
        labeller: str,
        where: str,
        order: str,
        count: int,
        seconds: float,
        values: Sequence[Any] = (),
    ) -> list[sqlite3.Row]:
        """Lease images to a labeller that nobody else has; return them in order."""
        now = time.time()
        with self.transaction():
            found = self.rows(
                f"SELECT * FROM images WHERE ({where}) AND leased_until < ? "
                f"ORDER BY {order} LIMIT ?",
                *values,
                now,
                count,
            )
            self._connection.executemany(
                "UPDATE images SET leased_by = ?, leased_until = ? WHERE id = ?",
                [(labeller, now + seconds, row["id"]) for row in found],
            )
        return found

    def renew(self, labeller: str, ids: Iterable[int], seconds: float) -> None:
        """Lease for longer what a labeller has already, or had and nobody else has taken."""
        now = time.time()
        with self.transaction():
            self._connection.executemany(
                "UPDATE images SET leased_by = ?, leased_until = ? "
                "WHERE id = ? AND (leased_by = ? OR leased_until < ?)",
                [(labeller, now + seconds, image, labeller, now) for image in ids],
            )

    def release_all(self) -> None:
        """End the leases of all labellers."""
        with self.transaction():
            self._connection.execute("UPDATE images SET leased_by = '', leased_until = 0")

    def release(self, labeller: str, keep: Iterable[int] = ()) -> None:
        """End all leases of a labeller, but for some images."""
        kept = set(keep)
        held = self.rows("SELECT id FROM images WHERE leased_by = ?", labeller)
        with self.transaction():
            self._connection.executemany(
                "UPDATE images SET leased_by = '', leased_until = 0 WHERE id = ?",
                [(row["id"],) for row in held if row["id"] not in kept],
            )

    # --- the journal ---

    def write_step(
        self, labeller: str, kind: str, changes: Sequence[Change], undoes: int | None = None
    ) -> int:
        """Write down a step, before it is carried out; return its number."""
        with self.transaction():
            step = self._connection.execute(
                "INSERT INTO steps (time, labeller, kind, undoes) VALUES (?, ?, ?, ?)",
                (time.time(), labeller, kind, undoes),
            ).lastrowid
            self._connection.executemany(
                "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(step, *vars(change).values()) for change in changes],
            )
        return int(step or 0)

    def carried_out(self, step: int, change: Change, path: str, state: str) -> None:
        """Note that a change of a step was carried out, and where the image is now."""
        self.update(
            change.image,
            step=step,
            path=path,
            state=state,
            label=change.label if state == LABELLED else "",
            leased_by="",
            leased_until=0.0,
        )

    def unfinished(self) -> list[tuple[int, Change]]:
        """Return the changes that were written down and not carried out, the oldest first."""
        found = self.rows(
            "SELECT changes.* FROM changes JOIN images ON images.id = changes.image "
            "JOIN steps ON steps.id = changes.step "
            "WHERE changes.step > images.step AND steps.kind != ? ORDER BY changes.step",
            SECOND,
        )
        return [(row["step"], change_of(row)) for row in found]

    def last_step(self, labeller: str) -> sqlite3.Row | None:
        """Return the last step of a labeller that can be undone.

        Where there is none, that of somebody who has done nothing for ABSENT_S. Steps that were
        undone are left out, and so are undoings.
        """
        sql = (
            "SELECT * FROM steps WHERE kind IN (?, ?) AND id NOT IN "
            "(SELECT undoes FROM steps WHERE undoes IS NOT NULL) AND labeller {} "
            "ORDER BY id DESC LIMIT 1"
        )
        own = self.row(sql.format("= ?"), LABEL, MARK_UNREADABLE, labeller)
        present = "NOT IN (SELECT labeller FROM steps WHERE time > ?)"
        since = time.time() - ABSENT_S
        return own or self.row(sql.format(present), LABEL, MARK_UNREADABLE, since)

    def changes_of(self, step: int) -> list[Change]:
        return [change_of(row) for row in self.rows("SELECT * FROM changes WHERE step = ?", step)]


def change_of(row: Mapping[str, Any] | sqlite3.Row) -> Change:
    return Change(*(row[name] for name in Change.__dataclass_fields__))
