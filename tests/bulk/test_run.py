"""Bulk runs: every image has one row, the right one, whatever the input and whatever stops them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from cnnlib.bulk import order, sorted_names
from cnnlib.bulk import run as bulk_run
from cnnlib.bulk.work_folder import LOCK, WorkFolder
from cnnlib.bulk.workers import ThreadWorkers
from cnnlib.errors import CaptchaError, ConfigError, SampleError
from cnnlib.paths import PROJECT_ROOT
from tests.bulk.conftest import CONFIG
from tests.bulk.helpers import Notes, Shades, names_of, rows_of, run
from tests.crashes import Crash, crash_at

KILLS = 4


@pytest.fixture
def output(tmp_path):
    return tmp_path / "answers.csv"


@pytest.fixture
def shades(tmp_path):
    """A folder of 100 tiny images in two folders."""
    for i in range(100):
        path = tmp_path / "shades" / f"{i // 50}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 255 * (i % 2)).save(path)
    return tmp_path / "shades"


@pytest.fixture
def every_chunk(monkeypatch):
    """Commit after each chunk of 5 images."""
    monkeypatch.setattr(bulk_run, "COMMIT_S", -1)
    monkeypatch.setattr(order, "IMAGES_PER_CHUNK", 5)


# --- answers ---


def test_answers_are_those_of_predict(reader, images, output):
    result = run(reader, [images], output)
    files = sorted(images.rglob("*.png"))
    assert (result.rows, result.errors) == (len(files), 0)
    opened = [Image.open(file) for file in files]
    answers = reader.predict(opened)
    for image in opened:
        image.close()
    rows = rows_of(output)
    assert [row["file"] for row in rows] == [str(file) for file in files]
    assert [row["text"] for row in rows] == [answer.text for answer in answers]
    assert [float(row["confidence"]) for row in rows] == pytest.approx(
        [answer.confidence for answer in answers], abs=1e-5
    )
    assert not list(output.parent.glob("*.unfinished"))


def test_bad_images_are_rows_with_an_error_and_the_run_goes_on(shades, output):
    (shades / "0" / "00.png").write_bytes(b"")
    (shades / "0" / "01.png").write_bytes(b"no image")
    Image.new("L", (9, 8)).save(shades / "0" / "02.png")
    os.mkfifo(shades / "pipe.png") if hasattr(os, "mkfifo") else None
    (shades / "notes.txt").write_text("left out")
    (shades / ".hidden.png").write_bytes(b"left out")
    (shades / "0" / "no_suffix").write_bytes((shades / "0" / "03.png").read_bytes())
    notes = Notes()
    result = run(Shades(), [shades], output, reporter=notes)
    assert (result.rows, result.errors) == (101, 3)
    rows = {Path(row["file"]).name: row for row in rows_of(output)}
    assert "an empty file" in rows["00.png"]["error"]
    assert "'no image'" in rows["01.png"]["error"]
    assert "image of 9x8, expected 8x8" in rows["02.png"]["error"]
    assert rows["02.png"]["text"] == rows["02.png"]["confidence"] == ""
    assert rows["no_suffix"]["text"] == rows["03.png"]["text"] == "1"
    assert "left out: " in notes.text


def test_where_all_images_fail_the_configuration_is_doubted(shades, output, monkeypatch):
    monkeypatch.setattr(bulk_run, "SUSPICIOUS_ROWS", 50)
    for file in shades.rglob("*.png"):
        Image.new("L", (9, 9)).save(file)
    notes = Notes()
    run(Shades(), [shades], output, reporter=notes)
    assert "Is --config that of these images?" in notes.text


def test_json_lines(shades, tmp_path):
    (shades / "0" / "00.png").write_bytes(b"")
    (shades / "0" / "验证.png").write_bytes((shades / "0" / "01.png").read_bytes())
    run(Shades(), [shades], tmp_path / "answers.jsonl")
    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 101 and '验证.png"' in "".join(lines)
    assert rows[0]["confidence"] is None and rows[0]["error"]
    assert rows[1] == {"file": f"{shades}/0/01.png", "text": "1", "confidence": 1.0, "error": ""}


def test_parquet(shades, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    monkeypatch.setattr("cnnlib.bulk.answers.ROWS_PER_GROUP", 30)
    (shades / "0" / "00.png").write_bytes(b"")
    run(Shades(), [shades], tmp_path / "answers.parquet")
    run(Shades(), [shades], tmp_path / "answers.csv")
    table = parquet.read_table(tmp_path / "answers.parquet").to_pylist()
    assert [row["file"] for row in table] == names_of(tmp_path / "answers.csv")
    assert table[0]["confidence"] is None and "empty" in table[0]["error"]
    assert (table[1]["text"], table[1]["confidence"], table[1]["error"]) == ("1", 1.0, "")


def test_parquet_without_pyarrow_says_how_to_install_it_before_anything_is_read(
    shades, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("cnnlib.packages.is_installed", lambda package: False)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-parquet\.txt"):
        run(Shades(), [shades], tmp_path / "answers.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["shades"]


# --- inputs ---


def test_order_is_that_of_the_names_also_where_they_do_not_fit_in_memory(
    shades, output, monkeypatch
):
    run(Shades(), [shades], output)
    before = names_of(output)
    assert before == sorted(before)
    monkeypatch.setattr(sorted_names, "NAMES_IN_MEMORY", 7)
    run(Shades(), [shades], output, overwrite=True)
    assert names_of(output) == before


def test_links_are_followed_but_in_no_circle(shades, output, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "elsewhere" / "x.png")
    (shades / "link").symlink_to(tmp_path / "elsewhere")
    (shades / "0" / "circle").symlink_to(shades)
    run(Shades(), [shades], output)
    names = names_of(output)
    assert f"{shades}/link/x.png" in names and len(names) == 101


def test_folders_of_any_depth(output, tmp_path):
    folder = tmp_path / "deep"
    deepest = folder.joinpath(*["d"] * 200)
    deepest.mkdir(parents=True)
    Image.new("L", (8, 8)).save(deepest / "x.png")
    assert run(Shades(), [folder], output).errors == 0
    assert names_of(output) == [str(deepest / "x.png")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_list_has_paths_relative_to_itself(shades, output, encoding):
    lines = ["0/00.png", "", str(shades / "1" / "51.png"), "0/验.png", "0/missing.png"]
    (shades / "0" / "验.png").write_bytes((shades / "0" / "01.png").read_bytes())
    (shades / "list.txt").write_text("\r\n".join(lines), encoding=encoding)
    run(Shades(), [shades / "list.txt"], output)
    rows = rows_of(output)
    assert [row["file"] for row in rows] == [line for line in lines if line]
    assert [row["text"] for row in rows] == ["0", "1", "1", ""]
    assert "No such file" in rows[3]["error"]


def test_names_that_are_no_text(shades, output):
    name = os.fsdecode(b'\xff\n,".png')
    try:
        (shades / "1" / name).write_bytes((shades / "0" / "01.png").read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    run(Shades(), [shades / "1"], output)
    assert [row["text"] for row in rows_of(output) if "\\udcff\n" in row["file"]] == ["1"]


def test_inputs_that_are_nothing_of_all(tmp_path, output):
    (tmp_path / "binary").write_bytes(b"\0\1\2")
    (tmp_path / "empty").mkdir()
    for text, message in (
        ("missing", "missing does not exist: name a folder"),
        ("binary", "is neither an image nor a tar"),
        ("empty", "no image in "),
    ):
        with pytest.raises(SampleError, match=message):
            run(Shades(), [tmp_path / text], output)
    with pytest.raises(ConfigError, match=r"must end in \.csv, \.jsonl or \.parquet"):
        run(Shades(), [tmp_path], tmp_path / "answers.xls")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["binary", "empty"]


# --- outputs that exist ---


def test_output_of_a_finished_run_stays(shades, output):
    run(Shades(), [shades], output)
    before = output.read_bytes()
    with pytest.raises(CaptchaError, match="exists, .* --overwrite"):
        run(Shades(), [shades / "0"], output)
    assert output.read_bytes() == before
    run(Shades(), [shades / "0"], output, overwrite=True)
    assert len(rows_of(output)) == 50


def test_file_that_comes_meanwhile_stays(shades, output):
    class Meanwhile(Shades):
        def _run(self, pixels):
            output.write_text("somebody's")
            return super()._run(pixels)

    with pytest.raises(CaptchaError, match="made by another program meanwhile"):
        run(Meanwhile(), [shades], output)
    assert output.read_text() == "somebody's"
    output.unlink()
    again = Shades()
    run(again, [shades], output)
    assert (len(rows_of(output)), again.read_images) == (100, 0)


def test_two_runs_at_a_time_are_refused(shades, output):
    with (
        WorkFolder(output, False).locked(Notes()),
        pytest.raises(CaptchaError, match="another run is writing"),
    ):
        run(Shades(), [shades], output)


def test_lock_that_cannot_be_taken_is_said(shades, output):
    (WorkFolder(output, False).path / LOCK).mkdir(parents=True)
    with pytest.raises(CaptchaError, match=f"cannot write .*{output.name}: Is a directory"):
        run(Shades(), [shades], output)


# --- stops ---


class Stopped(Shades):
    """Ends the run after some images, in the way of Ctrl-C or of a fault."""

    threads = 1  # of several, one may be late with the first images

    def __init__(self, after, error):
        super().__init__()
        self.after, self.error = after, error

    def _run(self, pixels):
        if self.read_images >= self.after:
            raise self.error
        return super()._run(pixels)


def stop(shades, output, after=60, error=None):
    with pytest.raises(KeyboardInterrupt if error is None else type(error)):
        run(Stopped(after, error or KeyboardInterrupt()), [shades], output)


def test_stopped_run_goes_on_and_reads_no_committed_image_again(shades, output, every_chunk):
    stop(shades, output)
    assert not output.exists()
    done = WorkFolder(output, False).committed().rows
    assert 0 < done <= 60
    again, notes = Shades(), Notes()
    result = run(again, [shades], output, reporter=notes)
    assert f"going on after {done} images" in notes.text
    assert (result.rows, again.read_images) == (100, 100 - done)
    assert names_of(output) == [str(file) for file in sorted(shades.rglob("*.png"))]


def test_unfinished_run_is_not_given_up_for_other_inputs_or_another_model(
    shades, output, every_chunk
):
    stop(shades, output)
    with pytest.raises(CaptchaError, match="unfinished run with other inputs"):
        run(Shades(), [shades / "0"], output, overwrite=True)
    other = Shades()
    other.spec = other.spec.with_fixed(8, 8, 1, "ab")
    with pytest.raises(CaptchaError, match="the model is another one"):
        run(other, [shades], output)
    assert run(Shades(), [shades], output).rows == 100


def test_inputs_that_changed_are_said_and_no_row_is_lost(shades, output, every_chunk):
    stop(shades, output)
    expected = [str(file) for file in sorted(shades.rglob("*.png"))]
    (shades / "1" / "99.png").unlink()
    for i in range(3):
        Image.new("L", (8, 8)).save(shades / "0" / f"0000{i}.png")
    notes = Notes()
    result = run(Shades(), [shades], output, reporter=notes)
    assert "changed since this run began: 100 names then, 102 now" in notes.text
    assert names_of(output) == expected and result.errors == 1


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("done", [True, False])
def test_crash_at_any_change_on_disk_loses_and_doubles_nothing(
    shades, tmp_path, every_chunk, suffix, done
):
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    whole = tmp_path / f"whole.{suffix}"
    run(Shades(), [shades], whole)
    output = tmp_path / f"answers.{suffix}"
    number, crashes = 1, 0
    while not output.exists():
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, number, done=done)
            try:
                run(Shades(), [shades], output)
            except Crash:
                crashes += 1
        number = number + 1 if number < 12 else number  # the later ones go on from the former
    if (tmp_path / f"answers.{suffix}.unfinished").exists():
        with suppress(CaptchaError):  # what is left is removed; the output may be known as finished
            run(Shades(), [shades], output)
    assert crashes > 10
    assert output.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.unfinished"))


SLOW = """
import sys, time
from pathlib import Path
from cnnlib.bulk import order, run as bulk_run
from tests.bulk.helpers import Shades, run
class Slow(Shades):
    def _run(self, pixels):
        time.sleep(0.04)
        with open(sys.argv[3], "a") as file:
            file.write("read\\n")
        return super()._run(pixels)
