"""The pages of the recognition API: one to try it, one that shows its description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flask import render_template

from cnnlib.version import __version__

TEMPLATES = Path(__file__).with_name("templates")


def home(names: Sequence[str], models: Sequence[Mapping[str, Any]], needs_key: bool) -> str:
    """Return the page with a form for images; `models` as /models describes them, or none."""
    return render_template(
        "home.html",
        version=__version__,
        names=names,
        models=models,
        needs_key=needs_key,
        lengths=_lengths,
    )


def docs(api: Mapping[str, Any]) -> str:
    """Return the page that shows an OpenAPI description."""
    schemas = api["components"]["schemas"]

    def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a reference refers to."""
        name = schema.get("$ref", "").rpartition("/")[2]
        return dict(schemas[name]) if name else schema

    return render_template("docs.html", api=api, resolved=resolved)


def _lengths(model: Mapping[str, Any]) -> str:
    """Return how many characters a text has."""
    least, most = model.get("min_captcha"), model.get("max_captcha")
    if most is None:
        return "text"
    return f"{most}" if least in (None, most) else f"{least} to {most}"
