"""Describes the jobs of a batch system, as recipes do: those of workers, by pools, and that of a driver."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt, PositiveInt, model_validator

from ..quantities import Duration, Size, parse_bytes, parse_seconds

SPARE = 0.1  # share of a job's memory that its worker leaves to the process that watches over it


def _one_line(text: str) -> str:
    if "\n" in text or not text.strip():
        raise ValueError("must be one line, and not empty")
    return text


def _option(text: str) -> str:
    if not _one_line(text).startswith("-"):
        raise ValueError('must be an option of sbatch, such as "--constraint=a100"')
    return text


Line = Annotated[str, AfterValidator(_one_line)]
Option = Annotated[str, AfterValidator(_option)]


class Job(BaseModel):
    """Describes a job.

    Args:
        partition: Partition of the batch system. Default: the batch system's own.
        account: Account that the job is charged to. Default: the batch system's own.
        qos: Quality of service. Default: the batch system's own.
        walltime: Longest time that the job may run.
        margin: Time before the end of the walltime from which on a worker begins no further block. Longer by itself
            where blocks take longer.
        memory: Memory of the job. Its worker is killed and replaced at nine tenths of it.
        cores: Cores of the job, which has one worker. More than one are of use only for `model.threads`.
        modules: Environment modules that the job loads first.
        prologue: Lines of shell that run next, such as "source /project/petavox/bin/activate".
        options: Further options of sbatch, such as "--constraint=a100".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    partition: Line | None = None
    account: Line | None = None
    qos: Line | None = None
    walltime: Duration = "4h"
    margin: Duration = "10min"
    memory: Size = "8GB"
    cores: PositiveInt = 1
    modules: tuple[Line, ...] = ()
    prologue: tuple[Line, ...] = ()
    options: tuple[Option, ...] = ()

    @model_validator(mode="after")
    def _long_enough(self) -> Job:
        if 2 * parse_seconds(self.margin) > parse_seconds(self.walltime):
            raise ValueError(f"'margin' must not exceed half of 'walltime'; found {self.margin} and {self.walltime}")
        return self


class DriverJob(Job):
    """Describes the job of a driver: it computes nothing itself.

    Args:
        memory: Memory of the job.
        cores: Cores of the job.
        margin: Time before the end of the walltime at which the driver hands over to its successor.
    """

    walltime: Duration = "1d"
    memory: Size = "4GB"


class Jobs(Job):
    """Describes a pool of jobs, each with one worker, which may use nine tenths of the job's memory.

    Args:
        minimum: Jobs that are kept even if there is nothing for them to do.
        maximum: Most jobs at the same time. Between the two, there are as many as blocks that could run.
        scratch: Folder on the node's own disk. The shell on the node fills in variables.
    """

    minimum: NonNegativeInt = 0
    maximum: PositiveInt = 10
    scratch: Line = "${TMPDIR:-/tmp}"

    @model_validator(mode="after")
    def _in_order(self) -> Jobs:
        if self.minimum > self.maximum:
            raise ValueError(f"'minimum' must not exceed 'maximum'; found {self.minimum} and {self.maximum}")
        return self

    @property
    def worker_memory(self) -> int:
        """Counts the bytes that a worker may use before it is killed and replaced."""
        return int(parse_bytes(self.memory) * (1 - SPARE))


class GpuJobs(Jobs):
    """Describes a pool of jobs with GPUs.

    Args:
        gpus: GPUs of a job.
        gres: The batch system's name for them, such as "gpu:a100".
    """

    gpus: PositiveInt = 1
    gres: Line = "gpu"
