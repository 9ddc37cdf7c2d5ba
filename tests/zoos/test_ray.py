"""A zoo fitted on a Ray cluster of two nodes on this machine, one of which is killed in the middle, is the zoo fitted
here.
"""

import os
import secrets
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")]

FIT = """
import sys
from pathlib import Path
from weightwalk.zoos.inr.fit import fit_zoo, load_sets
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.work import ENGINES

if __name__ == "__main__":
    engine, out = sys.argv[1:]
    progress = lambda *figures: None
    if engine == "ray":
        from ray.cluster_utils import Cluster
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        second = cluster.add_node(num_cpus=1)
        import os
        os.environ["RAY_ADDRESS"] = cluster.address

        def progress(label, done, total, figures):
            global second
            if done > total // 3 and second is not None:
                cluster.remove_node(second, allow_graceful=False)
                second = None

    outcome = fit_zoo(load_sets("digits", None), Path(out), FIT_RECIPES["tiny"],
        workers=ENGINES[engine](None), progress=progress)
    assert outcome.finished
    assert engine == "local" or second is None
"""


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


def test_a_killed_node_changes_nothing(tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(FIT)
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    for engine in ("local", "ray"):
        with open(tmp_path / f"{engine}.log", "w") as log:
            done = subprocess.run(
                [sys.executable, str(script), engine, str(tmp_path / engine)], env=environment, stdout=log, stderr=log
            )
        assert done.returncode == 0, (tmp_path / f"{engine}.log").read_text()[-2000:]
    assert content(tmp_path / "ray") == content(tmp_path / "local")
    assert (
        "node it was running on is dead" in (tmp_path / "ray.log").read_text()
        or "Raylet is terminated" in (tmp_path / "ray.log").read_text()
    )
