"""A real SLURM on this machine, for tests: `python tests/slurm/one_machine.py up | down | install`.

Two nodes for CPU jobs and one with two GPUs that are not there, all of them this machine. It has its own
configuration, ports and munge, runs as whoever starts it, listens on loopback only, and leaves any other SLURM alone.
`up` prints the variable that makes SLURM's commands use it: eval "$(python tests/slurm/one_machine.py up)".
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(tempfile.gettempdir()) / f"petavox-slurm-{os.getuid()}"
CONF = FOLDER / "slurm.conf"
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
NODES = {"cpu1": "", "cpu2": "", "gpu1": "Gres=gpu:2"}
PARTITIONS = {"cpu": "cpu1,cpu2", "gpu": "gpu1"}
CORES, MEMORY = 4, 6000  # of each node; there need not be as many
DAEMONS = (*(f"slurmd-{node}" for node in NODES), "slurmctld", "munged")
READY = {"idle", "mixed", "allocated"}
PATIENCE = 30.0


class CannotStartError(Exception):
    """Why there is no SLURM here."""


def up() -> bool:
    """Start whatever does not run, and wait until every node takes jobs; whether anything had to be started."""
    was_up = all(_alive(name) for name in DAEMONS)
    missing = [program for program in PROGRAMS if not _found(program)]
    if missing:
        raise CannotStartError(
            f"{', '.join(missing)} not found; on Debian and Ubuntu: apt-get install {' '.join(PACKAGES)}"
        )
    if not CONF.exists():
        _configure()
    if not _alive("munged"):
        _start("munged", "--force", *(f"--{what}-file={FOLDER}/munge.{what}" for what in ("key", "pid", "log", "seed")),
               f"--socket={FOLDER}/munge.socket")  # fmt: skip
    if not _alive("slurmctld"):
        _start("slurmctld", "-f", str(CONF))
    for node in NODES:
        if not _alive(f"slurmd-{node}"):
            _start("slurmd", "-f", str(CONF), "-N", node)
    deadline = time.monotonic() + PATIENCE
    while not set((states := _node_states()).values()) <= READY or states.keys() != NODES.keys():
        if time.monotonic() > deadline:
            raise CannotStartError(
                f"nodes are {states or 'not known'} after {PATIENCE:.0f} s; see the logs in {FOLDER}"
            )
        time.sleep(0.1)
    return not was_up


def down() -> None:
    """End all jobs and all of its processes, and remove what it wrote."""
    if CONF.exists():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _run("scancel", f"--user={getpass.getuser()}")
            time.sleep(1)
    for name in DAEMONS:
        if pid := _alive(name):
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 5
            while _alive(name) and time.monotonic() < deadline:
                time.sleep(0.05)
            if _alive(name):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(FOLDER, ignore_errors=True)


def install() -> None:
    """Debian's packages, where that is possible without asking anybody."""
    if all(_found(program) for program in PROGRAMS):
        return
    if os.getuid() or not shutil.which("apt-get"):
        raise CannotStartError(f"SLURM is not installed, and only root can install it here: {' '.join(PACKAGES)}")
    quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "check": True, "stdout": subprocess.DEVNULL}
    subprocess.run(["apt-get", "-qq", "update"], **quiet)
    subprocess.run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *PACKAGES], **quiet)


def scontrol(*words: str) -> str:
    """What an administrator says to it."""
    return _run("scontrol", *words)


def _configure() -> None:
    for name in ("state", "spool"):
        (FOLDER / name).mkdir(mode=0o755, parents=True)
    key = FOLDER / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    for number in range(2):
        (FOLDER / f"gpu{number}").symlink_to("/dev/null")  # only a device can be a GPU
    (FOLDER / "gres.conf").write_text(f"NodeName=gpu1 Name=gpu File={FOLDER}/gpu[0-1]\n")
    host, user, ports = socket.gethostname().partition(".")[0], getpass.getuser(), _free_ports(len(NODES) + 1)
    lines = [
        "ClusterName=petavox",
        f"SlurmctldHost={host}(127.0.0.1)",
        *(f"{who}User={user}" for who in ("Slurm", "Slurmd")),
        "AuthType=auth/munge",
        f"AuthInfo=socket={FOLDER}/munge.socket",
        "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",
        f"SlurmctldPort={ports.pop()}",
        f"StateSaveLocation={FOLDER}/state",
        f"SlurmdSpoolDir={FOLDER}/spool/%n",
        *(f"Slurmctld{what}File={FOLDER}/slurmctld.{end}" for what, end in (("Pid", "pid"), ("Log", "log"))),
        *(f"Slurmd{what}File={FOLDER}/slurmd-%n.{end}" for what, end in (("Pid", "pid"), ("Log", "log"))),
        "SlurmdParameters=config_overrides",  # the machine is smaller than its nodes
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "MpiDefault=none",
        "ReturnToService=2",
        "SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        "DefMemPerCPU=500",
        "KillWait=5",
        "GresTypes=gpu",
        *(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports.pop()} CPUs={CORES}"
            f" RealMemory={MEMORY} {gres} State=UNKNOWN"
            for node, gres in NODES.items()
        ),
        *(
            f"PartitionName={name} Nodes={nodes} MaxTime=INFINITE State=UP{' Default=YES' if name == 'cpu' else ''}"
            for name, nodes in PARTITIONS.items()
        ),
    ]
    CONF.write_text("\n".join(lines) + "\n")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _found(program: str) -> str | None:
    """Daemons lie where only root looks."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def _alive(name: str) -> int | None:
    """The process id of a daemon, if it runs."""
    file = FOLDER / ("munge.pid" if name == "munged" else f"{name}.pid")
    with contextlib.suppress(OSError, ValueError):
        pid = int(file.read_text())
        if name.partition("-")[0] in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    return None


def _start(program: str, *arguments: str) -> None:
    """A daemon, which goes into the background by itself."""
    done = subprocess.run(
        [str(_found(program)), *arguments],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise CannotStartError(f"{program} ended with {done.returncode}: {done.stderr.strip()}")


def _run(program: str, *words: str) -> str:
    return subprocess.run(
        [program, *words], env=_environment(), capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout


def _node_states() -> dict[str, str]:
    with contextlib.suppress(subprocess.SubprocessError):
        lines = _run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)
    return {}


def _environment() -> dict[str, str]:
    return {**os.environ, "SLURM_CONF": str(CONF)}


def main() -> None:
    try:
        {"up": up, "down": down, "install": install}[sys.argv[1]]()
    except CannotStartError as error:
        sys.exit(f"no SLURM: {error}")
    if sys.argv[1] == "up":
        print(f"export SLURM_CONF={CONF}")


if __name__ == "__main__":
    main()
