from __future__ import annotations

import io

import pytest

from dit_toolkit import progress as module
from dit_toolkit.progress import log, progress, share, track, warn


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_are_the_first_the_last_and_one_every_ten_seconds(clock, capsys):
    with progress("train", 100) as bar:
        for _ in range(100):
            clock[0] += 0.5
            bar.show(loss=0.123456)
            bar.advance()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"train {n}/100" for n in (1, 21, 41, 61, 81, 100)]
    assert lines[1] == "train 21/100, loss 0.1235, 0:10 elapsed, 0:40 left"
    assert lines[-1] == "train 100/100, loss 0.1235, 0:50 elapsed"


def test_what_was_done_before_does_not_count_for_the_rest(clock, capsys):
    with progress("train", 100, done=90) as bar:
        clock[0] += 10
        bar.advance(5)
    assert capsys.readouterr().err == "train 95/100, 0:10 elapsed, 0:10 left\n"


def test_a_share_of_a_bar_fills_with_its_parts_and_is_whole_at_its_end(monkeypatch):
    steps = []
    bar = type("Bar", (), {"advance": lambda _, n: steps.append(n)})()
    with share(bar, 10) as done:
        for i in (1, 2, 3):
            done(i, 4, None)  # the fourth part never comes, as with Heun's method
    with share(bar, 3) as done:
        done(1, None, None)  # nobody knows how many there will be
    with pytest.raises(TypeError), share(bar, 8) as done:
        done(9 / done(9, 4, None), 4, None)
    assert steps == [2, 3, 2, 3, 0, 3, 8]


def test_an_interrupted_loop_says_how_far_it_got(clock, capsys):
    def loop() -> None:
        with progress("train", 100) as bar:
            bar.advance()
            bar.advance()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["train 1/100", "train 2/100"]


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("train", 3) as bar:
        bar.show(loss=0.5, images=64)
        bar.advance(2)
        log("saved")
        bar.show(lr=1e-4)
        bar.advance()
    shown = terminal.getvalue()
    assert "3/3" in shown
    assert "loss 0.5 images 64 lr 0.0001" in shown
    assert "saved" in shown


def test_other_ranks_are_silent(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with progress("train", 3) as bar:
        bar.show(loss=0.5)
        bar.advance()
    log("text")
    warn("text")
    assert capsys.readouterr() == ("", "")


def test_messages(capsys):
    log("text")
    warn("careful")
    assert capsys.readouterr().err == "text\nwarning: careful\n"


def test_track(clock, capsys):
    assert list(track("ab", "letters")) == ["a", "b"]
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["letters 1/2", "letters 2/2"]
