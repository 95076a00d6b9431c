"""Prints the findings of `petavox audit`: as text for people, as plain values for `--json`."""

from __future__ import annotations

from typing import Any

from ..runs.audit import Audit, Listed


def audit_text(found: Audit) -> str:
    """Lists the flaws that an audit has found and mended as text."""
    findings = found.findings
    lines = [found.restored] if found.restored else []
    lines += [_line(listed) for listed in findings.listed]
    if findings.count > len(findings.listed):
        lines.append(f"and more: {findings.count:,} tasks in all")
    checked = f"{found.directory}: the results of {findings.checked:,} tasks were read back"
    if not findings.count:
        return "\n".join([*lines, f"{checked}; all are there, and equal their checksums."])
    lines.append(f"{checked}; those of {findings.count:,} are missing or damaged.")
    if found.ending is None:
        lines.append(f"To make it again: petavox audit {found.directory} --repair")
    else:
        failed = f"; {found.ending.failed} failed" if found.ending.failed else ""
        lines.append(f"{found.redone:,} tasks were run again{failed}.")
    return "\n".join(lines)


def _line(listed: Listed) -> str:
    flaw = listed.flaw
    found = "" if flaw.found is None else f" (checksum {flaw.found:08x}, should be {flaw.expected:08x})"
    return f"{listed.stage} {flaw.index}, voxels {listed.box}: {flaw.path}: {flaw.reason}{found}"


def audit_json(found: Audit) -> dict[str, Any]:
    """Returns the findings of an audit as plain values; boxes in voxels."""
    return {
        "directory": str(found.directory),
        "exit_status": found.exit_status,
        "restored": found.restored,
        "checked": found.findings.checked,
        "flawed": found.findings.count,
        "flaws": [
            {
                "stage": listed.stage,
                "block": list(listed.flaw.index),
                "box": [list(listed.box.start), list(listed.box.stop)],
                "path": listed.flaw.path,
                "reason": listed.flaw.reason,
                "expected": listed.flaw.expected,
                "found": listed.flaw.found,
            }
            for listed in found.findings.listed
        ],
        "redone": found.redone,
    }
