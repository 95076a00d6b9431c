"""What training writes for TensorBoard is what a reader of the format finds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.networks.tensorboard import EventFile
from twins.event_file import scalars

FLOATS = st.floats(width=32, allow_nan=False)
STEPS = st.integers(0, 2**40)


@settings(max_examples=20)
@given(begins=STEPS, lines=st.lists(st.tuples(STEPS, st.dictionaries(st.text(min_size=1), FLOATS)), min_size=1))
def test_a_reader_finds_every_number_under_its_name_and_step(tmp_path_factory, begins, lines):
    folder = tmp_path_factory.mktemp("events")
    events = EventFile(folder, begins)
    for step, numbers in lines:
        events.add(step, numbers)
    (path,) = folder.glob("events.out.tfevents.*")
    version, start, found = scalars(path)
    assert version == [(2, 0), (3, b"brain.Event:2")]
    assert start == [(2, begins), (7, b"\x08\x01")]
    assert found == [(step, name, number) for step, numbers in lines for name, number in numbers.items()]
