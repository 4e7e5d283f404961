"""The description of the API against the running API, with requests that are made from it."""

from __future__ import annotations

import threading

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cnnlib.serving import error_codes
from cnnlib.serving.app import create_recognize_app
from cnnlib.serving.openapi import describe_api
from cnnlib.serving.waitress_server import Server
from tests.serving.helpers import Named

# Not whether what fits the description is accepted: it cannot say that bytes must be an image.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def described():
    app = create_recognize_app({"a": Named("a")})
    server = Server(app, threads=4)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    server.stop()
    thread.join(20)
    app.extensions["service"].close()


def test_answers_are_as_described(described):
    for operation in described.get_all_operations():

        @given(case=operation.ok().as_strategy())
        @settings(
            max_examples=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def answers(case):
            case.call_and_validate(checks=CHECKS)

        answers()


def test_description_names_every_address_and_every_code(client):
    described = client.get("/openapi.json").get_json()
    rules = client.application.url_map.iter_rules()
    assert set(described["paths"]) == {str(rule).replace("<name>", "{name}") for rule in rules}
    codes = described["components"]["schemas"]["Error"]["properties"]["error_code"]["enum"]
    assert codes == [*error_codes.ERROR_CODES.values(), error_codes.FAULT_CODE]


def test_keys_are_described_where_they_are_needed():
    described = describe_api(["a"], needs_key=True)
    assert set(described["components"]["securitySchemes"]) == {"key", "bearer"}
    for path, methods in described["paths"].items():
        [operation] = methods.values()
        needed = path in ("/b", "/b/{name}", "/models")
        assert ("security" in operation, "401" in operation["responses"]) == (needed, needed)
    assert "securitySchemes" not in describe_api(["a"], needs_key=False)["components"]
