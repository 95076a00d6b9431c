"""The worker of a job that was queued before it moved to `batch`; goes with the next release."""

from ..batch.worker import main

if __name__ == "__main__":
    main()
