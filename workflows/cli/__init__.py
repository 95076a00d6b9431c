"""The command line: what commands take and print."""

from .main import app as app
from .main import main as main
