"""Requests as clients send them: none is refused for its form, and a refusal says what it found."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from urllib.parse import quote, urlencode

import pytest

from cnnlib.serving.limits import MAX_REQUEST_BYTES
from cnnlib.serving.received import HOW_TO_SEND, decoded
from tests.serving.helpers import png, upload

PNG = png()
TEXT = base64.b64encode(PNG).decode()
FORM = "application/x-www-form-urlencoded"
VALUE, CODE = "value", "error_code"


def part(headers, content):
    """Return the arguments of Flask's client that send one part with these headers."""
    body = b"--x\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n--x--\r\n"
    return {"data": body, "content_type": "multipart/form-data; boundary=x"}


def named(field):
    return {"data": {field: (io.BytesIO(PNG), "x.png")}}


def two_parts(field, *contents):
    """Return the arguments that send files of one field, as pages do with several inputs."""
    files = [(io.BytesIO(content), "x.png" if content else "") for content in contents]
    return {"data": {field: files}}


def latin(values):
    return json.dumps(values, ensure_ascii=False).encode("latin-1")


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT + "\n",
        base64.encodebytes(PNG).decode(),
        base64.encodebytes(PNG).decode().replace("\n", "\r\n  "),
        base64.urlsafe_b64encode(PNG).decode(),
        TEXT.rstrip("="),
        TEXT.rstrip("=") + "===",
        f"data:image/png;base64,{TEXT}",
        f" data:image/png;base64,{TEXT} ",
        f"\n      data:image/png;base64,{TEXT}\n    ",
        f"data:image/png;base64,{quote(TEXT, safe='')}",
        TEXT.replace("+", " "),
    ],
)
@pytest.mark.parametrize("place", ["json", "form", "part", "file", "plain"])
def test_base64_as_clients_write_it(client, text, place):
    arguments = {
        "json": {"json": {"image": text}},
        "form": {"data": urlencode({"image_file": text}), "content_type": FORM},
        "part": {"data": {"image_file": text}},
        "file": {"data": {"image_file": (io.BytesIO(text.encode()), "x.txt")}},
        "plain": {"data": text, "content_type": "text/plain"},
    }[place]
    assert client.post("/b", **arguments).get_json().get(VALUE) == "验a"


def test_plus_signs_that_a_form_made_blanks_of_also_at_the_ends_of_lines(client):
    text = base64.b64encode(PNG).decode()
    place = text.index("+")
    lines = f"{text[:place]}\n{text[place:]}\n"  # as `curl -d "image_file=$(base64 c.png)"`
    body = {"data": f"image_file={lines}", "content_type": FORM}
    assert client.post("/b", **body).get_json()[VALUE] == "验a"


@pytest.mark.parametrize(
    "text",
    [
        f'"{TEXT}"',
        f"b'{TEXT}'",
        f"base64,{TEXT}",
        f"DATA:image/png;base64,{TEXT}",
        "\ufeff" + TEXT,
        quote(TEXT, safe=""),
    ],
)
def test_base64_that_was_quoted_or_encoded_once_more(client, text):
    assert client.post("/b", json={"image": text}).get_json().get(VALUE) == "验a"
    assert client.post("/b", data={"image": text}).get_json().get(VALUE) == "验a"


@pytest.mark.parametrize("charset", ["ab", "验证", "абв"])
def test_any_text_in_an_urlencoded_form(client, charset):
    body = urlencode({"image_file": TEXT, "note": charset})
    assert client.post("/b", data=body, content_type=FORM).get_json()[VALUE] == "验a"
    raw = f"image_file={quote(TEXT, safe='')}&note={charset}".encode()
    assert client.post("/b", data=raw, content_type=FORM).get_json()[VALUE] == "验a"


@pytest.mark.parametrize(
    "arguments",
    [
        {"data": part("Content-Disposition: form-data; name=image_file", PNG)["data"]},
        part("Content-Disposition: form-data; name=image_file", PNG)
        | {"content_type": "multipart/form-data"},
        {
            "data": b"--x\r\nContent-Disposition: form-data; name=image_file; filename="
            + "验.png".encode("gbk")
            + b"\r\n\r\n"
            + PNG
            + b"\r\n--x--\r\n",
            "content_type": "multipart/form-data; boundary=x",
        },
        {
            "data": b"\xef\xbb\xbf" + json.dumps({"image": TEXT}).encode(),
            "content_type": "text/plain",
        },
        {"data": {"image": "http://x/a.png", "file": (io.BytesIO(PNG), "x.png")}},
        named("image_file[0]"),
        {"json": {"Image[]": [TEXT], "batch": 0}},
    ],
)
def test_bodies_that_clients_build_by_hand(client, arguments):
    body = client.post("/b", **arguments).get_json()
    assert body.get("results", [body])[0].get(VALUE) == "验a"


