"""Settings of gunicorn for the recognition API, on Linux; from the project's folder:

    pip install -r requirements-deploy.txt
    gunicorn -c deploy/gunicorn.conf.py "webserver_recognize_api:create_app()"

One worker for each core that this process may use, and one thread of TensorFlow in each: together
they use the machine without competing for its cores. Another number of workers, or another address,
on the command line: --workers 4 --bind 127.0.0.1:7000.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

# gunicorn may be started from another folder, and imports this file by its path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cnnlib.cores import usable_cores
from cnnlib.serving.limits import SERVER_THREADS

bind = "127.0.0.1:6000"
workers = usable_cores()
worker_class = "gthread"
threads = SERVER_THREADS
# TensorFlow does not survive a fork: each worker imports it and loads the models itself.
preload_app = False
keepalive = 75  # longer than nginx keeps its connections to us, so that it is nginx who closes
timeout = 60  # loading the models counts
graceful_timeout = 10  # for answers in flight on SIGTERM
worker_tmp_dir = "/dev/shm"  # a slow disk must not make a worker look dead

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
control_socket_disable = True  # of gunicorn 25 and later: its file would need a writable folder
# /metrics answers for all workers, through files that they share.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="cnn_captcha_metrics_")


def worker_exit(server: object, worker: object) -> None:
    """Finish what is queued: images to recognise, and uploads to write."""
    app = getattr(worker, "wsgi", None)
    if app is not None:
        app.extensions["service"].close()


def child_exit(server: object, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server: object) -> None:
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
