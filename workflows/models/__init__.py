"""Models: networks are trained, named, shown and exported."""