bulk_run.COMMIT_S, order.IMAGES_PER_CHUNK = 0.02, 3
run(Slow(), [sys.argv[1]], Path(sys.argv[2]))
"""


def test_kills_at_any_moment_lose_and_double_no_row(shades, output, tmp_path):
    began = tmp_path / "began"
    command = [sys.executable, "-c", SLOW, str(shades), str(output), str(began)]
    rng, killed = random.Random(0), 0
    for _ in range(KILLS):
        began.unlink(missing_ok=True)
        program = subprocess.Popen(command, cwd=PROJECT_ROOT)
        while not began.exists() and program.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        program.kill()
        killed += program.wait() == -signal.SIGKILL
    assert killed > 1
    if not output.exists():
        subprocess.run(command, cwd=PROJECT_ROOT, check=True)
    assert names_of(output) == [str(file) for file in sorted(shades.rglob("*.png"))]


def test_full_disk_says_so_and_the_run_goes_on_later(shades, output, every_chunk, monkeypatch):
    real, count = os.fsync, 0

    def full(descriptor):
        nonlocal count
        count += 1
        if count > 20:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CaptchaError, match="No space left on device; .*free some space"):
            run(Shades(), [shades], output)
    assert run(Shades(), [shades], output).rows == 100
    assert len(set(names_of(output))) == 100


# --- the script ---


def script(*arguments):
    return subprocess.Popen(
        [sys.executable, "recognize_batch.py", *map(str, arguments)],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_script_from_ctrl_c_to_the_end(images, output, drawn):
    for i in range(1200):
        (images / f"{i:04d}.png").write_bytes(drawn[i % len(drawn)])
    (images / "bad.png").write_bytes(b"bad")
    options = [images, "--output", output, "--config", CONFIG, "--runtime", "onnx"]
    first = script(*options)
    while not (Path(f"{output}.unfinished") / "run.json").exists() and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    out, error = first.communicate()
    assert first.returncode == 130, (out, error)
    assert "the same command goes on" in out and "Traceback" not in error
    second = script(*options)
    out, error = second.communicate()
    assert (second.returncode, error) == (0, "")
    assert "1,261 images" in out and "1 of them could not be read" in out
    assert len(set(names_of(output))) == 1261
    third = script(*options)
    out, error = third.communicate()
    assert (third.returncode, out) == (2, "") and "--overwrite" in error


def test_threads_are_as_many_as_asked_for(config):
    workers = ThreadWorkers.from_config(config, 3)
    assert workers.threads == 3
    workers.stop()
    workers.close()
