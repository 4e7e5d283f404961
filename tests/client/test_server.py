"""The server that the other tests ask: it must not miscount, whatever asks it at the same time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from cnnlib.client.api_client import Client


class SlowToTake(tuple):
    """An answer that lets the other threads run while it is taken."""

    def __iter__(self):
        time.sleep(0.002)
        return super().__iter__()


def test_each_answer_is_given_once_and_each_request_counted(server):
    count = 64
    url, handler = server(*(SlowToTake((200, str(number), {})) for number in range(count)))
    with Client(url) as remote, ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: int(remote.fetch().image), range(count)))
    assert sorted(given) == list(range(count)) and handler.asked == count
