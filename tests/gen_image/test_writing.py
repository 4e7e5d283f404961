"""Practice captchas on disk: none overwrites another file, and a crash leaves little behind."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cnnlib.errors import SampleError
from cnnlib.paths import ProjectPath
from gen_image import collect_labels, generator
from gen_image.generator import draw_samples
from tests.crashes import no_links
from tests.helpers import names_in


@pytest.mark.parametrize("links", [True, False])
def test_file_that_comes_at_the_last_moment_is_not_overwritten(project, monkeypatch, links):
    if not links:
        no_links(monkeypatch)
    names = iter(["00_1.png", "01_2.png"])
    monkeypatch.setattr(generator, "file_name", lambda *_: next(names))
    link, folder = os.link, project.root / "sample/origin"

    def too_late(source, target):
        if os.path.basename(target) == "01_2.png":
            (folder / "01_2.png").write_text("own")
        link(source, target)

    monkeypatch.setattr(os, "link", too_late)
    with pytest.raises(SampleError, match="cannot write an image to .*: the name is taken"):
        draw_samples(replace(project.captcha, count=2))
    assert names_in(folder) == ["00_1.png", "01_2.png"]
    assert (folder / "01_2.png").read_text() == "own"


def test_full_disk_names_folder_and_remedy_and_leaves_nothing_half(project, monkeypatch):
    link, linked = os.link, []

    def full(source, target):
        linked.append(target)
        if len(linked) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        link(source, target)

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(SampleError, match="sample/origin.*: No space left on device; free some"):
        draw_samples(project.captcha)
    assert len(names_in(project.root / "sample/origin")) == 2
    assert all(name.endswith(".png") for name in names_in(project.root / "sample/origin"))


def test_folder_that_cannot_be_made_names_the_remedy(project, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        SampleError, match="cannot write images to .*file.*make the folder writable"
    ):
        draw_samples(replace(project.captcha, root_dir=ProjectPath(tmp_path / "file")))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_list_of_characters_that_cannot_be_written_stays_as_it_was(
    project, draw_images, monkeypatch, capsys, code
):
    labels = project.root / "gen_image/labels.json"
    labels.parent.mkdir()
    labels.write_text('["z"]')
    draw_images(project.root / "sample/origin", 3)

    def full(path, data):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert collect_labels.main(["--config", str(project.config_path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: cannot write {labels}: {os.strerror(code)}; ")
    assert "free some space, or make its folder writable" in err
    assert names_in(labels.parent) == ["labels.json"] and labels.read_text() == '["z"]'
