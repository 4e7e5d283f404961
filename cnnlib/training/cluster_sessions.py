"""The servers and sessions of a cluster, and who watches whom."""

from __future__ import annotations

import ctypes
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cnnlib.console import Reporter, say_if_heard
from cnnlib.errors import CaptchaError
from cnnlib.networks.session import session_options
from cnnlib.networks.tensorflow_v1 import quiet_log, tf, without_noise
from cnnlib.networks.weights import Tensor
from cnnlib.training.cluster import Cluster
from cnnlib.training.replication import LOST, Phase, Replication, left_queue

POLL_S = 0.5
BEAT_S = 2.0  # between two signs of life of a worker
SILENT_S = 15.0  # without one, it is missing
ANNOUNCED_AFTER_S = 10.0  # it is said that a server is waited for
LEAVE_S = 10.0  # for workers to notice that a run has ended


# --- the chief ---


@contextmanager
def chief_session(
    replication: Replication, initializer: Tensor, options: Any, reporter: Reporter
) -> Iterator[Any]:
    """Give the session of the chief, tf.Session; at its end all other processes leave.

    Raises CaptchaError where a parameter server is missing or lost.
    """
    keeper = _KeepSession()
    with _training_session(replication, initializer, options, keeper, reporter):
        if replication.is_ending(keeper.session):
            raise CaptchaError(
                "the parameter servers are about to leave the run before this one: start all again"
            )
        try:
            yield keeper.session
        except LOST:
            raise  # nobody is there to be told
        except BaseException:
            replication.end(keeper.session)
            raise
        replication.end(keeper.session)


@contextmanager
def watched(
    replication: Replication, session: Any, stop: threading.Event, reporter: Reporter
) -> Iterator[None]:
    """Report workers that are missing; set `stop` where they hold the run up for too long.

    Raises CaptchaError at the end where that was the reason to stop.
    """
    watch = _Watch(replication, session, stop, reporter)
    with watch:
        yield
    if watch.given_up:
        raise CaptchaError(
            f"{watch.given_up} did not take part for {replication.cluster.patience_s:.0f} s: start "
            "it, and read what it says. The same commands then go on from the last save"
        )


class _Watch:
    """A thread of the chief that observes the others while the chief waits for a step.

    It is also the one that notices Ctrl-C then: Python calls no handler meanwhile.
    """

    def __init__(
        self, replication: Replication, session: Any, stop: threading.Event, reporter: Reporter
    ) -> None:
        self._replication, self._session = replication, session
        self._stop, self._reporter = stop, reporter
        self._signals, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)  # as signal.set_wakeup_fd wants it
        self._signals.settimeout(BEAT_S)
        self._thread = threading.Thread(target=self._observe, daemon=True)
        self._signs: dict[int, tuple[int, float]] = {}  # the last of each, and when it came
        self._missing: set[int] = set()
        self._step, self._stepped_s = -1, 0.0  # the last step, and when it was seen
        self.given_up = ""  # the worker that was missing for too long

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
        self._wakeup.close()
        self._thread.join(BEAT_S)  # it may wait for a server that is lost

    def _observe(self) -> None:
        with self._signals:
            while True:
                try:
                    if not self._signals.recv(1):
                        return  # the run is over
                    self._stop.set()
                except TimeoutError:
                    self._poll()
                if self._stop.is_set() or self._replication.failure:
                    with suppress(tf.errors.OpError):
                        self._replication.give_tokens(self._session)

    def _poll(self) -> None:
        """Report who is missing, and who is there again."""
        cluster, now = self._replication.cluster, time.monotonic()
        try:
            step, beats = self._replication.progress(self._session)
        except tf.errors.OpError:
            return  # the loop notices it, too
        if step != self._step:
            self._step, self._stepped_s = step, now
        for position, count in enumerate(beats):
            if self._signs.get(position, (-1, 0.0))[0] != count:
                self._signs[position] = count, now
        workers = range(1, cluster.replicas)  # the chief is not missing
        missing = {p for p in workers if self._signs[p][1] < now - SILENT_S}
        for position in sorted(missing - self._missing):
            say_if_heard(self._reporter, f"{cluster.replica_at(position)} is missing")
        for position in sorted(self._missing - missing):
            say_if_heard(self._reporter, f"{cluster.replica_at(position)} takes part")
        self._missing = missing
        late = [p for p in sorted(missing) if self._signs[p][1] < now - cluster.patience_s]
        if late and self._stepped_s < now - cluster.patience_s:
            self.given_up = cluster.replica_at(late[0])
            self._stop.set()


class _KeepSession(tf.train.SessionRunHook):
    """Keeps the plain session: a MonitoredSession would begin again where a server is lost."""

    session: Any = None

    def after_create_session(self, session: Any, coord: Any) -> None:
        self.session = session


# --- workers ---


