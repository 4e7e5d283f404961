"""One network in several processes: weights on parameter servers, steps of all together.

Between-graph replication with synchronous updates: each process builds the same graph, in which
only the weights have a place on parameter servers, and computes the gradients of its share of each
batch. Once there are as many as there are processes, the chief's has the servers apply their mean,
and give every process a token for the next step (Chen et al. 2016, "Revisiting distributed
synchronous SGD").

Tokens are never short, whoever is killed: a process that starts again needs none for its first
step, a chief that does gives out new ones, and gradients that come too late are dropped. After a
kill there may be a token more than processes: then one may count twice, and steps go on without
one that is missing.
"""

from __future__ import annotations

import enum
import threading
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import numpy as np

from cnnlib.errors import ConfigError
from cnnlib.networks.checkpoint import assign
from cnnlib.networks.tensorflow_v1 import quiet_log, tf
from cnnlib.networks.weights import Tensor
from cnnlib.training.cluster import Cluster

SHARED = "shared_by_cluster"  # the collection of what no checkpoint has
ANSWER_MS = 15_000  # for a server to say how far the run is
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
            cluster=tf.train.ClusterSpec(cluster.jobs),
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


def left_queue(cluster: Cluster, server: int) -> Any:
    """Return the queue on a parameter server in which each process says that it has left."""
    with tf.device(f"/job:ps/task:{server}"):
        return tf.FIFOQueue(cluster.replicas * 2, tf.bool, [()], shared_name=f"left_{server}")


class Replication:
    """What the processes of a cluster share besides the weights; built in the graph of each."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        with tf.device("/job:ps/task:0"):
            self.step = _shared("step", 0, tf.int64)  # updates of the run, and of those before it
            self.rate = _shared("rate", 0.0, tf.float32)
            self._phase = _shared("phase", Phase.WAITING, tf.int64)
            self._started = _shared("started", 0, tf.int64)  # from weights that know something
            self._fingerprint = _shared("fingerprint", 0, tf.int64)
            self._beats = _shared("beats", [0] * cluster.replicas, tf.int64)
            self._beat = tf.scatter_add(self._beats, [cluster.position], [1])
            chiefs = tf.FIFOQueue(1, tf.bool, [()], shared_name="chiefs")
            self._had_chief, self._have_chief = chiefs.size(), chiefs.enqueue(True)
        self._state = (self._phase, self.step, self._started, self._fingerprint)
        queues = [left_queue(cluster, i) for i in range(len(cluster.addresses["ps"]))]
        self._leave = [queue.enqueue(True) for queue in queues]
        self._left = [queue.size() for queue in queues]
        self._optimizer: Any = None
        self.failure: Exception | None = None  # of the servers, to apply gradients

    def synchronized(self, optimizer: Any, gradients: Any, new_rate: Tensor) -> Tensor:
        """Return what a step of this process runs: `optimizer` learns from the mean of all.

        The learning rate is what the chief feeds to `new_rate`.
        """
        count = self.cluster.replicas
        before = [self.rate.assign(new_rate)] if self.cluster.is_chief else []
        with tf.control_dependencies(before):
            gradients = [(tf.identity(gradient), variable) for gradient, variable in gradients]
        with quiet_log():
            self._optimizer = tf.train.SyncReplicasOptimizer(optimizer, count, count)
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

    def is_ending(self, session: Any) -> bool:
        """Return whether the servers are still those of a run that has ended."""
        return any(session.run(self._left))

    def begin(self, session: Any, step: int, started: bool, fingerprint: int) -> None:
        """Let all processes take part in a run that goes on after `step`."""
        values = [(self._started, int(started)), (self._fingerprint, fingerprint)]
        assign(session, values)
        self._set_step(session, step)
        if session.run(self._had_chief):  # others may wait since it was killed
            self.give_tokens(session)
        else:
            session.run(self._have_chief)
        threading.Thread(target=self._apply, args=[session], daemon=True).start()
        assign(session, [(self._phase, Phase.RUNNING)])

    def drop_gradients(self, session: Any) -> None:
        """Let no process learn from gradients of weights that were replaced meanwhile.

        Those that a server has already are learned once more.
        """
        self._set_step(session, session.run(self.step) + 1)
        self.give_tokens(session)

    def _set_step(self, session: Any, step: int) -> None:
        assign(session, [(self.step, step)])
        session.run(self._optimizer.chief_init_op)

    def give_tokens(self, session: Any) -> None:
        """Let all that wait for a step go on."""
        session.run(self._give_tokens)

    def _apply(self, session: Any) -> None:
        """Have the servers apply the mean of all gradients, and give tokens, until the end."""
        [apply] = self._optimizer.get_chief_queue_runner().enqueue_ops
        try:
            while True:
                session.run(apply)
        except RuntimeError:  # the session is closed
            return
        except tf.errors.OpError as error:
            self.failure = error

    def progress(self, session: Any) -> tuple[int, list[int]]:
        """Return the step, and how many signs of life each process has given.

        Raises DeadlineExceededError where the server does not answer.
        """
        options = tf.RunOptions(timeout_in_ms=ANSWER_MS)
        step, beats = session.run((self.step, self._beats), options=options)
        return int(step), [int(count) for count in beats]

    def end(self, session: Any) -> None:
        """Let all other processes leave, also those that wait for a step."""
        assign(session, [(self._phase, Phase.ENDED)])
        session.run([self._give_tokens, *self._leave])

    # What workers do

    def join(self, session: Any) -> None:
        """Take part from the step that the run is at."""
        with suppress(tf.errors.FailedPreconditionError):  # the chief has not begun yet
            session.run(self._optimizer.local_step_init_op)

    def state(self, session: Any, fingerprint: int) -> tuple[Phase, int, bool]:
        """Return the phase of the run, its step, and whether it started from known weights.

        Raises ConfigError where the chief trains something else.
        """
        try:
            phase, step, started, wanted = session.run(self._state)
        except tf.errors.FailedPreconditionError:  # the chief has not begun yet
            return Phase.WAITING, 0, False
        if phase == Phase.RUNNING and wanted != fingerprint:
            raise ConfigError(
                "the chief trains something else: give all machines the same config, cluster, "
                "options, images and version of this project"
            )
        return Phase(phase), int(step), bool(started)

    def beat(self, session: Any) -> Phase:
        """Give a sign of life; return the phase of the run."""
        return Phase(session.run((self._beat, self._phase))[1])

    def leave(self, session: Any) -> None:
        session.run(self._leave)


def _shared(name: str, value: Any, dtype: Any) -> Any:
    initial = tf.constant(np.asarray(value), dtype)
    return tf.get_variable(
        f"cluster/{name}", initializer=initial, trainable=False, collections=[SHARED]
    )
