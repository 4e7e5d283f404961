"""TensorFlow's start-up lines do not reach the user; what is really wrong does."""

import subprocess
import sys

from cnnlib.paths import PROJECT_ROOT


def stderr_of(code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, encoding="utf-8"
    )
    return done.returncode, done.stderr


def test_starting_says_nothing_and_errors_after_it_pass():
    code = """
import os, sys
from cnnlib.networks.session import open_session, session_options
from cnnlib.networks.tensorflow_v1 import tf, without_noise
graph = tf.Graph()
with graph.as_default():
    one = tf.constant(1)
with open_session(graph, session_options()) as session:
    session.run(one)
print("started", file=sys.stderr)
with without_noise():
    print("said inside", file=sys.stderr)
print("failed call to cuInit, said by somebody else", file=sys.stderr)
raise SystemExit("an error")
"""
    assert stderr_of(code) == (
        1,
        "started\nsaid inside\nfailed call to cuInit, said by somebody else\nan error\n",
    )


SWALLOWS_INTERRUPTS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except:
    pass
"""


def test_ctrl_c_while_it_is_imported_ends_quietly(tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow/__init__.py").write_text(SWALLOWS_INTERRUPTS, encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import train_model\n"
    assert stderr_of(code + "sys.exit(train_model.main([]))") == (130, "interrupted\n")


def test_building_a_network_says_nothing_and_the_end_of_an_aborted_process_passes():
    code = """
import os, sys
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.networks.tensorflow_v1 import without_noise
from cnnlib.training import TrainModel
spec = CaptchaSpec(24, 40, 2, tuple("01"))
model = TrainModel("a", "b", "01", "c", 10, 1.0, 10, "png", 8, 8, spec=spec)
model.build_graph(10)
print("built", file=sys.stderr)
with without_noise():
    os.write(2, b"I0000 oneDNN custom operations are on.\\nF0000 the processor lacks AVX\\n")
    os.abort()
"""
    returned, stderr = stderr_of(code)
    assert returned not in (0, 1)  # 1: an exception
    assert stderr == "built\nF0000 the processor lacks AVX\n"