def test_an_item_of_a_list_that_is_no_image_has_its_error_in_its_place(client):
    results = client.post("/b", json={"images": [TEXT, "!!!", TEXT]}).get_json()["results"]
    assert [result.get(VALUE, result.get(CODE)) for result in results] == ["验a", "1002", "验a"]
    message = client.post("/b", json={"images": [TEXT, None]}).get_json()["message"]
    assert "'images'[1] must be a string, not a NoneType" in message


def test_too_many_images_are_counted(client):
    for arguments in (upload(*[b"x"] * 65), {"json": {"images": ["x"] * 65}}):
        answer = client.post("/b", **arguments)
        assert (
            answer.status_code == 413 and "65 images, more than 64" in answer.get_json()["message"]
        )


def test_a_part_without_a_name_is_no_fault(client):
    answer = client.post("/b", **part("Content-Disposition: form-data", PNG))
    assert (answer.status_code, answer.get_json()[CODE]) == (400, "1001")


@pytest.mark.parametrize("data", [bytes(range(256)), b"\xfb\xff\xbf" * 50, b"\0"])
def test_every_alphabet_gives_the_same_bytes(data):
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        text = encode(data)
        assert decoded(text) == decoded(text.rstrip(b"=\n")) == data


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (upload(PNG), None),
        ({"json": {"image_file": TEXT}}, None),
        ({"json": {"image_file": "", "image": TEXT}}, "image"),
        *((named(field), field) for field in ("image", "file", "captcha", "img")),
        *(({"json": {field: TEXT}}, field) for field in ("image", "file", "captcha", "img")),
        (named("image_file[]"), None),
        (part('Content-Disposition: form-data; name="image_file"', PNG), None),
        (
            part('Content-Disposition: form-data; name="image"\r\nContent-Type: image/png', PNG),
            "image",
        ),
        (
            part(
                "Content-Disposition: form-data; name=image_file; filename*=UTF-8''%E9%AA%8C.png",
                PNG,
            ),
            None,
        ),
        ({"data": PNG, "content_type": FORM}, None),  # as curl's --data-binary
        ({"data": PNG}, None),
        ({"data": PNG, "content_type": "application/json"}, None),
        ({"data": PNG, "content_type": "multipart/form-data"}, None),
        ({"data": PNG, "headers": {"Content-Encoding": "UTF-8"}}, None),
        ({"data": TEXT.encode("utf-16"), "content_type": "text/plain"}, None),
        ({"data": json.dumps({"image": TEXT}), "content_type": "text/plain"}, "image"),
        ({"data": b"image_file=" + quote(TEXT).encode()}, None),
        (two_parts("image_file", b"", PNG), None),
        (two_parts("pics[]", b"", PNG), "pics"),
        *((named(field), field) for field in ("upload", "pic", "captcha_image")),
        *(({"json": {"id": 7, field: TEXT}}, field) for field in ("img_base64", "data")),
        (
            {"data": latin({"image": TEXT, "note": "é"}), "content_type": "application/json"},
            "image",
        ),
        (
            {
                "data": json.dumps({"image": TEXT, "备注": "验"}, ensure_ascii=False).encode("gbk"),
                "content_type": "application/json; charset=gbk",
            },
            "image",
        ),
    ],
)
def test_the_image_is_found_and_the_answer_names_its_field(client, arguments, field):
    answer = client.post("/b", **arguments)
    assert answer.get_json().get(VALUE) == "验a"
    assert answer.headers.get("X-Image-Field") == field


def test_options_without_a_value_are_absent(client):
    form = upload(PNG, charset="", min_confidence="", batch="")
    for answer in (
        client.post("/b?charset=&min_confidence=", **form),
        client.post("/b", json={"image": TEXT, "charset": None, "min_confidence": None}),
    ):
        assert answer.get_json()[VALUE] == "验a"
    assert client.post("/b?charset=", **upload(PNG, charset="ba")).get_json()[VALUE] == "ba"


