"""The order of a run: all names, in a file, and the images from any place in it on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from cnnlib.bulk.archives import members
from cnnlib.bulk.inputs import ARCHIVE, LIST, Source

IMAGES_PER_CHUNK = 32  # as the network reads at a time
BYTES_PER_CHUNK = 8_000_000  # of images out of archives, which are in memory
URL_STARTS = ("http://", "https://")


@dataclass(frozen=True)
class Position:
    """How far a run has come: bytes of the order, and members of the archive that stands there."""

    offset: int = 0
    member: int = 0


@dataclass(frozen=True)
class Item:
    """An image to be read: `path` is a file or a URL, unless `data` or an `error` is known."""

    name: str  # in the answers
    path: str = ""
    data: bytes | None = None
    error: str = ""

    @property
    def is_url(self) -> bool:
        return self.data is None and not self.error and self.path.startswith(URL_STARTS)


@dataclass(frozen=True)
class Chunk:
    """Some images that are read together, and where the next ones begin."""

    items: list[Item]
    ends: Position


@dataclass(frozen=True)
class Contents:
    """What an order has: names, of which an archive is one, and a hash of all."""

    names: int
    digest: str


def write_order(names: Iterable[tuple[int, str]], file: IO[bytes] | None) -> Contents:
    """Write an order, a JSON list a line; without a file only say what it would have."""
    count, digest = 0, hashlib.blake2b(digest_size=16)
    for source, name in names:
        line = json.dumps([source, name], separators=(",", ":")).encode("ascii") + b"\n"
        digest.update(line)
        count += 1
        if file:
            file.write(line)
    return Contents(count, digest.hexdigest())


def chunks(order: Path, sources: Sequence[Source], start: Position) -> Iterator[Chunk]:
    """Yield the images from a position on, some at a time."""
    items: list[Item] = []
    size, ends = 0, start
    for item, ends in _items(order, sources, start):
        items.append(item)
        size += len(item.data or b"")
        if len(items) >= IMAGES_PER_CHUNK or size >= BYTES_PER_CHUNK:
            yield Chunk(items, ends)
            items, size = [], 0
    if items:
        yield Chunk(items, ends)


def _items(
    order: Path, sources: Sequence[Source], start: Position
) -> Iterator[tuple[Item, Position]]:
    """Yield each image, and the position after it."""
    with open(order, "rb") as file:
        file.seek(start.offset)
        skip, position = start.member, start
        for line in file:
            number, name = json.loads(line)
            source, after = sources[number], Position(position.offset + len(line))
            if source.kind == ARCHIVE:
                for item, member in _archived(source, skip):
                    # After damage nothing of the archive is left.
                    yield item, replace(position, member=member) if member else after
                skip = 0
            else:
                yield _item(source, name), after
            position = after


def _archived(source: Source, skip: int) -> Iterator[tuple[Item, int]]:
    """Yield the images of an archive, each with its place; 0 where the archive is damaged."""
    for member in members(source.path, skip):
        if member.name:
            name = f"{source.typed}/{member.name}"
            yield Item(name, data=member.data, error=member.error), member.place
        else:
            yield Item(source.typed, error=member.error), 0


def _item(source: Source, name: str) -> Item:
    if not name:  # a single image
        return Item(source.typed, source.path)
    if source.kind == LIST:
        if name.startswith(URL_STARTS):
            return Item(name, name)
        return Item(name, os.path.join(os.path.dirname(source.path), name))
    return Item(f"{source.typed}/{name}", os.path.join(source.path, name))
