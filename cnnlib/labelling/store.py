"""The state of labelling, in one SQLite file; the images themselves stay files.

Everything that a labeller does is a row in `steps` and `changes`, the journal, to which rows are
added alone. A step and the new states of its images are written down at once, before a file moves;
`images.pending` names the step whose move is still to be made, by the next start if need be.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
AWAY = "away"  # it would wait, but its folder is not there, or was not given this time
# Of a step.
LABEL, MARK_UNREADABLE, CONFIRM = "label", "unreadable", "confirm"
SECOND, UNDO = "second", "undo"
UNRANKED = 1 << 40  # the rank of an image that is not in order yet
# What a model has read of a file that another one has replaced.
FORGET_READING = (
    "text = '', confidence = 0, char_confidences = '[]', boxes = '[]', confirmed = '[]', "
    f"weights = '', sketch = x'', rank = {UNRANKED}, urgent = 0, skipped = 0"
)

# Steps that were undone; an undoing that failed was undone itself.
UNDONE = (
    "SELECT undoes FROM steps WHERE undoes IS NOT NULL AND id NOT IN "
    "(SELECT undoes FROM steps WHERE undoes IS NOT NULL)"
)

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS images (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    state TEXT NOT NULL,
    by_chance INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    step INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0,
    label TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    confidence REAL NOT NULL DEFAULT 0,
    char_confidences TEXT NOT NULL DEFAULT '[]',
    boxes TEXT NOT NULL DEFAULT '[]',
    confirmed TEXT NOT NULL DEFAULT '[]',
    weights TEXT NOT NULL DEFAULT '',
    sketch BLOB NOT NULL DEFAULT x'',
    rank INTEGER NOT NULL DEFAULT {UNRANKED},
    urgent INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    leased_by TEXT NOT NULL DEFAULT '',
    leased_until REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS in_order ON images (state, by_chance, skipped, rank, digest);
CREATE INDEX IF NOT EXISTS in_chance_order ON images (state, by_chance, skipped, digest);
CREATE INDEX IF NOT EXISTS urgent ON images (state, urgent, skipped, digest);
CREATE INDEX IF NOT EXISTS by_text ON images (state, text, digest);
CREATE INDEX IF NOT EXISTS by_weights ON images (state, weights);
CREATE INDEX IF NOT EXISTS by_pending ON images (pending) WHERE pending;
CREATE INDEX IF NOT EXISTS by_lease ON images (leased_by);
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

    @property
    def moves(self) -> bool:
        return self.source != self.target


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
            self._connection.create_function("folder_of", 1, os.path.dirname)
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
        """Add images: path, digest, state, by_chance, reason.

        Those that are known stay as they are, but for files that could not be used, or were gone.
        """
        with self.transaction():
            self._connection.executemany(
                "INSERT INTO images (path, digest, state, by_chance, reason) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET digest = excluded.digest, "
                "state = excluded.state, by_chance = excluded.by_chance, "
                f"reason = excluded.reason, {FORGET_READING} "
                f"WHERE state IN ('{UNUSABLE}', '{GONE}')",
                images,
            )

    def show(self, folders: Collection[str]) -> None:
        """Let images in these folders wait, as in paths, and those in no others."""
        given, marks = list(folders), ", ".join("?" * len(folders))
        change = "UPDATE images SET state = '{}' WHERE state = '{}' AND pending = 0"
        away, back = change.format(AWAY, WAITING), change.format(WAITING, AWAY)
        with self.transaction():
            self._connection.execute(f"{away} AND folder_of(path) NOT IN ({marks})", given)
            self._connection.execute(f"{back} AND folder_of(path) IN ({marks})", given)

    def move(self, image_id: int, path: str, **values: Any) -> None:
        """Note where an image is now; a row that was made of the file there meanwhile gives way."""
        with self.transaction():
            self._connection.execute(
                f"UPDATE images SET path = path || '/' || id, state = '{GONE}' "
                "WHERE path = ? AND id != ?",
                (path, image_id),
            )
            self.update(image_id, path=path, **values)

    def image(self, image_id: int) -> sqlite3.Row | None:
        return self.row("SELECT * FROM images WHERE id = ?", image_id)

    def update(self, image_id: int, **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        with self.transaction():
            self._connection.execute(
                f"UPDATE images SET {names} WHERE id = ?", (*values.values(), image_id)
            )

    def update_waiting(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Set columns of images that still wait; a row has their values, then the id."""
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.transaction():
            self._connection.executemany(
                f"UPDATE images SET {names} WHERE id = ? AND state = '{WAITING}'", rows
            )

    def counts(self) -> dict[str, int]:
        """Return how many images are in each state."""
        counts = dict.fromkeys((WAITING, LABELLED, UNREADABLE, UNUSABLE, DUPLICATE), 0)
        for row in self.rows("SELECT state, count(*) AS n FROM images GROUP BY state"):
            counts[row["state"]] = row["n"]
        return {state: n for state, n in counts.items() if state not in (GONE, AWAY)}

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
                "UPDATE images SET leased_by = ?, leased_until = ? WHERE id = ? "
                f"AND (leased_by = ? OR (leased_until < ? AND state = '{WAITING}'))",
                [(labeller, now + seconds, image, labeller, now) for image in ids],
            )

    def release(self, labeller: str, keep: Iterable[int] = ()) -> None:
        """End all leases of a labeller, but for some images."""
        kept = set(keep)
        with self.transaction():
            held = self.rows("SELECT id FROM images WHERE leased_by = ?", labeller)
            self._connection.executemany(
                "UPDATE images SET leased_by = '', leased_until = 0 WHERE id = ?",
                [(row["id"],) for row in held if row["id"] not in kept],
            )

    def release_all(self) -> None:
        """End the leases of all labellers."""
        with self.transaction():
            self._connection.execute(
                "UPDATE images SET leased_by = '', leased_until = 0 WHERE leased_by != ''"
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

    def decide(self, step: int, change: Change, *, in_force: int | None = None) -> None:
        """Give an image the state that a change of a step says; its file is still to move.

        `in_force` is the step whose decision the image then has: for an undoing an earlier one.
        """
        self.update(
            change.image,
            step=step if in_force is None else in_force,
            pending=step if change.moves else 0,
            state=change.state,
            label=change.label if change.state == LABELLED else "",
            urgent=0,
            leased_by="",
            leased_until=0.0,
        )

    def pending(self) -> list[Change]:
        """Return the changes that were decided and whose files have not moved, the oldest first."""
        found = self.rows(
            "SELECT changes.* FROM images JOIN changes ON changes.image = images.id "
            "AND changes.step = images.pending WHERE images.pending ORDER BY changes.step"
        )
        return [change_of(row) for row in found]

    def last_step(self, labeller: str) -> sqlite3.Row | None:
        """Return the last step of a labeller that can be undone.

        Where there is none, that of somebody who has done nothing for ABSENT_S. Steps that were
        undone are left out, and so are undoings, and labels that somebody has changed since.
        """
        sql = (
            f"SELECT * FROM steps WHERE kind != '{UNDO}' AND id NOT IN ({UNDONE}) "
            f"AND (kind NOT IN ('{LABEL}', '{MARK_UNREADABLE}') OR EXISTS (SELECT 1 FROM changes "
            "JOIN images ON images.id = changes.image WHERE changes.step = steps.id "
            "AND images.step = steps.id)) AND labeller {} ORDER BY id DESC LIMIT 1"
        )
        own = self.row(sql.format("= ?"), labeller)
        present = "NOT IN (SELECT labeller FROM steps WHERE time > ?)"
        return own or self.row(sql.format(present), time.time() - ABSENT_S)

    def change_before(self, image: int, step: int) -> sqlite3.Row | None:
        """Return the change that an image had before a step; those that were undone are left out.

        It has the columns of a change.
        """
        return self.row(
            "SELECT changes.* FROM changes JOIN steps ON steps.id = changes.step "
            f"WHERE image = ? AND step < ? AND kind IN ('{LABEL}', '{MARK_UNREADABLE}') "
            f"AND step NOT IN ({UNDONE}) ORDER BY step DESC LIMIT 1",
            image,
            step,
        )

    def sources(self, image: int) -> list[str]:
        """Return where an image was before each of its steps, the newest first."""
        sql = "SELECT source FROM changes WHERE image = ? ORDER BY step DESC"
        return [row["source"] for row in self.rows(sql, image)]

    def changes_of(self, step: int) -> list[Change]:
        return [change_of(row) for row in self.rows("SELECT * FROM changes WHERE step = ?", step)]


def change_of(row: Mapping[str, Any] | sqlite3.Row) -> Change:
    return Change(*(row[name] for name in Change.__dataclass_fields__))
