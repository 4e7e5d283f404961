"""Scripts that cannot write say so, name the folder and the remedy, and leave nothing behind."""

from __future__ import annotations

import builtins
import errno
import io
import os
import pathlib
import subprocess
import sys
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest

import doctor
import new_project
import recognize_local
import recognize_online
import recognize_time_test
import test_batch
from cnnlib.client.api_client import Answer, Captcha, Client
from cnnlib.config import load_sample_config
from cnnlib.console import SilentReporter
from cnnlib.dataset.image_cache import cache_dir
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.verification import Rules
from cnnlib.evaluation import TestBatch
from cnnlib.evaluation.batch_test import compare
from cnnlib.importing import copying
from cnnlib.onnx_recognizer import OnnxRecognizer
from cnnlib.paths import ProjectPath
from cnnlib.recognizer import Prediction
from cnnlib.serving.app import create_recognize_app
from cnnlib.serving.service import ServingOptions
from gen_image import collect_labels, gen_sample_by_captcha
from tests.helpers import SPEC
from tests.serving.helpers import Named, png, upload, wait_for

FILLER = "filler"


class Disk:
    """A folder that works, until `fail` is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fail(self) -> None:
        raise NotImplementedError

    def work(self) -> None:
        """Have room again."""
        raise NotImplementedError

    def close(self) -> None:
        pass


class Mounted(Disk):
    """A file system of its own, of 256 kB."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
        if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a file system needs root, on Linux")

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


class Full(Mounted):
    def fail(self) -> None:
        with open(self.folder / FILLER, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(1024))

    def work(self) -> None:
        (self.folder / FILLER).unlink()


class ReadOnly(Mounted):
    def fail(self) -> None:
        self._remount("ro")

    def work(self) -> None:
        self._remount("rw")

    def _remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.folder)], check=True)


