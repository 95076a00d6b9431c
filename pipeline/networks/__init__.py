"""Serves every trained network, whatever it computes: patches, normalisation, engine, processes, logs."""