@contextmanager
def worker_session(
    replication: Replication, options: Any, stop: threading.Event, reporter: Reporter
) -> Iterator[Any]:
    """Give the session of a worker, tf.train.MonitoredSession, that gives signs of life.

    It waits for parameter servers that were lost. `stop` is set where the run has ended. Raises
    CaptchaError where a parameter server is missing.
    """
    hook = _JoinAgain(replication)
    with (
        _training_session(replication, None, options, hook, reporter) as session,
        _alive(replication, hook.session.sess_str, stop),
    ):
        yield session


@contextmanager
def _alive(replication: Replication, target: str, stop: threading.Event) -> Iterator[None]:
    """Give signs of life from a thread; set `stop` where the run has ended."""
    over = threading.Event()

    def beat() -> None:
        options = _options(replication.cluster)
        with tf.Session(target, graph=replication.step.graph, config=options) as session:
            while not over.wait(BEAT_S):
                with suppress(tf.errors.OpError):  # the server was lost; it may come back
                    if replication.beat(session) is Phase.ENDED:
                        stop.set()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(BEAT_S)


class _JoinAgain(_KeepSession):
    """Lets a worker whose connection was lost, and with it perhaps a token, go on without one."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication

    def after_create_session(self, session: Any, coord: Any) -> None:
        super().after_create_session(session, coord)
        self._replication.join(session)


# --- parameter servers ---


def serve_parameters(cluster: Cluster, reporter: Reporter) -> None:
    """Hold weights for a cluster until its run has ended."""
    server = _start_server(cluster, session_options())
    with tf.Graph().as_default() as graph:
        left = left_queue(cluster, cluster.index).size()
    reporter.say(f"{cluster.name} holds weights at {cluster.address}")
    with tf.Session(server.target, graph=graph, config=_options(cluster)) as session:
        while not session.run(left):
            time.sleep(POLL_S)
        until = time.monotonic() + LEAVE_S
        while session.run(left) < cluster.replicas and time.monotonic() < until:
            time.sleep(POLL_S)
    reporter.say("the run has ended")


# --- all ---


@contextmanager
def _training_session(
    replication: Replication, initializer: Tensor, options: Any, hook: Any, reporter: Reporter
) -> Iterator[Any]:
    cluster = replication.cluster
    server = _start_server(cluster, options)
    _reach_servers(cluster, reporter)
    options.device_filters.extend(_filters(cluster))
    with replication.step.graph.as_default(), quiet_log():
        session = tf.train.MonitoredTrainingSession(
            server.target,
            cluster.is_chief,
            hooks=[hook],
            config=options,
            scaffold=replication.scaffold(initializer),
            stop_grace_period_secs=1,
        )
        try:
            yield session
        except LOST as error:
            _keep_for_ever(hook.session)
            raise CaptchaError(
                f"a parameter server ({', '.join(cluster.addresses['ps'])}) was lost: start it "
                "again. The same commands then go on from the last save"
            ) from error
        except BaseException:
            session.close()
            raise
        session.close()


def _keep_for_ever(session: Any) -> None:
    """Let nothing close a tf.Session, not even the end of Python: it would wait for its servers."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


def _start_server(cluster: Cluster, options: Any) -> Any:
    """Start TensorFlow's server of this task; raises CaptchaError where its port is taken."""
    try:
        with without_noise():
            return tf.train.Server(
                tf.train.ClusterSpec(cluster.jobs), cluster.job, cluster.index, config=options
            )
    except tf.errors.OpError as error:
        raise CaptchaError(
            f"{cluster.name} cannot listen at {cluster.address}: another program uses the port "
            f"({str(error).splitlines()[0]})"
        ) from error


def _reach_servers(cluster: Cluster, reporter: Reporter) -> None:
    """Wait for the parameter servers; a session would wait for ever."""
    for index, address in enumerate(cluster.addresses["ps"]):
        host, _, port = address.rpartition(":")
        name, began_s, announced = f"ps:{index} at {address}", time.monotonic(), False
        while True:
            try:
                socket.create_connection((host, int(port)), POLL_S).close()
                break
            except OSError as error:
                waited_s = time.monotonic() - began_s
                if waited_s > cluster.patience_s:
                    raise CaptchaError(
                        f"{name} does not answer for {waited_s:.0f} s ({error}): start it, and let "
                        "no firewall be between the machines"
                    ) from error
                if waited_s > ANNOUNCED_AFTER_S and not announced:
                    reporter.say(f"waiting for {name} ({error})")
                    announced = True
                time.sleep(POLL_S)


def _filters(cluster: Cluster) -> list[str]:
    """Return whom this process talks to: no worker waits for another one."""
    return ["/job:ps", f"/job:{cluster.job}/task:{cluster.index}"]


def _options(cluster: Cluster) -> Any:
    return tf.ConfigProto(device_filters=_filters(cluster))
