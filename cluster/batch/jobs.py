"""Jobs of batch systems as recipes describe them: of workers, by pools, and of a driver."""

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
    """What a job is like."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    partition: Line | None = None  # the batch system's default unless given; likewise account and qos
    account: Line | None = None
    qos: Line | None = None
    walltime: Duration = "4h"
    margin: Duration = "10min"  # so long before its walltime it begins nothing new
    memory: Size = "8GB"
    cores: PositiveInt = 1
    modules: tuple[Line, ...] = ()  # loaded first
    prologue: tuple[Line, ...] = ()  # lines of shell that come next
    options: tuple[Option, ...] = ()  # of sbatch, such as "--constraint=a100"

    @model_validator(mode="after")
    def _long_enough(self) -> Job:
        if 2 * parse_seconds(self.margin) > parse_seconds(self.walltime):
            raise ValueError(f"'margin' must not exceed half of 'walltime'; found {self.margin} and {self.walltime}")
        return self


class DriverJob(Job):
    """The job of a driver: it computes nothing itself."""

    walltime: Duration = "1d"
    memory: Size = "4GB"


class Jobs(Job):
    """A pool of jobs, each with one worker, which may use nine tenths of the job's memory."""

    minimum: NonNegativeInt = 0  # jobs that are kept even if there is nothing for them to do
    maximum: PositiveInt = 10  # jobs at the same time
    scratch: Line = "${TMPDIR:-/tmp}"  # folder on a node's own disk; the shell there fills in variables

    @model_validator(mode="after")
    def _in_order(self) -> Jobs:
        if self.minimum > self.maximum:
            raise ValueError(f"'minimum' must not exceed 'maximum'; found {self.minimum} and {self.maximum}")
        return self

    @property
    def worker_memory(self) -> int:
        """Bytes that a worker may use before it is killed and replaced."""
        return int(parse_bytes(self.memory) * (1 - SPARE))


class GpuJobs(Jobs):
    """A pool of jobs with GPUs."""

    gpus: PositiveInt = 1  # of a job
    gres: Line = "gpu"  # the batch system's name for them, such as "gpu:a100"
