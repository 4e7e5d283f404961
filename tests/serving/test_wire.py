"""What a request can be, and that none can be a fault."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlib.dataset.images import FORMATS
from cnnlib.serving.app import create_recognize_app
from tests.serving.helpers import Named, png, upload

BASE64 = base64.b64encode(png()).decode()


@pytest.mark.parametrize(
    "arguments",
    [
        {"data": png(), "content_type": "image/png"},
        {"data": png(), "content_type": "application/octet-stream"},
        {"json": {"image": BASE64}},
        {"json": {"image": f"data:image/png;base64,{BASE64}"}},
    ],
)
def test_other_ways_to_send_an_image(client, arguments):
    assert client.post("/b", **arguments).get_json()["value"] == "验a"


@pytest.mark.parametrize("path", ["/b", "/b?charset=0101"])
@pytest.mark.parametrize("place", ["form", "json"])
def test_charset_and_min_confidence(client, path, place):
    options = {"charset": "ba", "min_confidence": 0.99}
    in_json = {"json": options | {"image": BASE64}}
    arguments = upload(png(), **options) if place == "form" else in_json
    body = client.post(path, **arguments).get_json()
    assert body["candidate"] == ("ba" if path == "/b" else "01")  # the address decides
    assert (body["value"], body["confidence"]) == ("", 0.987654)


@pytest.mark.parametrize(
    "path",
    [
        "/b?charset=x",
        "/b?batch=maybe",
        "/b?min_confidence=x",
        "/b?min_confidence=nan",
        "/b?min_confidence=-0.1",
    ],
)
def test_options_that_cannot_be_used(client, path):
    answer = client.post(path, **upload(png()))
    assert (answer.status_code, answer.get_json()["error_code"]) == (422, "1003")


@pytest.mark.parametrize(
    "arguments",
    [
        {"json": {"image": 7}},
        {"json": {"image": "?"}},
        {"json": ["image"]},
        {"json": {}},
        {"data": b"{", "content_type": "application/json"},
        {"data": b"[" * 100_000, "content_type": "application/json"},
        {"data": b'{"image": "\xff"}', "content_type": "application/json"},
    ],
)
def test_json_that_is_not_a_request(client, arguments):
    answer = client.post("/b", **arguments)
    assert (answer.status_code, answer.get_json()["error_code"]) == (400, "1001")


# werkzeug leaves the parts that it has read to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [65, 1001])
def test_too_many_parts(client, count):
    answer = client.post("/b", **upload(*[png()] * count))
    assert (answer.status_code, answer.get_json()["error_code"]) == (413, "1004")


# --- whatever is sent ---


@pytest.fixture(scope="module")
def fuzzed():
    app = create_recognize_app({"a": Named("a")})
    yield app.test_client()
    app.extensions["service"].close()


def mutate(case):
    data, changes, length = case
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed[:length])


MUTATED = st.tuples(
    st.sampled_from([png(kind=kind) for kind in FORMATS]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
    st.integers(0, 500),
).map(mutate)
KINDS = [
    "multipart",
    "image/png",
    "application/json",
    "text/plain",
    "",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
]


@settings(max_examples=2000, deadline=None, derandomize=True)
@given(st.one_of(MUTATED, st.binary(max_size=300)), st.sampled_from(KINDS), st.text(max_size=12))
def test_whatever_is_sent_is_answered_and_never_a_fault(fuzzed, data, kind, text):
    if kind == "multipart":
        arguments = upload(data, name=text.replace("\n", "").replace("\r", "") or "x")
    elif kind == "application/json":
        arguments = {"json": {"image": base64.b64encode(data).decode(), "charset": text}}
    else:
        arguments = {"data": data, "content_type": kind}
    answer = fuzzed.post("/b", query_string={"min_confidence": text or "0"}, **arguments)
    assert answer.status_code < 500, answer.get_data(as_text=True)
    assert answer.content_type == "application/json"
