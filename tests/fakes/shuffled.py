"""An executor and a progress for tests of the run loop: nothing happens in the order in which it was asked for."""

from __future__ import annotations

import random
from collections.abc import Callable

from petavox.cluster import Completion


class Shuffled:
    """Runs calls in this process, several in flight, ending in random order; loses some of them.

    `losing`: the share of calls that are lost by chance; `culprit`: the task that its worker does not survive.
    `history` has, for every call, its config, the numbers of its tasks, and the configs of those in flight.
    """

    dashboard = None

    def __init__(self, function: Callable, seed: int, window: int, losing: float = 0.0, culprit: int = -1):
        self._window, self._culprit = window, culprit
        self.history, self.expected = [], []
        self._function, self._random, self._losing = function, random.Random(seed), losing
        self._calls = []

    def capacity(self):
        return {"cpu": self._window}

    def expect(self, ready):
        self.expected.append(ready)

    def submit(self, key, pool, *arguments):
        _, config, indices, _ = arguments
        self.history.append((config, [x for _, _, x in indices], [other[1] for _, other in self._calls]))
        self._calls.append((key, arguments))
        assert len(self._calls) <= self._window

    def completed(self, timeout):
        self._random.shuffle(self._calls)
        count = self._random.randint(0, len(self._calls))
        ended, self._calls = self._calls[:count], self._calls[count:]
        return [self._end(key, arguments) for key, arguments in ended]

    def cancel(self):
        self._calls = []

    close = cancel

    def _end(self, key, arguments):
        if self._random.random() < self._losing or self._culprit in [x for _, _, x in arguments[2]]:
            return Completion(key, lost=True)
        return Completion(key, self._function(*arguments))


class Silent:
    """A progress that nobody sees, and that remembers."""

    def __init__(self):
        self.begun, self.advanced, self.failed, self.lines, self.closed = {}, {}, {}, [], False

    def working(self, parts):
        pass

    def begin(self, stages, outlook=None):
        self.begun = {name: (tasks, done) for name, tasks, done in stages}

    def advance(self, stage, count=1, *, failed=False):
        counter = self.failed if failed else self.advanced
        counter[stage] = counter.get(stage, 0) + count

    def note(self, text):
        self.lines.append(text)

    def close(self):
        self.closed = True
