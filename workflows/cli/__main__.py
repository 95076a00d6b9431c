"""`python -m petavox.workflows.cli`: the command line, where no script `petavox` is installed."""

from .main import main

if __name__ == "__main__":
    main()