@pytest.mark.parametrize(
    ("path", "arguments", "count"),
    [
        ("/b?batch=1", upload(PNG), 1),
        ("/b?batch=true", {"data": PNG, "content_type": "image/png"}, 1),
        ("/b", upload(PNG, batch="1"), 1),
        ("/b", {"json": {"image": TEXT, "batch": True}}, 1),
        ("/b", {"json": {"images": [TEXT]}}, 1),
        ("/b", {"json": {"pics": [TEXT]}}, 1),
        ("/b", {"json": {"images": [TEXT, TEXT]}}, 2),
        ("/b?batch=0", upload(PNG, PNG), 2),
    ],
)
def test_batch_always_answers_with_a_list(client, path, arguments, count):
    body = client.post(path, **arguments).get_json()
    assert [result[VALUE] for result in body["results"]] == ["验a"] * count


def test_a_single_image_of_a_list_that_is_none_is_an_error_in_the_list(client):
    answer = client.post("/b?batch=1", **upload(b"text"))
    assert answer.status_code == 200 and answer.get_json()["results"][0][CODE] == "1002"


# --- compressed bodies ---


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
        ("identity", bytes),
    ],
)
def test_compressed_bodies_are_read(client, encoding, compress):
    body = compress(b'{"image": "%s"}' % TEXT.encode())
    headers = {"Content-Encoding": encoding}
    answer = client.post("/b", data=body, content_type="application/json", headers=headers)
    assert answer.get_json()[VALUE] == "验a"


@pytest.mark.parametrize(
    ("encoding", "body", "status", "said"),
    [
        ("br", lambda: PNG, 415, "'br' is not accepted: send the body as it is, or as gzip"),
        ("gzip", lambda: PNG, 400, "is not gzip"),
        ("gzip", lambda: gzip.compress(PNG)[:-9], 400, "ends too early"),
        (
            "gzip",
            lambda: gzip.compress(bytes(50 * MAX_REQUEST_BYTES)),
            413,
            "more than 5.0 MB when it is",
        ),
    ],
    ids=["of another kind", "not compressed", "cut off", "far too large"],
)
def test_compressed_bodies_that_are_refused(client, encoding, body, status, said):
    headers = {"Content-Encoding": encoding}
    answer = client.post("/b", data=body(), content_type="image/png", headers=headers)
    assert answer.status_code == status and said in answer.get_json()["message"]


# --- what a refusal says ---


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({}, "an empty body"),
        ({"data": b"raw" * 500, "content_type": "text/x"}, "a body of 2 KB, text/x"),
        ({"data": b"raw!"}, "a body of 4 bytes, without Content-Type"),
        ({"data": {"picture": (io.BytesIO(b"." * 3000), "x.png")}}, "a field 'picture' of 3 KB"),
        (
            {"data": {"0": "x", "1": "x" * 1500, "2": "x"}},
            "a field '0' of 1 byte, a field '1' of 2 KB and 1 more",
        ),
        ({"data": "a=b", "content_type": FORM}, "a field 'a' of 1 byte"),
        ({"json": {"picture": "x" * 2_500_000, "n": 1}}, "a key 'picture' of 2.5 MB, a key 'n'"),
        ({"json": {}}, "an empty object"),
        ({"json": {"images": []}}, "an empty list 'images'"),
    ],
)
def test_a_request_without_an_image_is_told_what_was_found(client, arguments, found):
    answer = client.post("/b", **arguments)
    assert (answer.status_code, answer.get_json()[CODE]) == (400, "1001")
    assert answer.get_json()["message"] == f"no image in the request, but {found}: {HOW_TO_SEND}"


def test_text_that_is_not_base64_is_quoted(client):
    message = client.post("/b", json={"image": "C:\\captcha.png"}).get_json()["message"]
    assert "'image' is not base64, but 14 bytes that begin 'C:\\\\captcha.png'" in message


def test_a_page_of_a_public_site_may_reach_this_machine(client):
    asked = {"Origin": "https://example.com", "Access-Control-Request-Private-Network": "true"}
    answer = client.options("/b", headers=asked)
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"
    assert "Access-Control-Allow-Private-Network" not in client.options("/b").headers


def test_a_page_may_send_the_headers_that_it_asks_for(client):
    asked = {"Origin": "https://example.com", "Access-Control-Request-Headers": "content-encoding"}
    answer = client.options("/b", headers=asked)
    assert answer.headers["Access-Control-Allow-Headers"] == "content-encoding"


def test_bodies_that_nobody_reads_are_read_to_their_end(client):
    """Else gunicorn breaks the connection, and a proxy answers 502."""
    for path in ("/b/nobody", "/nowhere", "/models"):
        body = io.BytesIO(b"x" * 300_000)
        client.post(path, input_stream=body, content_length=300_000)
        assert not body.read()
