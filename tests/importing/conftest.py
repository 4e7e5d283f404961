"""Folders as people have them."""

import pytest


@pytest.fixture
def folder(tmp_path):
    """Return fill(*names, **texts) -> the folder: images without content, and texts of files."""

    def fill(*names, **texts):
        root = tmp_path / "caps"
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        for name, text in texts.items():
            data = text if isinstance(text, bytes) else text.encode()
            (root / name.replace("__", ".")).write_bytes(data)
        return root

    return fill
