"""Defines the commands about models: train one, list them, show one, add one, export one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .app import app, command, guarded, say, show_result
from .options import JsonOption, RecipePath, SetOption

models = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
app.add_typer(models, name="models")

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="A model's name, or the folder of a checkpoint.")]


@command
def train(
    recipe: RecipePath,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the training. Default: training/NAME.")
    ] = None,
    overrides: SetOption = None,
    idle: Annotated[
        bool,
        typer.Option("--idle", help="Train without an end, with the lowest priority, and wait while a benchmark runs."),
    ] = False,
    finish: Annotated[
        str | None,
        typer.Option(
            "--finish",
            metavar="SHARE",
            help='Make the checkpoint of a training without an end: anneal a copy of it over, say, "5%" of its steps.',
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train an affinity network, or continue its training."""
    if idle:
        from ..models.idle import lower_priority

        lower_priority()
    from .run_training import run_training

    folder = out or Path("training") / recipe.stem
    made = run_training(recipe, folder, overrides or (), idle=idle, finish=finish, as_json=as_json)
    if made is not None:
        print(json.dumps({"checkpoint": str(made)}) if as_json else made)


@models.callback()
@guarded
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the networks that recipes can name; show, add or export one."""
    if context.invoked_subcommand is not None:
        return
    from ..models.catalogue import list_models
    from .show_models import models_table

    entries, problems = list_models()
    show_result([entry.to_json() for entry in entries] if as_json else models_table(entries), as_json)
    for problem in problems:
        say(f"petavox: {problem}")


@models.command()
@guarded
def show(name: ModelName, as_json: JsonOption = False) -> None:
    """Show the card and the config of a model."""
    from ..models.card import read_card
    from ..models.catalogue import describe

    entry = describe(name)
    card, config = read_card(entry.folder), entry.config
    if as_json:
        show_result(entry.to_json() | {"card": card, "config": config.model_dump(mode="json")}, as_json)
    else:
        print(card.strip(), f"{entry.folder}:", config.model_dump_json(), sep="\n\n")


@models.command()
@guarded
def add(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="The folder of a checkpoint, or an ONNX file that petavox exported."),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The model's name. Default: the name of SOURCE.")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Round weights to half precision: half the size, nearly the same affinities.")
    ] = False,
) -> None:
    """Add a checkpoint to your own models, so that recipes find it by its name."""
    from ..models.catalogue import add_model

    print(add_model(source, name, half=half))


@models.command()
@guarded
def export(
    name: ModelName,
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The ONNX file to make; it must not exist yet.")],
) -> None:
    """Write a model as an ONNX file, for other programs; `add` reads it back."""
    from ..models.catalogue import export_model

    export_model(name, out)
    print(out)
