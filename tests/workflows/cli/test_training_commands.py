"""`petavox train` and `petavox status` on the command line: a table for people, lines of JSON for programs."""

from __future__ import annotations

import json
import sys

import pytest
from fakes.tiny_training import tiny_training

from petavox.workflows import cli
from petavox.workflows.cli.show_training import COLUMNS, TrainingTable
from petavox.workflows.models import idle
from petavox.workflows.models.benchmark_lock import FOLDER

RECIPE = tiny_training(3)


@pytest.fixture
def petavox(monkeypatch, capfd, tmp_path):
    """Runs a command line in this process: its exit status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["petavox", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        out, err = capfd.readouterr()
        return exited.value.code, out, err

    monkeypatch.setenv(FOLDER, str(tmp_path / "locks"))
    monkeypatch.setattr(idle, "lower_priority", lambda: None)  # of this process it could not be raised again
    (tmp_path / "tiny.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return run


def test_a_training_is_shown_as_a_table_or_as_lines_of_json(petavox):
    status, out, err = petavox("train", "tiny.toml")
    assert (status, out) == (0, "training/tiny/checkpoint\n")
    assert err.splitlines()[:2] == ["Begins, of 3 steps.", "".join(n.rjust(w) for n, w in COLUMNS.items())]
    assert [line.split()[0] for line in err.splitlines()[2:]] == ["1", "2", "3"]
    status, out, err = petavox("train", "tiny.toml", "--json", "--set", "training.steps=4")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line.get("event", line.get("step", line.get("checkpoint"))) for line in lines] == [
        *("resume", 4),
        "training/tiny/checkpoint",
    ]
    assert (status, err) == (0, "")


def test_an_idle_training_is_finished_and_both_are_shown(petavox):
    words = ("train", "tiny.toml", "--set", "training.steps=20")
    assert petavox(*words, "--idle")[:2] == (0, "training/tiny/last\n")
    status, out, err = petavox(*words, "--finish", "10%")
    assert (status, out) == (0, "training/tiny/checkpoint\n")
    assert "Goes on after step 20, of 22 steps." in err
    status, out, _ = petavox("status", "training/tiny")
    assert status == 0
    assert "nobody is at work" in out
    assert "20 of 20" in out
    assert json.loads(petavox("status", "training/tiny/finish", "--json")[1])["step"] == 22


def test_a_wrong_share_and_a_training_that_is_not_there_are_refused(petavox):
    status, _, err = petavox("train", "tiny.toml", "--finish", "5")
    assert (status, "one such as" in err) == (2, True)
    status, _, err = petavox("train", "tiny.toml", "--finish", "5%")
    assert (status, "holds none" in err) == (2, True)


def test_rows_have_the_time_left_and_say_when_the_training_waits():
    said = []
    table = TrainingTable(said.append)
    table.report({"event": "start", "next_step": 0, "training": {"steps": 8000}})
    table.report({"step": 1000, "loss": 0.25, "learning_rate": 1e-3, "seconds_per_step": 0.5, "seconds": 500.0})
    table.report({"step": 1000, "validation_loss": 0.125, "balanced_accuracy": [0.5]})
    table.report({"event": "pause", "next_step": 1000})
    table.report({"event": "go on", "next_step": 1000})
    rows = [line.split() for line in said]
    assert rows[1] == ["1,000", "0.2500", "1.00e-03", "0.50", "58", "min", "20", "s"]
    assert rows[2] == ["1,000", "0.1250"]
    assert said[3:] == ["A benchmark runs: the training waits.", "The benchmark has ended: the training goes on."]
