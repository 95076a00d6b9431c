"""Recipes are read strictly: what is not understood is named, with what may have been meant."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.errors import RequestError
from petavox.pipeline.thresholds import Fraction
from petavox.workflows.recipes import strict_toml
from petavox.workflows.recipes.strict_toml import Section


class Inner(Section):
    threshold: float = 0.5
    shape: tuple[int, int, int] = (1, 2, 3)


class Outer(Section):
    name: str
    inner: Inner = Inner()
    more: Inner | None = None
    exact: Fraction = Decimal(1)
    flags: tuple[bool, ...] = ()


def read(tmp_path, text, *overrides):
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return strict_toml.read(path, Outer, overrides)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_recipe_saved_by_a_windows_editor_is_read(tmp_path, encoding):
    path = tmp_path / "recipe.toml"
    path.write_bytes('name = "größe"\r\n[inner]\r\nthreshold = 0.25\r\n'.encode(encoding))
    assert strict_toml.read(path, Outer) == Outer(name="größe", inner=Inner(threshold=0.25))


inners = st.builds(
    Inner, threshold=st.floats(allow_nan=False), shape=st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 3)
)


@given(
    st.builds(
        Outer,
        name=st.text(st.characters(exclude_categories=["Cs"])),
        inner=inners,
        more=st.none() | inners,
        exact=st.integers(0, 10**6).map(lambda millionths: Decimal(millionths) / 10**6),
        flags=st.lists(st.booleans()).map(tuple),
    )
)
def test_what_is_dumped_is_read_back_the_same(tmp_path_factory, model):
    assert read(tmp_path_factory.mktemp("toml"), strict_toml.dump(model)) == model


def test_an_unknown_key_names_the_file_and_the_nearest_key(tmp_path):
    with pytest.raises(RequestError, match=r"recipe\.toml: unknown key 'inner\.treshold'.*mean 'inner\.threshold'"):
        read(tmp_path, "name = 'x'\n[inner]\ntreshold = 0.4")


def test_a_key_in_the_wrong_table_is_sent_to_the_right_one(tmp_path):
    with pytest.raises(RequestError, match=r"unknown key 'threshold'\. Did you mean '(inner|more)\.threshold'"):
        read(tmp_path, "name = 'x'\nthreshold = 0.4")


def test_a_key_like_no_other_is_answered_with_all_there_are(tmp_path):
    with pytest.raises(RequestError, match=r"\[inner\] knows: shape, threshold"):
        read(tmp_path, "name = 'x'\n[inner]\nqqq = 0.4")


def test_a_wrong_type_names_the_key_and_what_was_found(tmp_path):
    with pytest.raises(RequestError, match=r"inner\.threshold: .*number; found 'high'"):
        read(tmp_path, "name = 'x'\n[inner]\nthreshold = 'high'")


def test_a_missing_key_says_where_to_add_it(tmp_path):
    with pytest.raises(RequestError, match="'name' is missing; add it under the top level"):
        read(tmp_path, "[inner]\nthreshold = 0.4")


def test_every_problem_is_told_at_once(tmp_path):
    with pytest.raises(RequestError) as caught:
        read(tmp_path, "[inner]\nthreshold = 'high'\nshap = 1")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(("text", "complaint"), [(None, "cannot be read"), ("[inner", "not valid TOML")])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, complaint):
    path = tmp_path / "recipe.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RequestError, match=complaint):
        strict_toml.read(path, Outer)


def test_set_lays_values_over_the_file(tmp_path):
    model = read(
        tmp_path,
        "name = 'x'\n[inner]\nthreshold = 0.4",
        "inner.threshold=0.25",
        "more.shape=[4, 5, 6]",
        "name=bare word",
    )
    assert model == Outer(name="bare word", inner=Inner(threshold=0.25), more=Inner(shape=(4, 5, 6)))


@pytest.mark.parametrize("override", ["inner.threshold", "=3", "name.deeper=1"])
def test_a_set_that_makes_no_sense_is_refused(tmp_path, override):
    with pytest.raises(RequestError, match="--set"):
        read(tmp_path, "name = 'x'", override)
