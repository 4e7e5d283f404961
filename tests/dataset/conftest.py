"""How files get their new names: by a link, or by a copy."""

import pytest

from tests.dataset.helpers import WAYS

# How images get from one folder to another: by links, or by copies, which stay in one folder until
# they are whole where that has links.


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    WAYS[request.param](monkeypatch)
