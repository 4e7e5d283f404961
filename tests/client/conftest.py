"""A real server that does what servers should not."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def server():
    """Serve answers (status, body, headers) one after the other, the last again and again.

    `host` is where it listens; a request for another host, as proxies get them, is answered too.
    """
    started = []

    def serve(*answers, host="127.0.0.1"):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            asked = 0
            counting = threading.Lock()  # each connection has a thread of its own

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with Handler.counting:
                    place = Handler.asked
                    Handler.asked += 1
                status, body, headers = answers[min(place, len(answers) - 1)]
                data = body.encode() if isinstance(body, str) else body
                self.send_response(status)
                for name, value in ({"Content-Length": len(data)} | headers).items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        http = ThreadingHTTPServer((host, 0), Handler)
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        started.append(http)
        return f"http://127.0.0.1:{http.server_port}/b", Handler

    yield serve
    for http in started:
        http.shutdown()
        http.server_close()
