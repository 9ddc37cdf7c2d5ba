"""What zoos are like, as rows of results/inr_zoos.csv: PSNR and its distribution, spread of the weights per layer,
fitting time.

python benchmarks/inr_zoos.py ZOO [ZOO ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from weightwalk.cli.common import times_of
from weightwalk.report.tables import ResultRow, append, commit, hardware
from weightwalk.reproduce import zoos
from weightwalk.zoos.inr.overview import layer_stds, psnr_figures
from weightwalk.zoos.store import Zoo

RESULTS = Path(__file__).parents[1] / "results" / "inr_zoos.csv"


def describe(zoo: Zoo) -> None:
    """Write the rows of a zoo."""
    figures = {f"PSNR dB {name}": value for name, value in psnr_figures(zoo.column("psnr")).items()}
    for role, stds in layer_stds(zoo).items():
        figures |= {f"std of {role} {layer}": std for layer, std in enumerate(stds, 1) if std is not None}
    minutes = sum(times_of(zoo.path).values()) / 60
    for metric, value in {"networks": float(len(zoo)), **figures}.items():
        row = ResultRow(
            task="inr_fitting",
            dataset=zoo.settings["dataset"],
            zoo=zoos.name_of(zoo),
            method="siren",
            access="weights",
            init=zoo.settings["init"],
            fits=zoos.fits_of(zoo),
            metric=metric,
            value=round(value, 4),
            std=None,
            seeds=(zoo.settings["seed"],),
            recipe=zoos.name_of(zoo),
            commit=commit(),
            hardware=hardware(),
            minutes=round(minutes, 1),
        )
        append(RESULTS, row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoos", type=Path, nargs="+")
    for path in parser.parse_args().zoos:
        describe(Zoo.open(path))


if __name__ == "__main__":
    main()
