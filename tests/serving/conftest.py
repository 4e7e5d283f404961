"""Applications and servers that end with the test."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from cnnlib.serving.app import create_recognize_app
from cnnlib.serving.service import ServingOptions
from cnnlib.serving.waitress_server import Server
from tests.serving.helpers import Named


@pytest.fixture
def make_app():
    """Return make(*recognizers, **options) -> app; each recogniser is served under its name."""
    with ExitStack() as opened:

        def make(*recognizers, **options):
            app = create_recognize_app({r.name: r for r in recognizers}, ServingOptions(**options))
            opened.callback(app.extensions["service"].close)
            return app

        yield make


@pytest.fixture
def client(make_app):
    """The client of an application with two models."""
    return make_app(Named("验a"), Named("shop")).test_client()


@pytest.fixture
def serve():
    """Return serve(app, **options) -> the address of a server on a free port."""
    servers = []

    def start(app, **options):
        server = Server(app, **options)
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        return server.url

    yield start
    for server, thread in servers:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()
