"""Places for data: folders on a disk, and prefixes in a bucket or on a server. TensorStore reads and writes both.

Credentials of S3 come from the environment or from the files of the AWS tools; $AWS_ENDPOINT_URL names another server
than Amazon's. What fails for a moment is tried again, a few times.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import StorageError, VolumeError

REMOTE = ("s3://", "gs://", "http://", "https://")
CACHE_BYTES = 64_000_000
THREADS = 2
"""That decode and encode chunks in a worker, which has one core."""
FAILURES = (ValueError, OSError, RuntimeError, IndexError, NotImplementedError)  # what TensorStore raises
Document = dict[str, Any]
CLAIM = ".petavox"
"""The file that marks a folder of a bucket as one that a run writes into."""


def is_url(path: str) -> bool:
    """Tells whether a path is the address of a bucket or a server."""
    return path.startswith(REMOTE)


def joined(folder: str, *names: str) -> str:
    """Joins names to a folder's path or URL."""
    return "/".join((folder.rstrip("/"), *names))


@cache
def context(threads: int = THREADS) -> Any:
    """Returns a TensorStore context of this process: a bounded cache, few threads, and retries that come to an end.

    Args:
        threads: that decode and encode chunks.
    """
    import tensorstore as ts

    retries = {"max_retries": 5, "initial_delay": "500ms", "max_delay": "8s"}
    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": CACHE_BYTES},
            "data_copy_concurrency": {"limit": threads},
            "file_io_concurrency": {"limit": threads},
            "http_request_retries": retries,
            "gcs_request_retries": retries,
            "s3_request_retries": retries,
        }
    )


@dataclass(frozen=True)
class Location:
    """Names a folder on a disk or a prefix on a server.

    Args:
        path: absolute path, or URL; no slash at its end.
    """

    path: str

    @classmethod
    def of(cls, path: str | Path) -> Location:
        """Returns the place that a user names: a path or URL, with or without neuroglancer's prefix for the format."""
        text = str(path)
        for prefix in ("precomputed://", "zarr://", "zarr2://", "zarr3://", "n5://"):
            text = text.removeprefix(prefix)
        if text.startswith(REMOTE):
            return cls(text.rstrip("/"))
        if "://" in text.removeprefix("file://"):
            raise VolumeError(f"A volume is a path or a URL with {', '.join(REMOTE)} or file://, found {text}.")
        return cls(str(Path(text.removeprefix("file://")).expanduser().absolute()))

    @property
    def is_local(self) -> bool:
        return not self.path.startswith(REMOTE)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Location | None:
        """Returns the folder above; None at the top of a disk, bucket or server."""
        above, _, name = self.path.rpartition("/")
        return None if not name or above.endswith(":/") else Location(above)

    def __truediv__(self, name: str) -> Location:
        return Location(f"{self.path}/{name.strip('/')}")

    @property
    def kvstore(self) -> Document | str:
        """Names this place as TensorStore does."""
        if self.is_local:
            return {"driver": "file", "path": self.path + "/"}
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if not self.path.startswith("s3://"):
            return self.path + "/"
        bucket, _, path = self.path.removeprefix("s3://").partition("/")
        store: Document = {"driver": "s3", "bucket": bucket, "path": f"{path}/" if path else ""}
        if endpoint:
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
            store |= {"endpoint": endpoint, "aws_region": region}
        if os.environ.get("AWS_ACCESS_KEY_ID"):  # else TensorStore complains of files of the AWS tools that are missing
            store["aws_credentials"] = {"type": "environment"}
        return store

    def open(self) -> Any:
        """Returns the key-value store of this place."""
        import tensorstore as ts

        return ts.KvStore.open(self.kvstore, context=context()).result()

    def read(self, name: str) -> bytes | None:
        """Reads a file below; None where there is none.

        Raises:
            StorageError: the storage refused.
        """
        try:
            result = self.open().read(name).result()
        except FAILURES as error:
            raise storage_error(error, "read", f"{self.path}/{name}") from error
        return bytes(result.value) if result.state == "value" else None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file below, whole or not at all.

        Raises:
            StorageError: the storage refused.
        """
        try:
            self.open().write(name, content).result()
        except FAILURES as error:
            raise storage_error(error, "write", f"{self.path}/{name}") from error

    def names(self) -> list[str]:
        """Lists the names of all files below, sorted.

        Raises:
            StorageError: the storage refused.
        """
        try:
            return sorted(key.decode() for key in self.open().list().result())
        except FAILURES as error:
            raise storage_error(error, "list", self.path) from error

    def is_taken(self) -> bool:
        """Tells whether anything lies there; below a prefix of a bucket all names are listed.

        Raises:
            StorageError: the storage refused.
        """
        return Path(self.path).exists() if self.is_local else bool(self.names())

    def exists(self) -> bool:
        """Tells whether a volume that we write, or a folder that was claimed, lies there; on a disk, whether anything.

        Raises:
            StorageError: the storage refused.
        """
        if self.is_local:
            return Path(self.path).exists()
        return any(self.read(name) is not None for name in ("zarr.json", CLAIM))

    def claim(self) -> None:
        """Marks a folder of a bucket as taken: folders without files are not there."""
        if not self.is_local:
            self.write(CLAIM, b"petavox\n")

    def remove(self) -> None:
        """Removes all that lies there.

        Raises:
            StorageError: the storage refused.
        """
        if not self.is_local:
            import tensorstore as ts

            try:
                self.open().delete_range(ts.KvStore.KeyRange()).result()
            except FAILURES as error:
                raise storage_error(error, "remove", self.path) from error
        elif Path(self.path).is_dir():
            shutil.rmtree(self.path)
        else:
            Path(self.path).unlink(missing_ok=True)


def storage_error(error: Exception, action: str, where: str) -> StorageError:
    """Words TensorStore's or the system's error as ours: what was tried, where, what the storage said, and the cure."""
    said = reason(error)
    return StorageError(f"Could not {action} {where}: {said}. {_cure(said)}")


def reason(error: Exception) -> str:
    """Returns what TensorStore or the system said, without the specification that TensorStore appends."""
    return str(error).partition(" [")[0].rstrip(".")


def _cure(said: str) -> str:
    cures = {
        ("No space left", "ENOSPC", "quota", "RESOURCE_EXHAUSTED"): "Free some space, or write to another disk, "
        "and run the same command again: what was written is kept.",
        ("PERMISSION_DENIED", "Permission denied", "Read-only file system", "HTTP 403"): "Check the permissions of "
        "the place and your credentials.",
        ("DATA_LOSS", "Digest mismatch", "not valid for value of size", "FAILED_PRECONDITION", "decoding"): "What is "
        "stored there is damaged: restore it, or delete it and make it again.",
        ("UNAVAILABLE", "ABORTED", "DEADLINE", "CURL"): "Check the network and the address, and run again.",
    }
    for signs, cure in cures.items():
        if any(sign in said for sign in signs):
            return cure
    return "Check the place, and run again."
