"""What every trained network needs, whatever it computes: patches, normalisation, engine, processes, logs."""
