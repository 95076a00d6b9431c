"""The card of a model: what whoever uses it must know, in Markdown, next to its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...pipeline.affinities.checkpoint import CheckpointConfig
from ...pipeline.affinities.training_config import ENDLESS
from ...pipeline.errors import CheckpointError
from ...pipeline.networks.checkpoint import CARD
from ...pipeline.version import __version__

if TYPE_CHECKING:
    from ..recipes.training_recipe import RecipeBox, RecipePhantom, RecipeVolume, TrainingRecipe


def read_card(folder: Path) -> str:
    """Returns the card of a model.

    Raises:
        CheckpointError: it has none.
    """
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"A model has a card; {folder / CARD} cannot be read: {error}. Write there, after a line that says what"
            " the model is: what it was trained on, by which terms, how it scores, and what it is for."
        ) from error


def summary(card: str) -> str:
    """Returns the first line of a card that is no heading."""
    lines = (line.strip() for line in card.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def training_card(recipe: TrainingRecipe, name: str, config: CheckpointConfig) -> str:
    """Writes the card of a training: it has what recipe and checkpoint say, and says what it does not know."""
    return "\n".join(_lines(recipe, name, config)) + "\n"


def _lines(recipe: TrainingRecipe, name: str, config: CheckpointConfig) -> Iterator[str]:
    facts = config.provenance
    endless = recipe.training.steps >= ENDLESS
    steps = f"{facts.get('steps', 0)}{'' if endless else f' of {recipe.training.steps}'} steps"
    yield from (f"# {name}", "", f"Affinities at {_by(config.voxel_size)} nm, trained for {steps}.", "")
    yield f"Written by `petavox train` {__version__} from `{facts.get('recipe')}`, {_beginning(config)}."
    yield from ("", "## In and out", "")
    yield f"- Voxels of {_by(config.voxel_size)} nm (z × y × x), patches of {_by(config.patch)} voxels."
    yield f"- Offsets of the channels, in voxels z, y, x: {', '.join(map(str, config.network.offsets))}."
    yield from ("", "## Trained on", "")
    yield from map(_volume, recipe.volume)
    yield from map(_phantom, recipe.phantom)
    if recipe.training.erosion:
        yield f"- Labels were eroded by {recipe.training.erosion} voxels in the plane."
    yield from ("", "## Scores", "", _score(config), "")
    yield from ("## Terms", "", "The recipe does not state by which terms these data may be used.", "")
    yield from ("## Use and limits", "", "Nothing is known of images that look different, or of other voxel sizes.")


def _beginning(config: CheckpointConfig) -> str:
    start = config.provenance.get("start")
    if start is None:
        return "from nothing"
    return f"from the weights of `{start}` ({str(config.provenance['start_weights_sha256'])[:12]})"


def _volume(volume: RecipeVolume) -> str:
    parts = [f"- `{volume.raw}` with the labels `{volume.labels}`"]
    if volume.mask is not None:
        parts.append(f"where `{volume.mask}` is not 0")
    return ", ".join([*parts, *_without((*volume.validation, *volume.exclude))]) + "."


def _phantom(piece: RecipePhantom) -> str:
    drawn = f"- Phantom EM, seed {piece.seed}, {_by(piece.shape)} voxels"
    return ", ".join([drawn, *_without(piece.validation)]) + "."


def _without(boxes: Sequence[RecipeBox]) -> list[str]:
    return [f"without the labels of {' and '.join(str(box.box) for box in boxes)}"] if boxes else []


def _score(config: CheckpointConfig) -> str:
    score = config.provenance.get("validation_score")
    if score is None:
        return "None has been computed that would tell how well it segments."
    return (
        f"√(variation of information · adapted Rand error) of the validation boxes: {score:.4f}. These weights were"
        " chosen by it, so that it says nothing about other data."
    )


def _by(lengths: tuple[float, ...]) -> str:
    return " × ".join(f"{length:g}" for length in lengths)
