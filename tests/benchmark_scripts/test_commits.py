"""Results say at which commit they were measured, and pages say which of them are older than their code."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """The modules of the benchmarks; of this folder's own name, pytest would make another `benchmarks`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
            patch.setenv(name, "1")  # as the scripts do, to be undone
        patch.syspath_prepend(str(ROOT))
        before = set(sys.modules)
        from benchmarks.harness import commits, measure
        from benchmarks.pages import benchmarks as page

        yield SimpleNamespace(commits=commits, measure=measure, page=page)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "benchmarks":
                del sys.modules[name]


def git(root, *arguments):
    subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True)


def commit(root, path, text="x"):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    git(root, "add", "-A")
    git(root, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-m", f"touch {path}")


@pytest.fixture
def repository(tmp_path):
    """A repository with code that the kernels' benchmark measures, and with code that it does not."""
    git(tmp_path.parent, "init", str(tmp_path))
    commit(tmp_path, "pipeline/segmentation/supervoxels.py")
    commit(tmp_path, "docs/page.md")
    return tmp_path


def test_a_result_is_older_than_its_code_once_that_has_changed(scripts, repository):
    commits = scripts.commits
    measured = commits.described(repository)
    assert len(measured) == 12
    assert commits.staleness("kernels-smoothed", measured, repository) is None
    commit(repository, "docs/page.md", "y")
    commit(repository, "workflows/planning/plan.py")
    assert commits.staleness("kernels", measured, repository) is None
    commit(repository, "pipeline/agglomeration/contacts.py")
    assert "older than its code" in commits.staleness("kernels", measured, repository)
    assert commits.staleness("kernels", commits.described(repository), repository) is None


def test_changes_that_no_commit_has_are_said(scripts, repository):
    (repository / "pipeline/segmentation/supervoxels.py").write_text("z")
    measured = scripts.commits.described(repository)
    assert measured.endswith("-dirty")
    assert "measured with changes" in scripts.commits.staleness("kernels", measured, repository)


def test_without_a_commit_or_without_git_it_is_unknown(scripts, tmp_path):
    assert scripts.commits.described(tmp_path / "nowhere") == "unknown"
    for name in (None, "unknown"):
        assert "unknown commit" in scripts.commits.staleness("kernels", name)


def test_every_benchmark_says_which_code_it_measures_and_that_is_there(scripts):
    known = {path.stem.partition("-")[0] for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert known | set(scripts.page.TITLES) <= set(scripts.commits.MEASURED)
    for paths in scripts.commits.MEASURED.values():
        assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_written_result_has_its_commit_and_its_page_flags_it(scripts, tmp_path, monkeypatch):
    monkeypatch.setattr(scripts.measure, "bandwidth", lambda: 1000.0)
    monkeypatch.setattr(scripts.measure, "COMMIT", "0123456789ab-dirty")
    line = scripts.measure.target("speed", 2.0, 1.0)
    scripts.measure.write(tmp_path, "noop", {}, [{"what": "a", "done": 1, "seconds": 1.0}], [line])
    document = json.loads((tmp_path / "noop.json").read_text())
    assert document["commit"] == "0123456789ab-dirty"
    scripts.page.write_page(tmp_path, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "**Not of today's code: measured with changes that 0123456789ab does not have.**" in text
    assert "| changed since |" in text
    monkeypatch.setattr(scripts.page, "staleness", lambda name, commit: None)
    scripts.page.write_page(tmp_path, tmp_path / "page.md")
    assert "code" not in (tmp_path / "page.md").read_text()
