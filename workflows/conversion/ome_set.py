"""The planes of an image of OME-TIFF, in one file or a set: each place has exactly one, and none is left over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...pipeline.errors import VolumeError
from ...pipeline.volumes.metadata import Frame
from .ome_xml import OmeDocument, OmeImage, TiffData, parse_ome
from .tiff_files import Plane, TiffFiles

_MOST_METADATA = 1 << 30
"""Bytes of a companion file."""
AS_PAGES = "To take the pages of this file as they come, one section each, say --axes zyx"


@dataclass(frozen=True)
class OmePlanes:
    """Lists the planes of an image.

    Args:
        lengths: of the axes t, c, z, y, x, by name.
        planes: along t, c, z in C order.
        frame: voxel size.
        remarks: what a user must be told.
    """

    lengths: dict[str, int]
    planes: Sequence[Plane]
    frame: Frame
    remarks: tuple[str, ...] = ()


def read_ome(files: TiffFiles, description: str, wanted: str | None) -> OmePlanes:
    """Returns the planes of an OME-TIFF's image; files of a set are added.

    Args:
        files: the file that was given, alone.
        description: OME-XML of that file.
        wanted: the image's number from 0, or its name; needed where the file has several.

    Raises:
        VolumeError: a file or a plane is missing, a page belongs to no image, or nothing says which image is meant.
    """
    own = files.paths[0]
    document = _whole_document(own, description)
    here = [n for n, image in enumerate(document.images) if any(_is_own(own, document, run) for run in _runs(image))]
    number = _chosen(own, document.images, here, wanted)
    image = document.images[number]
    stored = {n: dict(_stored(files, document, document.images[n])) for n in {number, *here}}
    places = stored[number]
    missing = [place for place in image.places({"c": 0, "z": 0, "t": 0}, image.planes) if place not in places]
    if missing:
        named = ", ".join(f"z={z}" + (f" c={c}" if c else "") + (f" t={t}" if t else "") for c, z, t in missing[:5])
        raise VolumeError(
            f"The OME metadata of {own} promises {image.planes} planes, of which {len(missing)} are not there: "
            f"{named}{' …' if len(missing) > 5 else ''}. Export the image again, whole. {AS_PAGES}."
        )
    _check_pages_used(files, [plane for found in stored.values() for plane in found.values()])
    _check_size(files, image, places)
    counts = image.lengths
    planes = [places[c, z, t] for t in range(counts["t"]) for c in range(counts["c"]) for z in range(counts["z"])]
    others = len(document.images) - 1
    told = (f"It has {others} more images; image {number} ({image.name}) is read",) if others else ()
    return OmePlanes(counts, planes, image.frame, told)


def _runs(image: OmeImage) -> tuple[TiffData, ...]:
    """The runs of an image's planes; without any, they are all pages of the file that describes them."""
    return image.runs or (TiffData({"c": 0, "z": 0, "t": 0}, None, None, None, None),)


def _whole_document(own: Path, description: str) -> OmeDocument:
    """The OME-XML of a file, or of the one to which it refers."""
    document = parse_ome(description, str(own))
    if document.images or document.elsewhere is None:
        if not document.images:
            raise VolumeError(f"The OME metadata of {own} describes no image. {AS_PAGES}.")
        return document
    companion = _beside(own, document.elsewhere)
    if not companion.is_file():
        raise VolumeError(f"{own} has its metadata in {companion.name}, which is not there. Bring it back. {AS_PAGES}.")
    if companion.stat().st_size > _MOST_METADATA:
        raise VolumeError(f"{companion} is too large to be metadata. {AS_PAGES}.")
    text = companion.read_text("utf-8", errors="replace")
    if companion.suffix.lower() in (".tif", ".tiff"):
        with TiffFiles([companion]) as files:
            text = str(files[0].tiff_page(0).description)
    whole = parse_ome(text, str(companion))
    return OmeDocument(whole.images, document.uuid, None)


