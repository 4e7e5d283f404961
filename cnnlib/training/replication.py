"""One network in several processes: weights on parameter servers, steps of all together.

Between-graph replication with synchronous updates: each process builds the same graph, in which
only the weights have a place on parameter servers, and computes the gradients of its share of each
batch. Once all have done so, the chief's process has the servers apply their mean, and gives every
process a token for the next step (Chen et al. 2016, "Revisiting distributed synchronous SGD").

Tokens are never short, whoever is killed: a process that starts again needs none for its first
step, a chief that does gives out new ones, and gradients that come too late are dropped.
"""

from __future__ import annotations

import enum
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import numpy as np

from cnnlib.console import Reporter
from cnnlib.errors import CaptchaError, ConfigError
from cnnlib.networks.checkpoint import assign
from cnnlib.networks.session import session_options
from cnnlib.networks.tensorflow_v1 import quiet_log, tf, without_noise
from cnnlib.networks.weights import Tensor
from cnnlib.training.cluster import Cluster

SHARED = "shared_by_cluster"  # the collection of what no checkpoint has
BEAT_S = 2.0  # between two signs of life of a worker
SILENT_S = 15.0  # without one, it is missing
LEAVE_S = 30.0  # for workers to notice that a run has ended
POLL_S = 0.5
PATIENT_S = 10.0  # before it is said that a server is waited for
_abandoned: list[Any] = []  # sessions
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


class Phase(enum.IntEnum):
    """Where a run is."""

    WAITING = 0  # for the chief
    RUNNING = 1
    ENDED = 2


def placed(cluster: Cluster | None) -> AbstractContextManager[Any]:
    """Place what is built inside on the machines of a cluster: variables on its servers.

    Each server has about as many bytes of them, and so of what the network carries.
    """
    if cluster is None:
        return nullcontext()
    return tf.device(
        tf.train.replica_device_setter(
            worker_device=f"/job:{cluster.job}/task:{cluster.index}",
            cluster=tf.train.ClusterSpec(_jobs(cluster)),
            ps_strategy=_LeastLoaded(len(cluster.addresses["ps"])),
        )
    )


class _LeastLoaded:
    """Chooses the server for each variable: the one that has the fewest values so far."""

    def __init__(self, servers: int) -> None:
        self._values = [0] * servers

    def __call__(self, operation: Any) -> int:
        index = self._values.index(min(self._values))
        self._values[index] += tf.TensorShape(operation.get_attr("shape")).num_elements()
        return index


