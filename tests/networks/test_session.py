"""The options of a session, and what they depend on."""

import pytest

from cnnlib.networks import session
from cnnlib.networks.session import has_bfloat16, session_options


def test_bfloat16_only_where_the_processor_has_it(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(session, "has_bfloat16", lambda has=has: has)
        rewrites = session_options().graph_options.rewrite_options
        assert (rewrites.auto_mixed_precision_onednn_bfloat16 == rewrites.ON) is has


def test_without_enable_gpu_no_gpu_is_taken():
    assert session_options(False).device_count["GPU"] == 0
    assert "GPU" not in session_options(True).device_count
    assert session_options(True).gpu_options.allow_growth


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("avx2 avx512_bf16 sse", True), ("amx_bf16", True), ("avx2 avx512f", False), (None, False)],
)
def test_bfloat16_is_a_flag_of_the_processor(monkeypatch, tmp_path, flags, expected):
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:  # only Linux has the file
        cpuinfo.write_text(f"flags\t: fpu {flags} vme\n")
    monkeypatch.setattr(session, "Path", {"/proc/cpuinfo": cpuinfo}.__getitem__)
    assert has_bfloat16() is expected
