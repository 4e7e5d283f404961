"""Trainings that are interrupted lose nothing that was saved, and go on from there."""

import os
import signal
import threading
import time

import pytest

from cnnlib.training.signals import stop_signals
from tests.training.helpers import (
    checkpoint_files,
    history_steps,
    info,
    read_until,
    start_training,
    train,
)


@pytest.mark.skipif(os.name == "nt", reason="Windows has none of these to send")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signal_saves_and_the_same_command_goes_on(ready, capsys, name):
    ready.change(cycle_stop=60, cycle_save=1000)
    with start_training(ready) as process:
        read_until(process, "第20次训练")
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after this step, and saving; once more ends it at once" in err
    assert "Traceback" not in err
    assert "the same command goes on from here" in out
    step = info(ready).run.step
    assert 20 <= step < 60 and not info(ready).run.done
    result = train(ready)
    assert f"the run that was interrupted goes on after step {step}" in capsys.readouterr().out
    assert result.steps == 60 - step
    assert (info(ready).total_step, info(ready).run.done) == (60, True)
    assert history_steps(ready.sample.model_save_dir.full) == list(range(10, 61, 10))


def test_kill_9_loses_no_more_than_the_steps_since_the_last_save(ready):
    ready.change(cycle_stop=60, cycle_save=10)
    with start_training(ready) as process:
        read_until(process, "第20次训练")
        read_until(process, "第30次训练")  # 20 is saved by now; anywhere in the save of 30
        time.sleep(0.05)
        process.kill()
    known = info(ready)
    assert known.run.step in range(20, 60, 10) and not known.run.done
    result = train(ready)
    assert result.steps == 60 - known.run.step
    known = info(ready)
    assert known.total_step == 60
    assert checkpoint_files(ready) == {f"{known.best}.index", f"{known.last}.index"}


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_reader_that_ends_before_the_training_loses_no_step(ready):
    """As Ctrl-C does in `train_model.py | tee log`: tee is gone, then a line is printed."""
    ready.change(cycle_stop=60, cycle_save=1000)
    with start_training(ready) as process:
        read_until(process, "第10次训练")
        process.stdout.close()
        assert process.wait(60) == 130
        assert "Traceback" not in process.stderr.read()
    assert info(ready).run.step in (10, 20, 30) and not info(ready).run.done


@pytest.mark.skipif(os.name == "nt", reason="Windows has none of these to send")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_first_signal_is_an_event_and_the_second_acts_as_always(name):
    number = getattr(signal, name)
    always = []
    previous = signal.signal(number, lambda *_: always.append(number))
    try:
        with stop_signals() as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), number)
            assert stop.wait(20) and not always
            os.kill(os.getpid(), number)
            assert always == [number]
        os.kill(os.getpid(), number)
        assert always == [number] * 2
    finally:
        signal.signal(number, previous)


def test_training_in_a_thread_leaves_signals_alone():
    seen = []

    def run():
        with stop_signals() as stop:
            seen.append((stop.is_set(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert seen == [(False, signal.getsignal(signal.SIGINT))]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no terminals of this kind")
def test_training_whose_terminal_is_closed_saves_first(ready):
    """As when an SSH session ends: SIGHUP comes, and nothing can be printed any more."""
    import pty  # Windows has none

    ready.change(cycle_stop=60, cycle_save=1000)
    main, terminal = pty.openpty()
    process = start_training(ready, stdin=terminal, stdout=terminal, stderr=terminal, session=True)
    os.close(terminal)
    with os.fdopen(main, "rb") as screen:
        while "第20次训练" not in screen.readline().decode():
            assert process.poll() is None
    assert process.wait(60) in (130, -signal.SIGHUP)
    assert info(ready).run.step >= 20 and not info(ready).run.done


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_signal_that_is_ignored_stays_ignored():
    """As below nohup."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, previous)
