"""Where tasks run: in this process, on local processes, or on a cluster. Knows nothing of what they compute."""
