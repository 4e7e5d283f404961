"""Archives: their images are read where they are, and what cannot be read is said."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest
from PIL import Image

from cnnlib.bulk import archives, order
from cnnlib.bulk import run as bulk_run
from cnnlib.bulk.work_folder import WorkFolder
from cnnlib.errors import CaptchaError
from tests.bulk.helpers import Shades, names_of, rows_of, run
from tests.bulk.test_run import Stopped


def png(value):
    file = io.BytesIO()
    Image.new("L", (8, 8), value).save(file, "PNG")
    return file.getvalue()


FILES = {
    "./a/0.png": png(0),
    "a/1.png": png(255),
    "a/notes.txt": b"no image",
    "b/blob": png(255),
    "b/data": b"no image",
    "b/.hidden.png": png(0),
    "__MACOSX/b/3.png": png(0),
    "验/4.png": png(255),
    "empty.png": b"",
}
NAMES = ["a/0.png", "a/1.png", "b/blob", "验/4.png", "empty.png"]
TEXTS = ["0", "1", "1", "1", ""]


def tar(path, files=FILES, links=()):
    with tarfile.open(path, f"w:{path.suffix[1:] if path.suffix != '.tar' else ''}") as archive:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.LNKTYPE, "a/0.png"
            archive.addfile(info)
    return path


def zipped(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("a") if hasattr(archive, "mkdir") else None
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz", "x.zip"])
def test_images_of_an_archive(tmp_path, name):
    path = (zipped if name.endswith("zip") else tar)(tmp_path / name)
    output = tmp_path / "answers.csv"
    assert run(Shades(), [path], output).errors == 1
    rows = rows_of(output)
    assert [row["file"] for row in rows] == [f"{path}/{name}" for name in NAMES]
    assert [row["text"] for row in rows] == TEXTS
    assert "an empty file" in rows[-1]["error"]
    assert sorted(made.name for made in tmp_path.iterdir()) == ["answers.csv", name]


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.zip"])
def test_stopped_run_goes_on_within_an_archive(tmp_path, monkeypatch, name):
    monkeypatch.setattr(bulk_run, "COMMIT_S", -1)
    monkeypatch.setattr(order, "IMAGES_PER_CHUNK", 5)
    files = {f"{i:02d}.png": png(255 * (i % 2)) for i in range(50)}
    path = (zipped if name.endswith("zip") else tar)(tmp_path / name, files)
    (tmp_path / "last.png").write_bytes(png(0))
    output = tmp_path / "answers.csv"
    with pytest.raises(KeyboardInterrupt):
        run(Stopped(25, KeyboardInterrupt()), [path, tmp_path / "last.png"], output)
    done = WorkFolder(output, False).committed().rows
    assert 0 < done < 50
    again = Shades()
    run(again, [path, tmp_path / "last.png"], output)
    assert names_of(output) == [*(f"{path}/{name}" for name in files), str(tmp_path / "last.png")]
    assert again.read_images == 51 - done


def test_archive_that_changed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(order, "IMAGES_PER_CHUNK", 1)
    path, output = tar(tmp_path / "x.tar"), tmp_path / "answers.csv"
    with pytest.raises(KeyboardInterrupt):
        run(Stopped(2, KeyboardInterrupt()), [path], output)
    tar(path, dict(reversed(FILES.items())))
    with pytest.raises(CaptchaError, match=r"x\.tar has changed since the run began"):
        run(Shades(), [path], output)


def test_damaged_archives_lose_no_row_before_the_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(order, "IMAGES_PER_CHUNK", 1)
    files = {f"{i}.png": png(0) for i in range(6)}
    cut = tar(tmp_path / "cut.tar", files)
    header = cut.read_bytes().index(b"4.png")
    cut.write_bytes(cut.read_bytes()[: header + 540])
    bad_header = tar(tmp_path / "header.tar", files)
    data = bytearray(bad_header.read_bytes())
    data[header + 200] ^= 255
    bad_header.write_bytes(data)
    for path, whole in ((cut, 4), (bad_header, 4)):
        output = tmp_path / f"{path.name}.csv"
        assert run(Shades(), [path, path], output).errors == 2
        rows = rows_of(output)
        assert [row["text"] for row in rows] == ["0"] * whole + [""] + ["0"] * whole + [""]
        assert (rows[whole]["file"], rows[-1]["file"]) == (str(path), str(path))
        assert "the archive is damaged after its member" in rows[-1]["error"]


def test_damaged_member_of_a_zip_is_an_error_of_its_own(tmp_path):
    files = {f"{i}.png": png(i) for i in range(3)}
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    path.write_bytes(path.read_bytes().replace(files["1.png"], b"?" * len(files["1.png"])))
    assert run(Shades(), [path], tmp_path / "answers.csv").errors == 1
    assert "cannot be taken out of the archive" in rows_of(tmp_path / "answers.csv")[1]["error"]


def test_links_in_a_tar_are_said(tmp_path):
    path = tar(tmp_path / "x.tar", links=["c/link.png"])
    run(Shades(), [path], tmp_path / "answers.csv")
    assert "is a link to a/0.png" in rows_of(tmp_path / "answers.csv")[-1]["error"]


def test_members_that_are_too_large_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_IMAGE_BYTES", 10)
    for path in (tar(tmp_path / "x.tar"), zipped(tmp_path / "x.zip")):
        found = {member.name: member for member in archives.members(str(path))}
        assert not found["a/0.png"].data and "it is not a captcha" in found["a/0.png"].error
