"""The pages in docs/ and the texts beside them: links lead somewhere, and the first page does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from petavox import cluster
from petavox.pipeline.affinities.checkpoint import CheckpointConfig
from petavox.pipeline.affinities.network_config import NetworkConfig
from petavox.pipeline.affinities.unet import ResidualSymmetricUNet
from petavox.pipeline.networks.checkpoint import save_checkpoint
from petavox.workflows.cli import app
from petavox.workflows.execution import attempt

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
CODE = re.compile(r"^(```.*?^```|(?: {4}|\t).*?$)|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def _prose(page: Path) -> str:
    """A page without its code."""
    return CODE.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site and GitHub make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_are_there(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(found), f"{page.name} links to {target}"


def test_every_page_stands_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = [
        name for tree in re.findall(r"```\{toctree\}\n(.*?)```", index, re.S) for name in tree.split("\n\n")[1].split()
    ]
    assert sorted(listed) == sorted(page.stem for page in DOCS.glob("*.md") if page.stem != "index")


def test_every_picture_is_shown_somewhere():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (DOCS / "images").rglob("*.*"):
        assert picture.relative_to(DOCS).as_posix() in text, picture


def test_the_first_page_does_what_it_says(monkeypatch, tmp_path):
    """Its stack, its recipe and its commands, on a smaller stack, with a tiny network, and in one process."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.pages.start import PAGE, blocks

    torch.manual_seed(0)
    network = NetworkConfig(widths=(2, 3), stride=(1, 2, 2))
    config = CheckpointConfig(network=network, patch=(4, 8, 8), voxel_size=(30.0, 6.0, 6.0))
    save_checkpoint(tmp_path / "phantom", config, ResidualSymmetricUNet(network).state_dict())
    serial = cluster.start(cluster.ClusterSpec("serial"), attempt.perform)
    monkeypatch.setattr(cluster, "start", lambda *_, **__: serial)
    monkeypatch.chdir(tmp_path)

    for language, text in blocks(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text.replace("(64, 512, 512)", "(6, 64, 64)"), str(PAGE), "exec"), {})
        elif language == "toml":
            Path("recipe.toml").write_text(text.replace("[64, 256, 256]", "[6, 64, 64]"))
        else:
            for line in text.splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "petavox"
                done = CliRunner().invoke(app, arguments)
                assert done.exit_code == 0, f"{line}\n{done.output}"

    assert (tmp_path / "runs" / "recipe" / "report.html").is_file()
    assert len(list((tmp_path / "runs" / "recipe" / "cuts").iterdir())) == 4
