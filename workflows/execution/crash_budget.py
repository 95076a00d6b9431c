"""Stops a run whose blocks fail nearly everywhere, and words the reason."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal

from ...pipeline.errors import CrashBudgetError

LEAST = 10
"""Blocks of a stage that may be set aside whatever their share, or small stages would stop at their first bad block."""

_KINDS = 3


class CrashBudget:
    """Counts the blocks of a stage that have been set aside against the share that may be, with their reasons.

    Args:
        share: share of the ended blocks that may be set aside, now or in earlier sessions.
    """

    def __init__(self, share: Decimal) -> None:
        self._share = share
        self._reasons: dict[str, Counter[str]] = {}
        self._examples: dict[str, str] = {}

    def spend(self, stage: str, reason: str, *, set_aside: int, done: int) -> None:
        """Notes that one more block of a stage has been set aside.

        Args:
            stage: its name.
            reason: in one line.
            set_aside: blocks of the stage, this one included.
            done: blocks of the stage.

        Raises:
            CrashBudgetError: that is more than allowed.
        """
        kind = re.sub(r"\d+", "0", reason)  # the same error names another block each time
        self._examples.setdefault(kind, reason)
        reasons = self._reasons.setdefault(stage, Counter())
        reasons[kind] += 1
        if set_aside >= LEAST and set_aside > self._share * (set_aside + done):
            named = "; ".join(f"{count} × {self._examples[kind]}" for kind, count in reasons.most_common(_KINDS))
            raise CrashBudgetError(
                f"Stage {stage} fails on too many blocks: {set_aside} of the {set_aside + done} that have ended were"
                f" set aside, more than limits.crash_budget = {self._share} allows. Why, commonest first: {named}."
                " What is done is kept: put the cause right and run again, or allow more."
            )
