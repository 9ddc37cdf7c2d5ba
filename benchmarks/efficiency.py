"""What reading a network costs: `weightwalk reproduce efficiency`, its own rows (not the published ones) in results/.

    python benchmarks/efficiency.py [--results FILE]

Rows go to results/efficiency.csv: milliseconds, MB and GFLOPs of every reader, per network. One thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from common import Lines

from weightwalk.report.tables import ResultRow, append, commit, hardware
from weightwalk.reproduce.efficiency import Efficiency

RESULTS = Path(__file__).parents[1] / "results" / "efficiency.csv"
METRICS = {"ms": "ms per network", "mb": "MB", "gflops": "GFLOPs per network"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    began = time.monotonic()
    found = Efficiency().measure(Lines("efficiency"))
    print(found.sentence)
    minutes = round((time.monotonic() - began) / 60, 1)
    for row in found.values["rows"]:
        if row["source"] == "published":
            continue
        for name, words in METRICS.items():
            if row[name] is None:
                continue
            append(
                arguments.results,
                ResultRow(
                    task="efficiency",
                    dataset=row["networks"],
                    zoo="untrained" if row["networks"] == "vit" else "fast",
                    method=row["reader"],
                    access=row["access"],
                    init="independent",
                    fits=1,
                    metric=f"{words}, {row['does']} of {row['batch']}",
                    value=float(f"{row[name]:.4g}"),
                    std=None,
                    seeds=(0,),
                    recipe=row["recipe"],
                    commit=commit(),
                    hardware=hardware(),
                    minutes=minutes,
                ),
            )


if __name__ == "__main__":
    main()
