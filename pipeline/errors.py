"""The exceptions of petavox: one small tree, every member of which survives a process pool.

All arguments go to `super().__init__`, so that each exception pickles. A message says the rule, what was found,
where, and the cure.
"""


class PetavoxError(Exception):
    """Is the base of everything that petavox raises on purpose."""


class RequestError(PetavoxError):
    """The request was wrong: a recipe, an argument, a run directory. Nothing has been written (exit status 2)."""


class VolumeError(RequestError):
    """A volume is missing, unreadable, or its shape, type, axes, voxel size or chunks break a rule."""


class AffinityError(VolumeError):
    """Affinities hold NaN, lie out of range, or have offsets that differ from the expected ones."""


class CheckpointError(RequestError):
    """A checkpoint is missing, damaged, or was made for other offsets than the request needs."""


class LockError(RequestError):
    """This driver no longer holds the run directory, so it may not write there (exit status 2)."""


class TableError(PetavoxError):
    """A table that an earlier task should have left is missing or damaged."""


class TaskError(PetavoxError):
    """A task failed on a block; the rest of the run goes on."""


class CrashBudgetError(PetavoxError):
    """So many blocks of a stage failed that the run was stopped (exit status 1)."""


class ClusterError(PetavoxError):
    """Workers cannot be started, or are gone and do not come back."""


class QueueError(ClusterError):
    """SLURM did not do what it was asked; the message is its own."""


class StorageError(PetavoxError):
    """Storage refused a read or a write (disk full, no permission, a corrupt chunk)."""
