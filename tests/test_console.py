"""The lines of version 2, word for word, and how a script ends."""

import io
import os
import subprocess
import sys

import pytest

from cnnlib import console
from cnnlib.errors import SampleError
from cnnlib.paths import PROJECT_ROOT


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (console.verification_starts("sample/origin/"), ">>> 开始校验目录：[sample/origin/]"),
        (
            console.folder_created("sample/new_train/"),
            "【警告】找不到目录sample/new_train/，即将创建",
        ),
        (console.verification_counts(1001), "开始校验原始图片集\n原始集共有图片: 1001张"),
        (
            console.verification_result([(0, ".DStore", console.WRONG_SUFFIX)], 1001),
            "====以下1张图片有异常====\n[第0张图片] [.DStore] [文件后缀不正确]\n========end",
        ),
        (
            console.verification_result([], 0),
            "====以下0张图片有异常====\n未发现异常（共 0 张图片）\n========end",
        ),
        (console.SPLIT_STARTS, "开始分离原始图片集为：测试集（5%）和训练集（95%）"),
        (
            console.split_result(50, 950, 1),
            "共分配1000张图片到训练集和测试集，其中1张为异常留在原始目录\n"
            "测试集数量为：50\n训练集数量为：950",
        ),
        (console.training_step(10), "第10次训练 >>> "),
        (
            console.training_scores("训练集", 0.03, 0.0, 0.1698757857),
            "[训练集] 字符准确率为 0.03000 图片准确率为 0.00000 >>> loss 0.1698757857",
        ),
        (
            console.batch_test_result(100, 6.513171672821045, 0.37),
            "100个样本识别耗时6.513171672821045秒，准确率37.0%",
        ),
        (
            console.time_test_line(2938, "5150", "13:30:25", 29, 15, 14),
            "2938,5150,13:30:25,总耗时：29ms,识别：15ms,请求：14ms",
        ),
    ],
)
def test_lines_of_version_2(line, expected):
    assert line == expected


@pytest.mark.parametrize(
    ("accuracy", "shown"),
    [(0.985, "98.5%"), (0.37, "37.0%"), (1.0, "100.0%"), (2 / 3, "66.6667%"), (0.57, "57.0%")],
)
def test_accuracy_shows_no_binary_fractions(accuracy, shown):
    assert console.batch_test_result(1, 1.0, accuracy).endswith(f"准确率{shown}")


def test_reporter_writes_lines_to_stdout_and_warnings_to_stderr(capsys):
    console.CONSOLE.say("line")
    console.CONSOLE.say()
    console.CONSOLE.warn("warning")
    assert capsys.readouterr() == ("line\n\n", "warning\n")


def test_silent_reporter_passes_items_on_and_writes_nothing(capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    reporter = console.SilentReporter()
    reporter.say("line")
    reporter.warn("warning")
    with reporter.progress("abc", "title") as bar:
        bar.update(1)
        bar.set_postfix_str("x")
        assert list(bar) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("raised", "code", "shown"),
    [
        (SampleError("no image in x: draw some"), 2, "error: no image in x: draw some\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_script_ends_in_one_line(capsys, raised, code, shown):
    @console.script
    def main(argv=None):
        raise raised

    assert main() == code
    assert capsys.readouterr() == ("", shown)


def test_ctrl_c_while_a_compiled_library_loads_is_no_bug(capsys):
    @console.script
    def main(argv=None):
        raise ImportError("initialization failed") from KeyboardInterrupt()

    assert main() == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize("bug", [IndexError("list index"), ImportError("no such symbol")])
def test_bug_keeps_its_traceback(bug):
    @console.script
    def main(argv=None):
        raise bug

    with pytest.raises(type(bug)):
        main()


def test_chinese_and_undecodable_names_print_on_every_console():
    code = (
        "from cnnlib import console\n"
        "@console.script\n"
        "def main(argv=None):\n"
        "    console.say('验证 \\udcff')\n"
        "    return 0\n"
        "main()"
    )
    for encoding in ("cp1252", "utf-8", "ascii"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT_ROOT,
            check=True,
            stdout=subprocess.PIPE,
            env={"PYTHONIOENCODING": encoding},
        )
        assert done.stdout.decode("utf-8").split() == ["验证", "\\udcff"]


def test_reader_that_ends_early_is_no_traceback():
    code = (
        "from cnnlib import console\n"
        "@console.script\n"
        "def main(argv=None):\n"
        "    while True:\n"
        "        console.say('line')\n"
        "raise SystemExit(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == console.EXIT_INTERRUPTED
        assert process.stderr.read() == b""


SAYS = (
    "from cnnlib import console\n"
    "@console.script\n"
    "def main(argv=None):\n"
    "    console.say('line')\n"
    "    console.warn('warning')\n"
    "    for _ in console.progress([1], 'title'):\n"
    "        pass\n"
    "    return 7\n"
    "raise SystemExit(main())"
)


@pytest.mark.skipif(not os.path.exists("/bin/sh"), reason="it takes a shell to close them")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_get_nothing(closed):
    command = f'exec "$0" -c "$1" {closed}'
    done = subprocess.run(["/bin/sh", "-c", command, sys.executable, SAYS], cwd=PROJECT_ROOT)
    assert done.returncode == 7


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a device that is full")
def test_output_on_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", SAYS],
            cwd=PROJECT_ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == console.EXIT_INTERRUPTED
    assert done.stderr == "error: cannot print: No space left on device\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a device that is full")
def test_error_that_cannot_be_printed_is_no_traceback():
    raises = (
        "from cnnlib import console\n"
        "@console.script\n"
        "def main(argv=None):\n"
        "    raise console.CaptchaError('no image')\n"
        "raise SystemExit(main())"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", raises], cwd=PROJECT_ROOT, stderr=full)
    assert done.returncode == console.EXIT_INTERRUPTED


@pytest.mark.parametrize("progress", [console.progress, console.CONSOLE.progress])
def test_progress_shows_nothing_without_a_terminal(monkeypatch, progress):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress("abc", "title")) == ["a", "b", "c"]
    assert stream.getvalue() == ""


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_option_that_counts_takes_whole_numbers_from_1_on(capsys, text):
    parser = console.parser("manual")
    parser.add_argument("--times", type=console.at_least_one)
    assert parser.parse_args(["--times", "12"]).times == 12
    with pytest.raises(SystemExit):
        parser.parse_args(["--times", text])
    assert f"{text!r} is not a whole number of at least 1" in capsys.readouterr().err
