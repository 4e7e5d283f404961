"""The pages of the API: what they say, and that a browser can use them."""

from __future__ import annotations

import pytest

from tests.serving.browser import CHROMIUM, use_page
from tests.serving.helpers import FakePrediction, Named, png


class Markup(Named):
    """Reads what would be markup; the test before it is served does not matter."""

    def read(self, probabilities, among=None):
        return FakePrediction("<b>&", 0.9, (0.99, 0.5, 0.9, 0.999))


def test_the_page_shows_what_runs_here(client):
    page = client.get("/")
    assert page.content_type == "text/html; charset=utf-8"
    text = page.get_data(as_text=True)
    assert "/b/验a" in text and "/b/shop" in text and "40x24" in text and "99.0 %" in text
    assert 'href="docs"' in text and 'href="metrics"' in text


def test_the_page_works_without_a_key_and_shows_no_models(make_app):
    client = make_app(Named("secret-shop"), api_keys=("k",)).test_client()
    text = client.get("/").get_data(as_text=True)
    assert "API key" in text and "40x24" not in text
    assert client.get("/docs").status_code == 200
    assert client.get("/models").status_code == client.get("/b").status_code == 401


def test_the_description_can_be_read(client):
    text = client.get("/docs").get_data(as_text=True)
    for path in client.get("/openapi.json").get_json()["paths"]:
        assert f"<code>{path}</code>" in text
    assert "min_confidence" in text and "1005" in text
    assert "https://" not in text and "src=" not in text  # nothing from elsewhere


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_the_page_recognises_images_in_a_browser(make_app, serve, tmp_path):
    url = serve(make_app(Markup("a")))
    picture = tmp_path / "page.png"
    shown = use_page(url, [("a.png", png()), ("b.png", b"no image"), ("c.png", png())], picture)
    assert shown[0] == shown[2] == "<b>&" and "not a whole image" in shown[1]
    assert picture.stat().st_size > 5000