class Replication:
    """What the processes of a cluster share beside the weights; built in the graph of each."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        with tf.device("/job:ps/task:0"):
            self.step = _shared("step", 0, tf.int64)  # updates of the run, and of those before it
            self.rate = _shared("rate", 0.0, tf.float32)
            self._phase = _shared("phase", Phase.WAITING, tf.int64)
            self._started = _shared("started", 0, tf.int64)  # from weights that know something
            self._what = _shared("what", 0, tf.int64)  # is trained, as a number
            self._beats = _shared("beats", [0] * cluster.replicas, tf.int64)
            self._beat = tf.scatter_add(self._beats, [cluster.position], [1])
        self._state = (self._phase, self.step, self._started, self._what)
        self._ended = [_ended(cluster, index) for index in range(len(cluster.addresses["ps"]))]
        self._leave = [queue.enqueue(True) for queue in self._ended]
        self._optimizer: Any = None
        self.failure: Exception | None = None  # of the servers, to apply gradients

    def synchronized(self, optimizer: Any, gradients: Any, new_rate: Tensor) -> Tensor:
        """Return what a step of this process runs: `optimizer` learns from the mean of all.

        The learning rate is what the chief feeds to `new_rate`.
        """
        count = self.cluster.replicas
        with quiet_log():
            self._optimizer = tf.train.SyncReplicasOptimizer(optimizer, count, count)
        before = [self.rate.assign(new_rate)] if self.cluster.is_chief else []
        with tf.control_dependencies(before):
            gradients = [(tf.identity(gradient), variable) for gradient, variable in gradients]
        with quiet_log():
            step = self._optimizer.apply_gradients(gradients, self.step)
        self._optimizer.ready_for_local_init_op.mark_used()  # or TensorFlow complains of workers
        self._give_tokens = self._optimizer.get_init_tokens_op(count)
        return step

    def scaffold(self, initializer: Tensor) -> Any:
        """Return how a session of this process comes to its variables, tf.train.Scaffold.

        The chief's initializes them all; workers ask for the phase of the run themselves.
        """
        nothing = tf.constant([], tf.string)  # is missing
        shared = tf.variables_initializer(tf.get_collection(SHARED))
        return tf.train.Scaffold(
            init_op=tf.group(initializer, shared) if self.cluster.is_chief else tf.no_op(),
            ready_op=nothing,
            ready_for_local_init_op=nothing,
            local_init_op=tf.no_op(),
            summary_op=nothing,
        )

    # What the chief does

    def begin(self, session: Any, step: int, started: bool, what: int) -> None:
        """Let all processes take part in a run that goes on after `step`.

        `what` must be the same for all: it stands for the configuration.
        """
        values = [(self.step, step), (self._started, int(started)), (self._what, what)]
        assign(session, values)
        session.run(self._optimizer.chief_init_op)
        session.run(self._give_tokens)
        threading.Thread(target=self._apply, args=[session], daemon=True).start()
        assign(session, [(self._phase, Phase.RUNNING)])

    def _apply(self, session: Any) -> None:
        """Have the servers apply the mean of all gradients, and give tokens, until the end."""
        [apply] = self._optimizer.get_chief_queue_runner().enqueue_ops
        try:
            while True:
                session.run(apply)
        except (*LOST, RuntimeError):  # the session was closed, or its loop notices it, too
            return
        except tf.errors.OpError as error:
            self.failure = error

    def end(self, session: Any) -> None:
        """Let all other processes leave, also those that wait for a step."""
        assign(session, [(self._phase, Phase.ENDED)])
        session.run([self._give_tokens, *self._leave])

    @contextmanager
    def watched(self, session: Any, stop: threading.Event, reporter: Reporter) -> Iterator[None]:
        """Report workers that are missing; set `stop` where one is so for too long.

        Raises CaptchaError at the end where that was the reason to stop, or the servers failed.
        """
        watch = _Watch(self, session, stop, reporter)
        with watch:
            yield
        if self.failure:
            raise CaptchaError(f"a parameter server cannot learn: {self.failure}") from self.failure
        if watch.given_up:
            raise CaptchaError(
                f"{watch.given_up} did not take part for {self.cluster.patience_s:.0f} s: start "
                "it, and look at what it says. The same commands then go on from the last save"
            )

    # What workers do

    def join(self, session: Any) -> None:
        """Take part from the step that the run is at."""
        with suppress(tf.errors.FailedPreconditionError):  # the chief has not begun yet
            session.run(self._optimizer.local_step_init_op)

    def look(self, session: Any, what: int) -> tuple[Phase, int, bool]:
        """Return the phase of the run, its step, and whether it started from known weights.

        Raises ConfigError where the chief trains something else than `what`.
        """
        try:
            phase, step, started, wanted = session.run(self._state)
        except tf.errors.FailedPreconditionError:  # the chief has not begun yet
            return Phase.WAITING, 0, False
        if phase == Phase.RUNNING and wanted != what:
            raise ConfigError(
                "the chief trains with other settings: give all machines the same config and "
                "version of this project"
            )
        return Phase(phase), int(step), bool(started)

    def leave(self, session: Any) -> None:
        session.run(self._leave)

    @contextmanager
    def alive(self, server: Any) -> Iterator[None]:
        """Give signs of life from a thread."""
        stop = threading.Event()

        def beat() -> None:
            with tf.Session(
                server.target, graph=self.step.graph, config=_options(self.cluster)
            ) as own:
                while not stop.wait(BEAT_S):
                    with suppress(tf.errors.OpError):  # the server has gone; it may come back
                        own.run(self._beat)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(BEAT_S)

    def missing(self, since: dict[int, tuple[int, float]], session: Any) -> list[int]:
        """Return the positions of workers without a sign of life for SILENT_S.

        `since` remembers the last sign of each, and when it came.
        """
        now = time.monotonic()
        for position, beats in enumerate(session.run(self._beats)):
            if since.get(position, (-1, 0.0))[0] != beats:
                since[position] = int(beats), now
        return [p for p in range(1, self.cluster.replicas) if since[p][1] < now - SILENT_S]

    def wake(self, session: Any) -> None:
        """Let a chief that waits for a step go on."""
        session.run(self._give_tokens)


class _Watch:
    """A thread that looks for workers without signs of life."""

    def __init__(
        self, replication: Replication, session: Any, stop: threading.Event, reporter: Reporter
    ) -> None:
        self._replication, self._session = replication, session
        self._stop, self._reporter = stop, reporter
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.given_up = ""  # the worker that was missing for too long

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(BEAT_S)  # it may wait for a server that is lost

    def _look(self) -> None:
        cluster = self._replication.cluster
        signs: dict[int, tuple[int, float]] = {}
        reported: set[int] = set()
        while not self._over.wait(BEAT_S):
            try:
                missing = self._replication.missing(signs, self._session)
            except tf.errors.OpError:  # the loop notices it, too
                return
            for position in sorted(set(missing) - reported):
                self._say(f"waiting for {cluster.replica_at(position)}")
            for position in sorted(reported - set(missing)):
                self._say(f"{cluster.replica_at(position)} takes part")
            reported = set(missing)
            late = [p for p in missing if signs[p][1] < time.monotonic() - cluster.patience_s]
            if late or self._replication.failure:
                self.given_up = cluster.replica_at(late[0]) if late else ""
                self._stop.set()
                self._replication.wake(self._session)
                return

    def _say(self, text: str) -> None:
        with suppress(OSError):  # nobody reads any more: the loop notices it
            self._reporter.say(text)


@contextmanager
def chief_session(
    replication: Replication, initializer: Tensor, options: Any, reporter: Reporter
) -> Iterator[Any]:
    """Give the session of the chief, tf.Session; at its end all other processes leave.

    Raises CaptchaError where a parameter server is missing or lost.
    """
    cluster = replication.cluster
    keeper, server = _KeepSession(), start_server(cluster)
    _reach_servers(cluster, reporter)
    try:
        with _training_session(replication, server, initializer, options, keeper):
            try:
                yield keeper.session
            except LOST:
                raise  # nobody is there to be told
            except BaseException:
                replication.end(keeper.session)
                raise
            replication.end(keeper.session)
    except LOST as error:
        raise CaptchaError(
            f"a parameter server ({', '.join(cluster.addresses['ps'])}) was lost: start it again. "
            "The same commands then go on from the last save"
        ) from error


@contextmanager
def worker_session(replication: Replication, options: Any, reporter: Reporter) -> Iterator[Any]:
    """Give the session of a worker, tf.train.MonitoredSession, that gives signs of life.

    It waits for parameter servers that are there no more. Raises CaptchaError where one is missing.
    """
    hook, server = _JoinAgain(replication), start_server(replication.cluster)
    _reach_servers(replication.cluster, reporter)
    with (
        _training_session(replication, server, None, options, hook) as session,
        replication.alive(server),
    ):
        yield session


@contextmanager
def _training_session(
    replication: Replication, server: Any, initializer: Tensor, options: Any, hook: Any
) -> Iterator[Any]:
    options.device_filters.extend(_filters(replication.cluster))
    with replication.step.graph.as_default(), quiet_log():
        session = tf.train.MonitoredTrainingSession(
            server.target,
            replication.cluster.is_chief,
            hooks=[hook],
            config=options,
            scaffold=replication.scaffold(initializer),
            stop_grace_period_secs=1,
        )
        try:
            yield session
        except LOST:
            _abandoned.append(session)  # to close it would wait for the servers
            raise
        except BaseException:
            session.close()
            raise
        session.close()


class _JoinAgain(tf.train.SessionRunHook):
    """Lets a worker whose connection was lost, and with it perhaps a token, go on without one."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication

    def after_create_session(self, session: Any, coord: Any) -> None:
        self._replication.join(session)


