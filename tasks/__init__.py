"""What happens to one block: one file a task, each with a strict config and run(config, index)."""
