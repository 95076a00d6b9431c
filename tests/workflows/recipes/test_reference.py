"""The page of every key is what the code writes, and every key has its text there."""

from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from petavox.workflows.recipes.reference import field_texts, reference
from petavox.workflows.recipes.segmentation_recipe import Recipe

PAGE = Path(__file__).parents[3] / "docs" / "reference.md"


def test_the_page_is_what_the_code_writes():
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "write it again: python -m petavox.workflows.recipes.reference > docs/reference.md"
    )


@pytest.mark.parametrize("table", ["input", "blocks", "supervoxels", "agglomeration", "output", "limits"])
def test_every_key_of_a_table_has_its_row(table):
    section = reference().split(f"### `[{table}]`")[1].split("###")[0]
    model = Recipe.model_fields[table].annotation
    for key in model.model_fields:
        assert f"| `{key}` |" in section


class Base(BaseModel):
    """Has a key.

    Args:
        first: Text of the first.
        second, third: Text
            of both.
    """

    first: int = 1
    second: int = Field(default=1, ge=0)
    third: int = 1


class Derived(Base):
    """Says more about one key, and has another.

    Args:
        first: Another text.
        fourth: Text.

    Nothing: here is a field.
    """

    fourth: int = 1


def test_texts_come_from_the_docstrings_of_a_model_and_its_bases():
    assert field_texts(Derived) == {
        "first": "Another text.",
        "second": "Text of both.",
        "third": "Text of both.",
        "fourth": "Text.",
    }


def test_a_key_without_a_text_is_refused():
    class Silent(Base):
        """Says nothing about its key."""

        fifth: int = 1

    with pytest.raises(KeyError, match="fifth"):
        field_texts(Silent)
