"""Arrays in, arrays out: everything here works without a run, a scheduler or a cluster."""
