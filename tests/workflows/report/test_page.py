"""The report is one page that needs nothing else, of bounded size, whatever the run was like."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import imagecodecs
import numpy as np
import pytest

from petavox.pipeline.affinities.nearest import Channels
from petavox.pipeline.errors import StorageError
from petavox.pipeline.evaluation import evaluate
from petavox.pipeline.volumes import VolumeSource, VolumeSpec, create_volume
from petavox.workflows.report.ending import Ending
from petavox.workflows.report.page import ReportData, verdict, write_report
from petavox.workflows.report.pictures import Volumes
from petavox.workflows.run_directory.ledger_schema import Summary

STAGE = Summary("supervoxels", 4, 3, 1, 0, 0, 0, 4, 12.5, 300_000_000, 10**6)
SHAPE = (6, 32, 32)


def put(path, array, **options):
    spec = VolumeSpec(array.shape[-3:], array.dtype.name, (30.0, 6.0, 6.0), **options)
    create_volume(path, spec).write(spec.box, array)
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    generator = np.random.default_rng(0)
    segmentation = np.kron(generator.integers(0, 9, (3, 4, 4)), np.ones((2, 8, 8), int)).astype(np.uint64)
    truth = np.roll(segmentation, 3, axis=2)[1:, 4:, 4:] % 5
    volumes = Volumes(
        segmentation=put(folder / "segmentation.zarr", segmentation),
        raw=VolumeSource.of(put(folder / "raw.zarr", generator.integers(0, 255, SHAPE, np.uint8))),
        affinities=VolumeSource.of(
            put(folder / "affinities.zarr", generator.random((3, *SHAPE), np.float32), channels=3)
        ),
        channels=Channels(),
        truth=VolumeSource.of(put(folder / "truth.zarr", truth.astype(np.uint16))),
        truth_offset=(1, 4, 4),
    )
    ending = Ending(
        directory=folder / "phantom <1>",
        failed=0,
        blocked=0,
        failures=(),
        stages=(STAGE,),
        seconds=75.0,
        segmentation=volumes.segmentation,
        affinities=str(volumes.affinities),
        scores=evaluate(segmentation[1:, 4:, 4:], truth),
        segment_sizes=(0, 5, 0, 1200),
    )
    ending.directory.mkdir()
    return ReportData(ending, '[input]\nraw = "a & b.zarr"', volumes, {"petavox": "0.1.0"})


def changed(data, volumes=None, **of_the_ending):
    """The data with some volumes and some of the ending replaced."""
    ending = replace(data.ending, **of_the_ending)
    return replace(data, ending=ending, volumes=replace(data.volumes, **volumes or {}))


def written(data):
    write_report(data)
    return data.ending.report


class Page(HTMLParser):
    """Counts tags, and collects what the page would load."""

    def __init__(self, path):
        super().__init__()
        self.text = path.read_text("utf-8")
        self.loads, self.open = [], []
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    @property
    def pictures(self):
        return [imagecodecs.png_decode(base64.b64decode(load.partition(",")[2])) for load in self.loads]


def test_the_page_holds_everything_and_loads_nothing(data):
    page = Page(written(data))
    assert page.open == []
    assert len(page.pictures) == 8  # four volumes, at the worst merger and at the worst split
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert not re.search(r"https?://|@import|url\(", page.text)
    assert [file.name for file in data.ending.directory.iterdir()] == ["report.html"]


def test_what_the_user_wrote_is_escaped(data):
    text = written(data).read_text("utf-8")
    assert "phantom &lt;1&gt;" in text
    assert "a &amp; b.zarr" in text


def test_scores_mistakes_stages_and_sizes_are_shown(data):
    text = written(data).read_text("utf-8")
    assert f"{data.ending.scores.adapted_rand_error:.4f}" in text
    assert f"{data.ending.scores.mergers[0].voxels:,}" in text
    for part in ("supervoxels", "12.5 s", "300 MB", "1,200", "petavox 0.1.0"):
        assert part in text


def test_pictures_have_the_right_proportion(data):
    picture = Page(written(data)).pictures[0]
    assert picture.shape[0] == picture.shape[1] == 512 + 4 + round(6 * 30 / 6 * 16)


def test_without_truth_and_raw_the_page_is_as_good(data):
    page = Page(written(changed(data, {"truth": None, "raw": None}, scores=None)))
    assert len(page.pictures) == 2
    assert "Largest mistakes" not in page.text
    assert "no truth to score" in page.text


def test_a_failed_run_has_a_report_even_without_volumes(tmp_path, data):
    failed = replace(STAGE, done=1, failed=2)
    gone = {"segmentation": str(tmp_path / "gone.zarr")}
    page = Page(written(changed(data, gone, stages=(failed,), failures=("block 1: no <space>",))))
    assert "2 of 4 tasks failed" in page.text
    assert "no &lt;space&gt;" in page.text
    assert "gone.zarr" in page.text
    assert page.pictures == []


def test_a_report_of_a_huge_volume_reads_three_planes_of_a_window(tmp_path, data):
    """2·10¹⁵ voxels, none of them ever written: anything that touched them all would not come back."""
    shape = (10**5, 10**5, 2 * 10**5)
    volume = str(create_volume(tmp_path / "huge.zarr", VolumeSpec(shape, "uint64", (8.0, 8.0, 8.0))).path)
    volumes = {"segmentation": volume, "raw": VolumeSource.of(volume), "affinities": None, "truth": None}
    page = Page(written(changed(data, volumes, scores=None)))
    assert len(page.pictures) == 2
    assert max(page.pictures[0].shape) < 1024


def test_a_report_that_cannot_be_written_is_a_storage_error(tmp_path, data):
    with pytest.raises(StorageError, match="report"):
        write_report(changed(data, directory=tmp_path / "missing"))


def test_the_verdict_says_how_it_ended(data):
    error = data.ending.scores.adapted_rand_error
    counted = "segments: 0 of 512 voxels or more, 1,205 with crumbs"
    assert verdict(data) == f"Adapted Rand error {error:.4f}; {counted}, in 1 min 15 s."
    assert "3 of 4 tasks are done" in verdict(changed(data, stages=(replace(STAGE, empty=0),)))
