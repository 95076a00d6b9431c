"""Examines a folder or a bucket that a run is to write into: rights, and how long a request takes."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

from ...cluster.quantities import in_bytes
from ...pipeline.errors import PetavoxError
from ...pipeline.locations import Location
from .doctor import Finding

PROBE = 4_000_000
"""Bytes of the object by which the rate is measured."""


def examine_storage(path: str) -> list[Finding]:
    """Writes, reads, replaces, lists and removes an object of its own below a path, and removes it.

    What fails first is said with its cure; what would come after it is not tried.
    """
    place = Location.of(path) / f"petavox-doctor-{platform.node()}-{os.getpid()}"
    content = os.urandom(PROBE)
    findings: list[Finding] = []
    steps: dict[str, Callable[[], object]] = {
        "write": lambda: place.write("probe", content[:100]),
        "read": lambda: place.read("probe") == content[:100],
        "overwrite": lambda: place.write("probe", content),
        "read it whole": lambda: place.read("probe") == content,
        "list": lambda: place.names() == ["probe"],
        "remove": place.remove,
    }
    for name, step in steps.items():
        began = time.monotonic()
        try:
            wrong = step() is False
        except PetavoxError as error:
            return [*findings, Finding(name, "refused", False, str(error))]
        seconds = time.monotonic() - began
        if wrong:
            return [*findings, Finding(name, "something else came back", False, "ask whoever runs this storage")]
        rate = f", {in_bytes(PROBE / seconds)}/s" if name in ("overwrite", "read it whole") else ""
        findings.append(Finding(name, f"{1000 * seconds:.0f} ms{rate}"))
    return findings
