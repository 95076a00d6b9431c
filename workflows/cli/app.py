"""Shares among all commands how errors look, and which texts go to which stream."""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...pipeline.errors import PetavoxError, RequestError, StorageError
from ...pipeline.version import __version__

if TYPE_CHECKING:
    from ..recipes.segmentation_recipe import Recipe
    from ..report.ending import Ending

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turn electron-microscopy volumes into neurons, block by block. --debug, anywhere, shows tracebacks.",
)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"petavox {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version, and nothing else.", is_eager=True, callback=_say_version),
    ] = False,
) -> None:
    """Takes the options that go before every command."""


DEBUG = "PETAVOX_DEBUG"
_NO_CACHE = (
    "Compiled kernels need a folder that can be written: neither the installation, nor the home folder, nor that for "
    "temporary files can be. Set NUMBA_CACHE_DIR to one."
)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Registers a function as a command of petavox."""
    return app.command()(guarded(function))


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command: its errors take one screen, and its exit status says what kind they are."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except typer.Exit:
            raise
        except KeyboardInterrupt as error:
            say(f"Stopped. {str(error) or 'The same command continues.'}")
            raise typer.Exit(130) from error
        except Exception as error:
            if "cannot cache function" in str(error):
                error = RequestError(_NO_CACHE)
            if os.environ.get(DEBUG):
                traceback.print_exc()
            elif isinstance(error, PetavoxError):
                say(f"petavox: {error}")
            else:
                say(f"petavox: unexpected {type(error).__name__}: {error}\nThis is a bug; --debug shows where.")
            raise typer.Exit(2 if isinstance(error, RequestError | StorageError) else 1) from error

    return call


def run_recipe(recipe: Recipe, directory: Path, as_json: bool, force: Sequence[str] = ()) -> None:
    """Run a recipe in a directory, and say how that ended."""
    from ..progress import on_standard_error
    from ..runs.run import run

    finish(run(recipe, directory, on_standard_error(), force=force), as_json, again=f"petavox retry {directory}")


def finish(ending: Ending, as_json: bool, again: str) -> None:
    """Says how a run ended."""
    from ..report.ending import ending_text
    from .show_run import ending_json

    if as_json:
        show_result(ending_json(ending), as_json)
    elif ending.scores is not None:
        from .show_scores import scores_table

        show_result(scores_table(ending.scores), as_json)
    say(ending_text(ending, again))
    if ending.exit_status:
        raise typer.Exit(ending.exit_status)


def show_result(result: Any, as_json: bool) -> None:
    """Prints a result on standard output, as JSON or for reading."""
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        from rich.console import Console

        Console(highlight=False, markup=False).print(result)


def say(text: str) -> None:
    """Prints everything that is no result, on standard error."""
    print(text, file=sys.stderr, flush=True)
