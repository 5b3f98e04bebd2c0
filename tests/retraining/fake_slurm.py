"""What the tests have in place of SLURM: sbatch, srun, sacct, scontrol and scancel in one script.

It is copied to each of these names. Jobs begin at once; their state lies in files in FAKE_SLURM.
`scontrol requeue` refuses after the first time.
"""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

STATE = Path(os.environ["FAKE_SLURM"])


def sbatch(file: str) -> None:
    """Begins a job, in a process that waits for it and begins it again when it is queued again."""
    number = str(100 + len(list(STATE.glob("*.sh"))))
    (STATE / f"{number}.sh").write_text(Path(file).read_text())
    (STATE / f"{number}.state").write_text("PENDING")
    subprocess.Popen(
        [sys.executable, Path(sys.argv[0]).with_name("controller"), number],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    print(f"Submitted batch job {number}")


def controller(number: str) -> None:
    """Runs a job until it ends without being queued again."""
    again, state = STATE / f"{number}.requeue", STATE / f"{number}.state"
    environment = os.environ | {"SLURM_JOB_ID": number, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
    while True:
        state.write_text("RUNNING")
        job = subprocess.Popen(
            ["bash", STATE / f"{number}.sh"], env=environment, start_new_session=True
        )
        (STATE / f"{number}.session").write_text(str(job.pid))
        code = job.wait()
        if not again.exists():
            state.write_text("FAILED" if code else "COMPLETED")
            return
        again.unlink()


def srun(*words: str) -> None:
    """Becomes the command, with its outputs in files."""
    rest, paths = list(words), {}
    while rest[0].startswith("--"):
        name = rest.pop(0)
        if name in ("--output", "--error"):
            paths[name] = rest.pop(0).replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
    for descriptor, name in ((1, "--output"), (2, "--error")):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(paths[name], flags, 0o644), descriptor)
    os.execvp(rest[0], rest)


def sacct(*words: str) -> None:
    """Tells the states of jobs."""
    print("JobID|State|NodeList")
    for flag, number in pairwise(words):
        if flag == "-j":
            print(f"{number}|{(STATE / f'{number}.state').read_text()}|here")


def scontrol(verb: str, number: str) -> None:
    """Queues a job again, once."""
    assert verb == "requeue"
    if (STATE / "refusing").exists():
        sys.exit("scontrol: error: Requested operation is presently disabled")
    (STATE / "refusing").touch()
    (STATE / f"{number}.requeue").touch()


def scancel(number: str) -> None:
    """Ends a job."""
    os.killpg(int((STATE / f"{number}.session").read_text()), signal.SIGTERM)


if __name__ == "__main__":
    globals()[Path(sys.argv[0]).name](*sys.argv[1:])
