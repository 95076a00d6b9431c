"""The worker of a job that was queued before it moved to `batch`; goes with the next release."""

import os
import sys

from ..batch.worker import main

if __name__ == "__main__":
    sys.argv += ["--job", f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"]
    main()
