"""Workers as SLURM jobs: their scripts, the queue, and the loop that keeps as many there as are of use."""
