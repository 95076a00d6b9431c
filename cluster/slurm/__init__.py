"""Jobs that were queued before this room was named `batch` find their worker here; goes with the next release."""
