"""Two starts of torchrun with two processes each, as on two machines, do one search together."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from nas.runtime import checkpoint
from nas.runtime.metrics import MetricsLog

ROOT = Path(__file__).parent.parent
SEARCH = (
    "digits --space nasbench201 --channels 4 --num-cells 1 --batch-size 256 --epochs 2 "
    "--warmup-epochs 1 --grid 3 --eval-images 20 --device cpu --threads 1 --out run"
)


def test_two_nodes_of_two_processes_do_one_search(tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    nodes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run"),
                *("--nnodes=2", "--nproc-per-node=2", "--rdzv-id=search"),
                *("--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}"),
                *(str(ROOT / "search.py"), *SEARCH.split()),
            ],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        said = [node.communicate(timeout=1200) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
            node.wait()
    assert [node.returncode for node in nodes] == [0, 0], said[0][1][-2000:] + said[1][1][-2000:]
    assert sorted(out.count("Pareto members") for out, _ in said) == [0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["surroundings"][0]["processes"] == 4
    steps = checkpoint.load(tmp_path / "run" / "checkpoint.pt")["step"]
    assert [row["step"] for row in MetricsLog(tmp_path / "run" / "metrics.jsonl").read()] == [
        steps // 2, steps,
    ]  # fmt: skip
    assert (tmp_path / "run" / "front.csv").is_file()
