"""Workers leave the script alone that started them: it runs once, with or without a guard around its main part."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from petavox.cluster.nanny import without_main_module

TESTS = Path(__file__).parents[1]
SCRIPT = """
import sys
from pathlib import Path

from fakes.calls import call
from petavox import cluster

with Path("imports.txt").open("a") as file:
    file.write(__name__ + " ")
executor = cluster.start(cluster.ClusterSpec("local", {"cpu": cluster.PoolSpec(2, 600_000_000)}), call)
answers = {}
for number, question in enumerate([("double", 3), ("die once", "marker"), ("die once", "marker"), ("double", 4)]):
    executor.submit(number, "cpu", *question)
    while number not in answers:
        answers.update((answer.key, answer.value) for answer in executor.completed(1.0))
executor.close()
print([answers[number] for number in range(4)], __spec__ and __spec__.name)
"""


@pytest.mark.parametrize("command", [["script.py"], ["-m", "script"]], ids=["file", "module"])
def test_a_script_without_a_guard_is_not_run_again_by_its_workers(tmp_path, command):
    (tmp_path / "script.py").write_text(SCRIPT)
    path = [str(tmp_path), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert (tmp_path / "imports.txt").read_text() == "__main__ ", "neither at first nor in the place of one that died"
    assert done.stdout.strip() == f"[6, None, 'survived', 8] {'script' if '-m' in command else None}"


def test_the_main_module_gets_its_spec_back_in_whatever_order_processes_have_started():
    main = sys.modules["__main__"]
    before = main.__spec__
    started, go = threading.Event(), threading.Event()

    def start_another():
        with without_main_module():
            started.set()
            go.wait(10)

    other = threading.Thread(target=start_another)
    with without_main_module():
        other.start()
        started.wait(10)
    assert main.__spec__.name == "__main__"
    go.set()
    other.join()
    assert main.__spec__ is before