class _KeepSession(tf.train.SessionRunHook):
    """Keeps the session of a MonitoredSession, which does not begin anew where a server is lost."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        self.session = session


def serve_parameters(cluster: Cluster, reporter: Reporter) -> None:
    """Hold weights for a cluster until its run has ended."""
    server = start_server(cluster)
    with tf.Graph().as_default() as graph:
        left = _ended(cluster, cluster.index).size()
    reporter.say(f"{cluster.name} holds weights at {cluster.addresses['ps'][cluster.index]}")
    with tf.Session(server.target, graph=graph, config=_options(cluster)) as session:
        while not session.run(left):
            time.sleep(POLL_S)
        until = time.monotonic() + LEAVE_S
        while session.run(left) < cluster.replicas and time.monotonic() < until:
            time.sleep(POLL_S)
    reporter.say("the run has ended")


def start_server(cluster: Cluster) -> Any:
    """Start TensorFlow's server of this task; raises CaptchaError where its port is taken."""
    try:
        with without_noise():
            return tf.train.Server(
                tf.train.ClusterSpec(_jobs(cluster)),
                cluster.job,
                cluster.index,
                config=session_options(),
            )
    except tf.errors.OpError as error:
        address = cluster.addresses[cluster.job][cluster.index]
        raise CaptchaError(
            f"{cluster.name} cannot listen at {address}: another program may use the port, or the "
            f"address is that of another machine ({str(error).splitlines()[0]})"
        ) from error


def _reach_servers(cluster: Cluster, reporter: Reporter) -> None:
    """Wait for the parameter servers, for which a session would wait for ever."""
    for index, address in enumerate(cluster.addresses["ps"]):
        host, _, port = address.rpartition(":")
        name, began_s, told = f"ps:{index} at {address}", time.monotonic(), False
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
                if waited_s > PATIENT_S and not told:
                    reporter.say(f"waiting for {name}")
                    told = True
                time.sleep(POLL_S)


def _jobs(cluster: Cluster) -> dict[str, list[str]]:
    return {job: list(tasks) for job, tasks in cluster.addresses.items() if tasks}


def _filters(cluster: Cluster) -> list[str]:
    """Return whom this process talks to: no worker waits for another one."""
    return ["/job:ps", f"/job:{cluster.job}/task:{cluster.index}"]


def _options(cluster: Cluster) -> Any:
    return tf.ConfigProto(device_filters=_filters(cluster))


def _shared(name: str, value: Any, dtype: Any) -> Any:
    initial = tf.constant(np.asarray(value), dtype)
    return tf.get_variable(
        f"cluster/{name}", initializer=initial, trainable=False, collections=[SHARED]
    )


def _ended(cluster: Cluster, index: int) -> Any:
    """Return the queue on a parameter server in which each process says that it has left."""
    with tf.device(f"/job:ps/task:{index}"):
        return tf.FIFOQueue(cluster.replicas * 2, tf.bool, [()], shared_name=f"ended_{index}")
