"""Sessions of one process share a pool of threads, as large as the first of them says."""

import subprocess
import sys

from cnnlib.paths import PROJECT_ROOT

CODE = """
import sys
from cnnlib import cores, recognizer
from cnnlib.networks import session
from cnnlib.training import trainer
for module in (session, trainer, recognizer):
    module.usable_cores = lambda: 2
from cnnlib.config import load_sample_config
from cnnlib.recognizer import Recognizer
from cnnlib.training import TrainModel
config = load_sample_config(sys.argv[1])
for what in sys.argv[2:]:
    if what == "train":
        TrainModel.from_config(config).train_cnn()
    else:
        Recognizer.from_config(config).close()
"""


def run(project, *order):
    return subprocess.run(
        [sys.executable, "-c", CODE, str(project.config_path), *order],
        cwd=PROJECT_ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stderr


def test_training_after_a_recogniser_says_that_it_is_slow(project, draw_images):
    project.change(network="cnn5", cycle_stop=2)
    draw_images(project.root / "sample" / "train", 10, seed=1)
    draw_images(project.root / "sample" / "test", 10, seed=2)
    assert "of 2 cores" not in run(project, "train", "recognise", "train")
    assert "trains on 1 of 2 cores: train in a process of its own" in run(
        project, "recognise", "train"
    )
