"""The command line: what commands take and print."""