def _beside(own: Path, name: str) -> Path:
    """A file that metadata names, which lies in the folder of the file or below.

    Raises:
        VolumeError: it lies elsewhere.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise VolumeError(f"{own} names {name}; files of a set lie in one folder. Put them there. {AS_PAGES}.")
    return own.parent / name


def _stored(files: TiffFiles, document: OmeDocument, image: OmeImage) -> Iterator[tuple[tuple[int, int, int], Plane]]:
    """(c, z, t) and plane of all that is stored of an image.

    Raises:
        VolumeError: a file is missing, or two planes have one place.
    """
    seen: set[tuple[int, int, int]] = set()
    for run in _runs(image):
        number = _file_of(files, document, run)
        pages = len(files.pages(number))
        first = 0 if run.page is None else run.page
        count = run.count if run.count is not None else (pages if run.page is None else 1)
        for step, place in enumerate(image.places(run.first, count)):
            if first + step >= pages:
                break  # it is missing, which is said with all others that are
            if place in seen:
                c, z, t = place
                raise VolumeError(
                    f"The OME metadata of {files.paths[0]} has two planes for z={z} c={c} t={t}. {AS_PAGES}."
                )
            seen.add(place)
            yield place, Plane(number, first + step)


def _is_own(own: Path, document: OmeDocument, run: TiffData) -> bool:
    """Tells whether planes are in the file that was given, which may have another name since."""
    return run.file is None or Path(run.file).name == own.name or (bool(run.uuid) and run.uuid == document.uuid)


def _file_of(files: TiffFiles, document: OmeDocument, run: TiffData) -> int:
    """The number of the file that a run of planes is in."""
    own = files.paths[0]
    if run.file is None or _is_own(own, document, run):
        return 0
    path = _beside(own, run.file)
    if not path.is_file():
        raise VolumeError(
            f"{own} belongs to a set of files, of which {path.name} is not there. Bring it back into {path.parent}. "
            f"{AS_PAGES}."
        )
    return files.add(path)


def _chosen(own: Path, images: Sequence[OmeImage], here: list[int], wanted: str | None) -> int:
    """The number of the image that is meant: named, or the only one that has planes in the file that was given."""
    names = [image.name for image in images]
    if wanted is not None:
        if wanted.isdecimal() and int(wanted) < len(images):
            return int(wanted)
        if names.count(wanted) == 1:
            return names.index(wanted)
    if wanted is None and (len(here) == 1 or len(images) == 1):
        return here[0] if here else 0
    listing = "; ".join(
        f"{n} ({image.name}): {image.lengths['z']} × {image.lengths['y']} × {image.lengths['x']} voxels"
        + (f" in {image.lengths['c']} channels" if image.lengths["c"] > 1 else "")
        for n, image in enumerate(images)
    )
    raise VolumeError(f"Say which image of {own} is meant, with --dataset NUMBER. It has: {listing}.")


def _check_pages_used(files: TiffFiles, planes: list[Plane]) -> None:
    """Make sure that every page of the file that was given belongs to one of its images."""
    used = {plane.page for plane in planes if plane.file == 0}
    left = [n for n, page in enumerate(files.pages(0)) if n not in used and not page.is_reduced]
    if left:
        numbers = ", ".join(map(str, left[:5]))
        raise VolumeError(
            f"{files.paths[0]} has {len(files.pages(0))} pages, of which its OME metadata leaves out {len(left)} "
            f"(page {numbers}{' …' if len(left) > 5 else ''}, from 0). {AS_PAGES}."
        )


def _check_size(files: TiffFiles, image: OmeImage, places: dict[tuple[int, int, int], Plane]) -> None:
    promised = (image.lengths["y"], image.lengths["x"])
    for plane in places.values():
        found = files.page(plane).shape
        if found != promised:
            raise VolumeError(
                f"The OME metadata of {files.paths[0]} promises {promised} pixels (y, x), and {files.name(plane)} has "
                f"{found}. {AS_PAGES}."
            )
