"""The images in a tar or ZIP archive, one at a time; nothing is unpacked to disk."""

from __future__ import annotations

import lzma
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from cnnlib.bulk.inputs import is_hidden, is_image_name
from cnnlib.bulk.limits import MAX_IMAGE_BYTES, TOO_LARGE
from cnnlib.dataset.file_kinds import START_BYTES, suffix_of

BLOCK_BYTES = tarfile.BLOCKSIZE
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)
# Of a single member: encrypted, or compressed in a way that Python does not know.
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class Member:
    """An image of an archive, or why it cannot be read; the name is "" for the archive itself.

    `place` counts the members up to this one, those that are no images among them.
    """

    place: int
    name: str
    data: bytes = b""
    error: str = ""


def members(path: str, skip: int = 0) -> Iterator[Member]:
    """Yield the images after the first `skip` members, in the order of the archive.

    The last one says where the archive is damaged, if it is: what comes after that is lost.
    """
    place = skip
    try:
        read = _zip_members if zipfile.is_zipfile(path) else _tar_members
        for member in read(path, skip):
            place = member.place
            yield member
    except DAMAGE as error:
        yield Member(place, "", error=f"the archive is damaged after its member {place} ({error})")


def _zip_members(path: str, skip: int) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for place, info in enumerate(archive.infolist()[skip:], skip + 1):
            name = _image_name(info.filename)
            if info.is_dir() or not name:
                continue
            if info.file_size > MAX_IMAGE_BYTES:
                yield Member(place, name, error=TOO_LARGE)
                continue
            try:
                with archive.open(info) as file:
                    data = _image_data(name, file)
            except UNREADABLE as error:
                yield Member(place, name, error=f"cannot be taken out of the archive ({error})")
                continue
            if data is not None:
                yield Member(place, name, data)


def _tar_members(path: str, skip: int) -> Iterator[Member]:
    with tarfile.open(path, "r:*") as archive:
        place = 0
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else it would keep them all
            place += 1
            name = _image_name(info.name) if place > skip else ""
            if not name or info.isdir():
                continue
            if not info.isreg():
                if is_image_name(name):
                    yield Member(place, name, error=f"is a link to {info.linkname}: name its file")
            elif info.size > MAX_IMAGE_BYTES:
                yield Member(place, name, error=TOO_LARGE)
            elif (file := archive.extractfile(info)) is not None:
                data = _image_data(name, file)
                if data is not None:
                    yield Member(place, name, data)
        _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    """Raise ReadError where the last member is followed by anything but zeros.

    tarfile takes a damaged header for the end.
    """
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(BLOCK_BYTES).strip(b"\0"):
        raise tarfile.ReadError("bad header")


def _image_name(name: str) -> str:
    """Return a name without needless parts; "" where no image is to be expected."""
    name = posixpath.normpath(name.replace("\\", "/"))
    if is_image_name(name) is False or any(map(is_hidden, name.split("/"))):
        return ""
    return name


def _image_data(name: str, file: IO[bytes]) -> bytes | None:
    """Return the content of a file; None where neither its name nor its start are an image's."""
    start = file.read(START_BYTES)
    if not is_image_name(name) and not suffix_of(start):
        return None
    return start + file.read(MAX_IMAGE_BYTES)
