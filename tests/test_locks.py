"""A second run is kept off; where a file system has no locks, work goes on with a warning."""

import errno
import os
import subprocess
import sys

import pytest

from cnnlib.dataset import verify_and_split
from cnnlib.errors import ModelError, SampleError
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.paths import PROJECT_ROOT
from tests.helpers import names_in

fcntl = pytest.importorskip("fcntl", reason="Windows has other locks")

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF, errno.EIO)


def refuse(monkeypatch, code):
    def flock(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("code", NO_LOCKS)
def test_model_folder_on_a_file_system_without_locks_is_used_with_one_warning(
    tmp_path, monkeypatch, capsys, code
):
    refuse(monkeypatch, code)
    with ModelFolder(tmp_path / "model").locked():
        pass
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert err.startswith(f"cannot lock {tmp_path / 'model'}")
    assert "make sure that no second training uses the folder" in err


@pytest.mark.parametrize("code", NO_LOCKS)
def test_images_on_a_file_system_without_locks_are_split_with_one_warning(
    folders, monkeypatch, capsys, code
):
    refuse(monkeypatch, code)
    folders.fill(3).split()
    assert folders.names()[0] == []
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and err.startswith(f"cannot lock {folders.origin.parent}")
    assert "make sure that no second run moves files there" in err


def test_both_folders_of_a_configuration_are_split_with_one_warning(
    project, draw_images, monkeypatch, capsys
):
    refuse(monkeypatch, errno.ENOLCK)
    for folder in ("origin", "new_train"):
        draw_images(project.root / "sample" / folder, 2)
    verify_and_split(project.sample)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert len(names_in(project.root / "sample/train")) == 2


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES])
def test_lock_of_another_run_is_told_from_a_missing_one(tmp_path, folders, monkeypatch, code):
    refuse(monkeypatch, code)
    with (
        pytest.raises(ModelError, match="another training is using"),
        ModelFolder(tmp_path / "model").locked(),
    ):
        pass
    with pytest.raises(SampleError, match="another run moves files into"):
        folders.fill(3).split()
    assert len(folders.names()[0]) == 3


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_model_folder_that_cannot_be_written_names_the_remedy(tmp_path, monkeypatch, code):
    def refused(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refused)
    expected = f"cannot write to .*model.*: {os.strerror(code)}; free some space, make it writable"
    with pytest.raises(ModelError, match=expected), ModelFolder(tmp_path / "model").locked():
        pass


def test_lock_is_free_again_after_an_error(tmp_path):
    folder = ModelFolder(tmp_path / "model")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), folder.locked():
            _ = 1 / 0


def test_one_folder_under_two_names_is_locked_once(folders):
    folders.fill(3)
    folders.train.mkdir()
    folders.test.symlink_to(folders.train)
    folders.split()
    assert len(folders.names()[1]) == 3


def test_nothing_installs_an_audit_hook_where_the_system_has_locks():
    """It would be called for each file and socket, and kill threads when lines are traced."""
    program = (
        "import sys\n"
        "hooks = []\n"
        "sys.addaudithook = hooks.append\n"
        "import cnnlib.serving.app, cnnlib.serving.waitress_server, train_model\n"
        "sys.exit(bool(hooks))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT).returncode == 0
