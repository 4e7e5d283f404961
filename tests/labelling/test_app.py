"""The labelling page over HTTP: what it answers, and whom it refuses."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from cnnlib.labelling import desk as desk_module
from cnnlib.labelling.app import TOKEN_HEADER, create_label_app
from cnnlib.labelling.round_files import RoundFiles


@pytest.fixture(autouse=True)
def no_second_readings(monkeypatch):
    monkeypatch.setattr(desk_module, "SECOND_RATE", 0.0)


@pytest.fixture
def app(project, desk):
    return create_label_app(desk, RoundFiles(project.sample.labelling_dir.full))


@pytest.fixture
def post(app):
    """Return post(path, **values) -> (status, JSON), as the page asks."""
    client = app.test_client()
    headers = {TOKEN_HEADER: app.extensions["page_token"], "Origin": "http://localhost"}

    def ask(path, **values):
        answer = client.post(path, json=values, headers=headers)
        return answer.status_code, answer.get_json()

    return ask


def test_an_image_is_shown_labelled_and_taken_back(app, post, labels, desk):
    status, body = post("/api/next", labeller="ann", count=3)
    assert status == 200 and len(body["items"]) == 3
    item = body["items"][0]
    assert (item["width"], item["height"], item["text"]) == (40, 24, "")
    picture = app.test_client().get(f"/api/image/{item['id']}")
    assert Image.open(io.BytesIO(picture.data)).size == (40, 24)
    assert picture.headers["Cache-Control"] == "no-store"  # another project has others there
    with app.test_client().get("/static/one.js") as script:
        assert script.mimetype == "text/javascript"
    text = labels.of(desk, item["id"])
    assert post("/api/label", labeller="ann", id=item["id"], text=text, keys=2)[0] == 200
    assert app.test_client().get("/api/state").get_json()["counts"]["labelled"] == 1
    status, body = post("/api/undo", labeller="ann")
    assert status == 200 and body["labels"] == {str(item["id"]): text}
    assert post("/api/undo", labeller="ann") == (
        404,
        {"error": "nothing", "message": "there is nothing to undo"},
    )


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"labeller": "ann"},
        {"labeller": "ann", "id": "1", "text": "00"},
        {"labeller": "ann", "id": True, "text": "00"},
        {"labeller": "ann", "id": 1, "text": 5},
        {"labeller": "../x", "id": 1, "text": "00"},
        {"labeller": "", "id": 1, "text": "00"},
        {"labeller": "ann", "id": 1, "text": "00", "keys": "many"},
    ],
)
def test_malformed_requests_get_a_sentence(post, values):
    status, body = post("/api/label", **values)
    assert status == 400 and body["error"] == "malformed"


def test_other_errors_have_their_codes(post):
    assert post("/api/label", labeller="ann", id=10**6, text="00")[0] == 404
    assert post("/api/label", labeller="ann", id=1, text="0")[1]["error"] == "length"
    status, body = post("/api/label", labeller="ann", id=1, text="0x")
    assert (status, body["error"], body["characters"]) == (422, "new_characters", ["x"])
    post("/api/next", labeller="ann", count=40)
    assert post("/api/label", labeller="bob", id=1, text="00")[0] == 409
    assert post("/api/try")[1]["error"] == "failed"  # {} is not an image
    assert post("/api/train") [1]["error"] == "too_few"  # fmt: skip
    assert post("/api/nothing")[0] == 404


@pytest.mark.parametrize(
    "path", ["/api/image/../../etc/passwd", "/api/image/-1", "/static/../app.py"]
)
def test_paths_lead_nowhere(app, path):
    assert app.test_client().get(path).status_code == 404


def test_requests_of_other_sites_are_refused(app):
    client, token = app.test_client(), app.extensions["page_token"]
    own = {TOKEN_HEADER: token}
    assert client.post("/api/undo", json={"labeller": "a"}).status_code == 403
    assert client.post("/api/undo", json={}, headers={TOKEN_HEADER: "x"}).status_code == 403
    evil = own | {"Origin": "http://evil.example"}
    assert client.post("/api/undo", json={}, headers=evil).status_code == 403
    cross = {"Sec-Fetch-Site": "cross-site"}
    for fetched, path, status in (
        ("empty", "/api/state", 403),
        ("iframe", "/", 403),
        ("document", "/api/state", 403),
        ("document", "/", 200),  # a link to the page
    ):
        sent = {**cross, "Sec-Fetch-Dest": fetched}
        assert client.get(path, headers=sent).status_code == status, (fetched, path)
    for host in ("evil.example", "evil.example:6200", "127.0.0.1.evil.example"):
        assert client.get("/", headers={"Host": host}).status_code == 403, host
    for host in ("localhost:6200", "127.0.0.1", "[::1]:6200"):
        assert client.get("/api/state", headers={"Host": host}).status_code == 200, host


def test_the_page_loads_nothing_from_elsewhere(app):
    answer = app.test_client().get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert app.extensions["page_token"] in answer.text
    assert "http://" not in answer.text and "https://" not in answer.text


def test_others_need_the_token_of_the_address(project, desk):
    app = create_label_app(
        desk, RoundFiles(project.sample.labelling_dir.full), access_token="secret"
    )
    client = app.test_client()
    for path in ("/", "/api/state", "/static/label.js", "/?token=wrong"):
        assert client.get(path, headers={"Host": "10.0.0.5:6200"}).status_code == 403, path
    page = client.get("/?token=secret")
    assert page.status_code == 200
    assert (
        "HttpOnly" in page.headers["Set-Cookie"]
        and "SameSite=Strict" in (page.headers["Set-Cookie"])
    )
    assert client.get("/api/state").status_code == 200  # by the cookie


def test_the_curve_of_a_training_is_served_while_there_is_one(app):
    client, candidate = app.test_client(), app.extensions["rounds"].candidate
    assert client.get("/api/curve.png").status_code == 404
    candidate.mkdir(parents=True)
    (candidate / "accuracy.png").write_bytes(b"a picture")
    answer = client.get("/api/curve.png")
    assert (answer.data, answer.mimetype) == (b"a picture", "image/png")
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_token_of_the_page_outlives_the_server(app, desk, project):
    again = create_label_app(desk, RoundFiles(project.sample.labelling_dir.full))
    assert again.extensions["page_token"] == app.extensions["page_token"]
