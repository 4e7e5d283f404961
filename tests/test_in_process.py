"""The scripts that ask the API, recognising by themselves instead."""

import shutil
import sys

import pytest

import recognize_local
import recognize_time_test
from cnnlib.dataset.images import open_image
from cnnlib.errors import ApiError
from cnnlib.in_process import InProcess
from cnnlib.recognizer import Recognizer
from tests.helpers import Project


def images(trained):
    return sorted((trained.root / "sample/test").glob("*.png"))[:5]


def test_answers_are_those_of_the_recogniser(trained):
    with InProcess(trained.sample) as asked, Recognizer.from_config(trained.sample) as recognizer:
        for path in images(trained):
            answer = asked.recognize(path.read_bytes(), path.name)
            [expected] = recognizer.predict([open_image(path)])
            assert (answer.value, answer.confidence) == (expected.text, expected.confidence)
            assert answer.request_ms == 0
        with pytest.raises(ApiError, match=r"note\.txt is refused: not a whole image"):
            asked.recognize(b"just text", "note.txt")


def test_scripts_need_no_server(trained, tmp_path, capsys, monkeypatch):
    trained_elsewhere = Project(tmp_path / "project")
    shutil.copytree(trained.root, trained_elsewhere.root)
    options = ["--runtime", "tensorflow", "--config", str(trained_elsewhere.config_path)]
    paths = [str(path) for path in images(trained)]
    assert recognize_local.main([*paths, *options]) == 0
    assert capsys.readouterr().out.endswith(" of 5 right\n")
    assert recognize_time_test.main([*paths, "--times", "10", *options]) == 0
    assert "10 answered, 0 failed" in capsys.readouterr().out
    assert (trained_elsewhere.root / "test.csv").exists()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert recognize_time_test.main([*paths, "--times", "1", *options]) == 0
    assert "no pictures: matplotlib is not installed" in capsys.readouterr().err