class _HalfWritten(io.BytesIO):
    """A file on a full disk: it takes half of the first piece."""

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        self._file = file

    def write(self, data) -> int:
        self._file.write(bytes(data[: len(data) // 2]))
        no_space()

    def fileno(self) -> int:
        no_space()

    def close(self) -> None:
        self._file.close()
        super().close()


def no_space() -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Simulated(Disk):
    """Files of the folder cannot be written or cannot be made, by the errno, also without root."""

    number = errno.ENOSPC

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._patch = pytest.MonkeyPatch()

    def fail(self) -> None:
        accessor = getattr(pathlib, "_normal_accessor", None)  # Python 3.10
        for module in (builtins, io, *([accessor] if accessor else [])):
            self._patch.setattr(module, "open", self._open)

    def work(self) -> None:
        self._patch.undo()

    close = work

    def _open(self, file, mode="r", *arguments, open=open, **options):
        path = Path(os.fspath(file)) if isinstance(file, (str, os.PathLike)) else None
        if path is None or self.folder not in path.parents or not set(mode) & set("wxa"):
            return open(file, mode, *arguments, **options)
        if self.number != errno.ENOSPC:
            raise OSError(self.number, os.strerror(self.number), str(path))
        raw = _HalfWritten(io.FileIO(path, mode.replace("b", "").replace("t", "")))
        return raw if "b" in mode else io.TextIOWrapper(raw, "utf-8", write_through=True)


class SimulatedReadOnly(Simulated):
    number = errno.EROFS


DISKS = {
    "full": Full,
    "read-only": ReadOnly,
    "as if full": Simulated,
    "as if read-only": SimulatedReadOnly,
}


@pytest.fixture(params=DISKS)
def disk(request, tmp_path):
    folder = tmp_path / "disk 验证"
    folder.mkdir()
    made = DISKS[request.param](folder)
    yield made
    made.close()


@pytest.fixture
def full_disk(tmp_path):
    """A small file system with some room left."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = Full(folder)
    yield made
    made.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != FILLER
    }


def assert_refused(
    disk: Disk, run, capsys, named: Path | None = None, code: int = 2, begins: str = "error: "
) -> None:
    """Run a script on a disk that fails: exit 2, one line with folder and remedy, no traces."""
    before = contents(disk.folder)
    disk.fail()
    ended = run()
    printed = capsys.readouterr().err
    disk.work()
    assert ended == code, printed
    [line] = [line for line in printed.splitlines() if line.startswith(begins)]
    assert str(named or disk.folder) in line
    assert "No space left on device" in line or "Read-only file system" in line
    assert "free some space" in line and "writable" in line
    assert contents(disk.folder) == before


# --- the clients ---


def assert_not_kept(disk: Disk, run, capsys) -> None:
    """Run a client on a disk that fails: it answers, and says once that it keeps no images."""
    assert_refused(disk, run, capsys, code=1, begins="cannot write an image to ")


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(Client, "recognize", lambda *_, **__: Answer("01", 0.9, 5.0, 1.0))
    monkeypatch.setattr(Client, "fetch", lambda _: Captcha(png(), "01"))


def test_recognize_local(project, draw_images, api, disk, capsys):
    images = draw_images(project.root / "mine", 12)
    project.change(local_image_dir=str(disk.folder))
    arguments = ["--config", str(project.config_path), str(images[0].parent)]
    assert_not_kept(disk, lambda: recognize_local.main(arguments), capsys)
    assert recognize_local.main(arguments) == 0 and len(contents(disk.folder)) == 12


def test_recognize_online(project, api, disk, capsys):
    project.change(online_image_dir=str(disk.folder))
    arguments = ["--config", str(project.config_path), "--times", "3"]
    assert_not_kept(disk, lambda: recognize_online.main(arguments), capsys)
    assert recognize_online.main(arguments) == 0 and len(contents(disk.folder)) == 3


def test_recognize_time_test(project, draw_images, api, disk, capsys):
    [image] = draw_images(project.root / "mine", 1)
    conf = disk.folder / "conf"
    conf.mkdir()
    (conf / "c.json").write_bytes(project.config_path.read_bytes())
    arguments = [str(image), "--times", "3", "--config", str(conf / "c.json")]
    assert_refused(disk, lambda: recognize_time_test.main(arguments), capsys)
    assert recognize_time_test.main(arguments) == 0
    assert {"test.csv", "test.png", "test_over_time.png"} < contents(disk.folder).keys()


def test_pictures_of_a_time_test(project, draw_images, api, disk, capsys, monkeypatch):
    """The table could be written, and the disk is full then."""
    [image] = draw_images(project.root / "mine", 1)
    conf = disk.folder / "conf"
    conf.mkdir()
    (conf / "c.json").write_bytes(project.config_path.read_bytes())
    monkeypatch.setattr(recognize_time_test, "write_csv", lambda *_: None)
    arguments = [str(image), "--times", "3", "--config", str(conf / "c.json")]
    assert_refused(disk, lambda: recognize_time_test.main(arguments), capsys)


# --- images, labels, configurations ---


class WrongAnswers(TestBatch):
    """A batch test that had all images of a folder wrong."""

    def __init__(self, folder: Path) -> None:
        self.img_path, self._reporter = ProjectPath(folder), SilentReporter()
        self.recognizer = OnnxRecognizer.__new__(OnnxRecognizer)  # it draws no pictures

    def test_batch(self):
        names = sorted(os.listdir(self.img_path))
        wrong = [Prediction("??", 0.5, (0.5, 0.5))] * len(names)
        return compare(names, ["01"] * len(names), wrong, 1.0)


def test_save_errors(project, draw_images, disk, capsys, monkeypatch):
    images = draw_images(project.root / "mine", 5)
    monkeypatch.setattr(TestBatch, "from_config", lambda *_: WrongAnswers(images[0].parent))
    arguments = ["--config", str(project.config_path), "--save-errors", str(disk.folder)]
    assert_refused(disk, lambda: test_batch.main(arguments), capsys)
    assert test_batch.main(arguments) == 0
    saved = contents(disk.folder)
    assert saved == {f"%3F%3F_for_{path.name}": path.read_bytes() for path in images}
    assert test_batch.main(arguments) == 0 and contents(disk.folder) == saved  # once more


@pytest.mark.parametrize("known", [None, '["b"]'])
def test_collect_labels(project, disk, capsys, known):
    origin = project.root / "sample" / "origin"
    origin.mkdir(parents=True)
    (origin / "ab_1.png").touch()
    output = disk.folder / "labels.json"
    if known:
        output.write_text(known)
    arguments = ["--config", str(project.config_path), "--output", str(output)]
    assert_refused(disk, lambda: collect_labels.main(arguments), capsys)
    assert collect_labels.main(arguments) == 0 and "a" in output.read_text()


def test_gen_sample(project, disk, capsys):
    options = ["--config", str(project.captcha_config_path), "--root-dir", str(disk.folder)]
    arguments = [*options, "--count", "10"]
    assert_refused(disk, lambda: gen_sample_by_captcha.main(arguments), capsys)
    assert gen_sample_by_captcha.main(arguments) == 0 and len(contents(disk.folder)) == 10


def test_gen_sample_that_meets_the_end_of_the_disk(project, full_disk, capsys):
    """With workers: what was written before is whole."""
    options = ["--config", str(project.captcha_config_path), "--root-dir", str(full_disk.folder)]
    assert gen_sample_by_captcha.main([*options, "--count", "400"]) == 2
    printed = capsys.readouterr().err
    assert str(full_disk.folder) in printed and "No space left on device; free some" in printed
    drawn = contents(full_disk.folder)
    assert drawn and all(data.endswith(b"IEND\xaeB`\x82") for data in drawn.values())
    assert all(name.endswith(".png") and not name.startswith(".") for name in drawn)


def test_new_project(draw_images, tmp_path, disk, capsys, monkeypatch):
    draw_images(tmp_path / "shop", 20)
    (disk.folder / "conf").mkdir()
    monkeypatch.setattr(new_project, "PROJECT_ROOT", disk.folder)
    monkeypatch.setattr(copying, "SPARE_BYTES", -(1 << 20))  # so that it starts on a full disk
    arguments = [str(tmp_path / "shop")]
    assert_refused(disk, lambda: new_project.main(arguments), capsys, disk.folder / "sample")
    assert new_project.main(arguments) == 0
    assert load_sample_config(disk.folder / "conf" / "shop.json").image_width == 40


def test_new_project_on_a_disk_that_becomes_full(
    draw_images, tmp_path, full_disk, capsys, monkeypatch
):
    for i, path in enumerate(draw_images(tmp_path / "shop", 40)):
        path.write_bytes(path.read_bytes() + bytes(20_000) + bytes([i]))
    monkeypatch.setattr(new_project, "PROJECT_ROOT", full_disk.folder)
    arguments = [str(tmp_path / "shop")]
    assert new_project.main(arguments) == 2
    assert "the images need" in capsys.readouterr().err
    monkeypatch.setattr(copying, "SPARE_BYTES", -(1 << 20))  # others take the room meanwhile
    assert new_project.main(arguments) == 2
    printed = capsys.readouterr().err
    assert f"cannot write to {full_disk.folder}/sample/shop: No space left on device" in printed
    assert "free some space, and run the same command again" in printed
    whole = {path.read_bytes() for path in (tmp_path / "shop").iterdir()}
    copied = [path for path in (full_disk.folder / "sample").rglob("*") if path.is_file()]
    assert {path.read_bytes() for path in copied if path.suffix == ".png"} <= whole
    assert [path.name for path in copied if path.suffix != ".png"] == ["sources.json"]


def test_picture_of_doctor(project, draw_images, disk, capsys, monkeypatch):
    for folder in ("train", "test"):
        draw_images(project.root / "sample" / folder, 5)
    project.change(model_save_dir=str(disk.folder))
    item = SimpleNamespace(name="a", label="01", answer="10", pixels=np.zeros((24, 40), np.uint8))
    audit = SimpleNamespace(doubtful=[item], pairs=[])
    monkeypatch.setattr(doctor.ModelFolder, "read", lambda _: True)
    monkeypatch.setattr(doctor, "load_recognizer", lambda _: nullcontext())
    monkeypatch.setattr(doctor, "audit_labels", lambda *_: audit)
    arguments = ["--config", str(project.config_path)]
    assert_refused(disk, lambda: doctor.main(arguments), capsys)
    assert doctor.main(arguments) == 0 and list(contents(disk.folder)) == ["doubtful.png"]


def test_decoded_images(draw_images, disk, capsys):
    """They are loaded all the same, and half a cache is not left on the full disk."""
    images = disk.folder / "train"
    draw_images(images, 5)
    cache = cache_dir(ProjectPath(images))
    cache.mkdir(parents=True)
    before = contents(disk.folder)
    disk.fail()
    loaded = load_images(images, Rules(SPEC), cached=True)
    disk.work()
    assert len(loaded) == 5 and contents(disk.folder) == before
    assert "decoded images are not kept for the next time" in capsys.readouterr().err


def test_pixels_whose_names_cannot_be_written_are_removed(tmp_path, draw_images, monkeypatch):
    draw_images(tmp_path / "train", 5)
    monkeypatch.setattr("cnnlib.dataset.image_cache.json.dumps", lambda _: no_space())
    assert len(load_images(tmp_path / "train", Rules(SPEC), cached=True)) == 5
    assert list(cache_dir(ProjectPath(tmp_path / "train")).iterdir()) == []


# --- the API ---


def test_api_goes_on_serving(disk, caplog):
    options = ServingOptions(api_image_dir=disk.folder)
    app = create_recognize_app({"a": Named("ab")}, options)
    with closing(app.extensions["service"]):
        client = app.test_client()

        def dropped():
            metrics = client.get("/metrics").get_data(as_text=True)
            return 'captcha_images_not_kept_total{reason="failed"} 5.0' in metrics

        disk.fail()
        for _ in range(5):
            assert client.post("/b", **upload(png())).status_code == 200
        wait_for(dropped)
        assert contents(disk.folder) == {}
        disk.work()
        assert client.post("/b", **upload(png())).status_code == 200
    [(name, data)] = contents(disk.folder).items()
    assert name.startswith("ab_") and data == png()
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1 and str(disk.folder) in errors[0] and "free some space" in errors[0]
