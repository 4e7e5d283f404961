"""The server below an application: waitress, which stops on signals and finishes its answers."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import waitress
from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask
from waitress.utilities import Error, RequestEntityTooLarge

from cnnlib.errors import CaptchaError
from cnnlib.serving.error_codes import error_code
from cnnlib.serving.limits import MAX_CONNECTIONS, MAX_REQUEST_BYTES, SERVER_THREADS
from cnnlib.serving.logs import log_to_stderr

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

LOCALHOST = "127.0.0.1"
LARGE_ANSWER_BYTES = 1 << 16  # from here on the loop sends while more is made
OTHER_FILES = 64  # that are open: libraries, the model, logs
SPARE_BYTES = 1 << 20  # of a body, which the application refuses itself
MAX_SKIPPED_BYTES = 1 << 30  # of a body that is too large
DRAIN_S = 8.0  # for answers in flight on stopping; Docker and systemd give at least 10


class _Parser(HTTPRequestParser):
    """A request; a body that is too large is read to its end, and thrown away.

    Most clients read no answer before they have sent all, and see a broken connection instead.
    """

    max_body_bytes: int  # this and the next are the application's, see _channel_class
    allow_origin: str
    error: Error | None
    _left = 0  # bytes that are to come of a body that is too large
    _skips = False  # the chunks of one

    def received(self, data: bytes) -> int:
        if self._left:
            taken = min(self._left, len(data))
            self._left -= taken
            self.completed = not self._left
            return taken
        consumed: int = super().received(data)
        if self.error or not self.headers_finished:
            return consumed
        if not self.chunked and self.content_length > self.max_body_bytes:
            self.error = RequestEntityTooLarge(str(self.content_length))
            self._left, self.completed = self.content_length, False
        elif self.chunked and self.body_bytes_received > self.max_body_bytes:
            if not self._skips:
                self._skips = True
                self.body_rcv.buf.close()
                self.body_rcv.buf = _Nowhere()
            if self.completed:
                self.error = RequestEntityTooLarge(str(self.body_bytes_received))
        return consumed


class _Nowhere:
    """Where the chunks of a body go that is too large."""

    def append(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass

    def __len__(self) -> int:
        return 0


class _JsonError(ErrorTask):
    """The answer to what cannot be passed on to the application."""

    def execute(self) -> None:
        error = self.request.error
        message = f"{error.reason}: {error.body}"
        if isinstance(error, RequestEntityTooLarge):
            message = f"the request has {error.body} bytes: send small images, and fewer"
        body = {"error_code": error_code(error.code), "message": message}
        text = json.dumps(body).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        if origin := self.channel.parser_class.allow_origin:
            self.response_headers.append(("Access-Control-Allow-Origin", origin))
        self.set_close_on_finish()
        self.content_length = len(text)
        self.write(text)


class _Channel(HTTPChannel):
    """A connection whose answer is sent by the thread that made it.

    waitress's loop would try to send as well and, while that thread holds the connection's lock,
    try again at once and for ever: with a hundred connections the loop then takes the interpreter's
    lock from all that work, and a twentieth of the requests are answered.
    """

    parser_class = _Parser
    error_task_class = _JsonError

    def writable(self) -> bool:
        if self.requests and self.total_outbufs_len < LARGE_ANSWER_BYTES:
            return False  # the thread pulls the trigger when it leaves something to send
        return bool(super().writable())


def _channel_class(app: Flask) -> type[_Channel]:
    """Return the class of the connections of an application."""
    most = app.config["MAX_CONTENT_LENGTH"] or MAX_REQUEST_BYTES
    own = {
        "max_body_bytes": most + SPARE_BYTES,
        "allow_origin": app.config.get("ALLOW_ORIGIN", ""),
    }
    return type("_Channel", (_Channel,), {"parser_class": type("_Parser", (_Parser,), own)})


def _allow_connections() -> int:
    """Return how many connections there may be at a time, each an open file; allow more files."""
    if resource is None:
        return MAX_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
        return max(1, min(MAX_CONNECTIONS, soft - min(OTHER_FILES, soft // 2)))
    return MAX_CONNECTIONS


class Server:
    """An application on waitress, listening from the moment on that this object exists.

    Port 0 takes a free one. Raises CaptchaError where it cannot listen.
    """

    def __init__(
        self,
        app: Flask,
        host: str = LOCALHOST,
        port: int = 0,
        *,
        threads: int = SERVER_THREADS,
    ) -> None:
        self._sockets: dict[int, Any] = {}
        listener = _listen(host.strip("[]"), port)
        try:
            self._server = waitress.create_server(
                app,
                self._sockets,
                sockets=[listener],
                threads=threads,
                max_request_body_size=MAX_SKIPPED_BYTES,
                connection_limit=_allow_connections(),
                asyncore_use_poll=True,
            )
        except BaseException:  # the port must be free for the next attempt
            wasyncore.close_all(self._sockets)
            listener.close()
            raise
        self._server.channel_class = _channel_class(app)

    @property
    def url(self) -> str:
        """The address that it listens on, without a path, such as http://127.0.0.1:6000."""
        host = self._server.effective_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.effective_port}"

    def run(self) -> None:
        """Answer requests until `stop` is called."""
        self._server.run()

    def stop(self) -> None:
        """Accept nothing more, finish the answers in flight (DRAIN_S at most), end `run`.

        To be called from another thread than the one in `run`.
        """
        deadline = time.monotonic() + DRAIN_S
        self._call_in_loop(lambda: wasyncore.dispatcher.close(self._server))
        while self._server.active_channels and time.monotonic() < deadline:
            self._call_in_loop(self._close_idle_channels)
            time.sleep(0.02)
        self._server.task_dispatcher.shutdown(timeout=1)
        self._call_in_loop(lambda: wasyncore.close_all(self._sockets))

    def run_until_signal(self) -> None:
        """Answer requests until SIGTERM, SIGHUP or Ctrl-C; log them to stderr.

        For the main thread. A SIGHUP that is ignored, as by nohup, stays so.
        """
        log_to_stderr()
        previous: dict[int, Any] = {}

        def stop(*_: object) -> None:
            for number, handler in previous.items():  # a second signal ends it at once
                signal.signal(number, handler)
            # Not here: the signal may have come while waitress holds a lock.
            threading.Thread(target=self.stop, daemon=True).start()

        for name in ("SIGTERM", "SIGINT", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            previous[number] = signal.signal(number, stop)
        self.run()

    def _call_in_loop(self, action: Callable[[], object]) -> None:
        """Have the thread in `run` call this between two events, and wait for it."""
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._server.trigger.pull_trigger(act)
        done.wait(1)

    def _close_idle_channels(self) -> None:
        for channel in list(self._server.active_channels.values()):
            if not channel.requests and channel.request is None and not channel.total_outbufs_len:
                channel.handle_close()


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise CaptchaError(f"cannot listen on port {port}: choose one up to 65535 with --port")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise CaptchaError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another "
            "with --host and --port, or stop the program that uses it"
        ) from error
