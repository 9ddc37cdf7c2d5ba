"""`weightwalk bench`: what this machine does, side by side with the ways that others do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, facts, table, terminal
from weightwalk.report.words import duration, percent

if TYPE_CHECKING:
    from rich.console import RenderableType

    from weightwalk.bench.fit import Figures
    from weightwalk.bench.scale import Figures as ReadFigures
    from weightwalk.bench.training import Figures as TrainedFigures

app = typer.Typer(
    help="Measure this machine: fitting, loading, training, reading large networks.", no_args_is_help=True
)

Quick = Annotated[
    bool, typer.Option("--quick", help="Only see that it runs: in seconds, with figures that mean little.")
]
Workers = Annotated[
    int | None, typer.Option(help="Processes of one thread each, for every side.", show_default="all cores")
]


@app.command()
def fit(
    dataset: Annotated[
        str | None, typer.Option(help="Pictures to fit.", show_default="those that scikit-learn ships")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The folder of the data set's files. Nothing is downloaded.")
    ] = None,
    workers: Workers = None,
    quick: Quick = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit pictures with this engine and the way the published zoos were made: eager PyTorch, one SIREN at a time. Two
    minutes.
    """
    with terminal(as_json, quiet) as screen:
        from rich.text import Text

        from weightwalk.bench.fit import QUICK, Plan, run
        from weightwalk.report.tables import hardware
        from weightwalk.zoos.work import Processes

        plan, team = QUICK if quick else Plan(), Processes(workers).count
        found = run(plan, team, dataset, root, screen.progress)
        values = {name: asdict(figures) | {"bfloat16_says": str(figures.bfloat16)} for name, figures in found.items()}
        columns = {name: _column(figures) for name, figures in found.items()}
        screen.answer(
            {**next(iter(values.values())), "sizes": values, "plan": asdict(plan), "quick": quick, "workers": team}
            | {"hardware": hardware()},
            "; ".join(
                f"{name}: {_times(f.ratio_vs_loop)} the published way's speed, {_times(f.ratio_to_equal_psnr)} to "
                "equal PSNR"
                for name, f in found.items()
            ),
            _side_by_side(
                f"Fitting on {hardware()}: {team} processes of one thread, {plan.images * team} INRs, medians of "
                f"{plan.repetitions}",
                columns,
            ),
            Text("\n".join(f"{name}: {figures.bfloat16}." for name, figures in found.items()) + "\n"),
        )


@app.command()
def load(
    zoo: Annotated[
        Path | None, typer.Option(help="Read this zoo.", show_default="one of 20,000 INRs of random weights")
    ] = None,
    quick: Quick = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read random batches of networks out of a zoo, and out of one .pt file per network."""
    with terminal(as_json, quiet) as screen:
        from weightwalk.bench.load import BATCH, QUICK, ROWS, Plan, run
        from weightwalk.report.tables import hardware

        plan = QUICK if quick else Plan()
        found = run(plan, zoo, screen.progress)
        screen.answer(
            asdict(found)
            | {"plan": asdict(plan), "quick": quick, "zoo": None if zoo is None else str(zoo), "hardware": hardware()},
            f"{found.inrs_per_second:,.0f} INRs/s in random batches of {BATCH}, {found.ratio:.0f} times as many as "
            "from .pt files",
            facts(
                f"Loading {found.inrs:,} INRs of {found.parameters:,} parameters on {hardware()}, medians of "
                f"{plan.repetitions}",
                {
                    f"zoo, random batches of {BATCH}": f"{found.inrs_per_second:,.0f} INRs/s",
                    "one .pt per network": f"{found.pt_inrs_per_second:,.0f} INRs/s",
                    "ratio": found.ratio,
                    f"{ROWS:,} random rows": f"{found.ms_per_2000_rows:.1f} ms",
                    "parameters on disk": f"{found.zoo_mib:.0f} MiB",
                    "growth of peak memory": _mib(found.rss_mib),
                    "of that, not the file's own pages": _mib(found.private_mib),
                },
            ),
        )


@app.command()
def scale(
    quick: Quick = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read ResNet-18 and GPT-2, and narrower ones, with a DNG-Encoder: seconds and memory, and how they grow.
    Minutes.
    """
    with terminal(as_json, quiet) as screen:
        from rich.text import Text

        from weightwalk.bench.scale import QUICK, Plan, run
        from weightwalk.report.tables import hardware

        plan = QUICK if quick else Plan()
        found = run(plan, screen.progress)
        growth = ", ".join(f"{name} {exponent:.2f}" for name, exponent in found.exponents.items())
        largest = max(found.networks, key=lambda figures: figures.parameters)
        screen.answer(
            asdict(found) | {"plan": asdict(plan), "quick": quick, "hardware": hardware()},
            f"{largest.parameters:,} parameters in {largest.seconds:.1f} s; CPU seconds grow with edges to the power "
            f"{growth}",
            table(
                f"Reading networks on {hardware()}: one thread, memories of {plan.dim}, {2 * plan.num_frequencies} "
                "features",
                [
                    "architecture",
                    "width",
                    "parameters",
                    "edges",
                    "seconds",
                    "CPU seconds",
                    "parameters/s",
                    "network",
                    "growth of peak memory",
                ],
                [_read(each) for each in found.networks],
            ),
            Text(f"CPU seconds grow with edges to the power: {growth}.\n"),
        )


def _side_by_side(title: str, columns: Mapping[str, Mapping[str, object]]) -> RenderableType:
    """A column of figures for each of several sizes or networks, which all have the same labels."""
    labels = next(iter(columns.values()))
    return table(title, ["", *columns], [[label, *(column[label] for column in columns.values())] for label in labels])


@app.command("train-zoo")
def train_zoo(
    workers: Workers = None,
    quick: Quick = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train networks of the three zoos with this engine and in eager PyTorch, one at a time. Minutes."""
    with terminal(as_json, quiet) as screen:
        from weightwalk.bench.training import EPOCH, QUICK, Plan, run
        from weightwalk.report.tables import hardware
        from weightwalk.zoos.work import Processes

        plan, team = QUICK if quick else Plan(), Processes(workers).count
        found = run(plan, team, screen.progress)
        values = {name: asdict(figures) for name, figures in found.items()}
        columns = {name: _trained(figures) for name, figures in found.items()}
        screen.answer(
            {
                **next(iter(values.values())),
                "zoos": values,
                "plan": asdict(plan),
                "quick": quick,
                "workers": team,
                "hardware": hardware(),
            },
            "; ".join(
                f"{name}: {_times(figures.ratio_vs_one_at_a_time)} as fast as one at a time"
                for name, figures in found.items()
            ),
            _side_by_side(
                f"Training on {hardware()}: {team} processes of one thread, epochs of {EPOCH:,} images, medians of "
                f"{plan.repetitions}",
                columns,
            ),
        )


def _trained(found: TrainedFigures) -> dict[str, object]:
    """What people read of one zoo's network."""
    return {
        "one at a time, eager PyTorch": f"{found.one_at_a_time_ms_per_network_epoch:,.0f} ms",
        "this engine": f"{found.ms_per_network_epoch:,.0f} ms",
        "one at a time / this engine": _times(found.ratio_vs_one_at_a_time),
        "largest relative difference of their losses": f"{found.max_relative_loss_difference:.1e}",
        "arithmetic of an image": f"{found.mflop_per_image:.2f} MFLOP",
        "this engine's speed": f"{found.gflops:.0f} GFLOP/s",
        "speed of large matrix products": f"{found.matmul_peak_gflops:.0f} GFLOP/s",
        "this engine's share of that": percent(found.fraction_of_matmul_peak),
    }


def _read(found: ReadFigures) -> list[object]:
    """A row of one network's figures."""
    counts = [f"{count:,.0f}" for count in (found.parameters, found.edges)]
    speed = [f"{found.seconds:.2f}", f"{found.cpu_seconds:.2f}", f"{found.parameters_per_second:,.0f}"]
    return [found.architecture, found.width, *counts, *speed, _mib(found.network_mib), _mib(found.peak_mib)]


def _column(found: Figures) -> dict[str, object]:
    """What people read of one size of picture."""
    reached = found.steps_to_equal_psnr is not None
    return {
        "published way, one INR and step": f"{found.loop_us_per_inr_step:.0f} us",
        "vmap(grad)": f"{found.vmap_us_per_inr_step:.0f} us",
        "this engine": f"{found.us_per_inr_step:.1f} us",
        "published way / this engine": _times(found.ratio_vs_loop),
        "largest relative difference of their losses": f"{found.max_relative_loss_difference:.1e}",
        "arithmetic of a step": f"{found.mflop_per_inr_step:.2f} MFLOP",
        "this engine's speed": f"{found.gflops:.0f} GFLOP/s",
        "speed of large matrix products": f"{found.matmul_peak_gflops:.0f} GFLOP/s",
        "this engine's share of that": percent(found.fraction_of_matmul_peak),
        "recipe nfn": f"{found.nfn_psnr:.2f} dB, {found.nfn_steps:,} steps",
        "recipe fast": f"{found.fast_psnr:.2f} dB",
        "its steps to be as good": f"{found.steps_to_equal_psnr:,} ({found.equal_psnr:.2f} dB)"
        if reached
        else "not reached",
        "published way, nfn, one INR (extrapolated)": f"{found.loop_ms_per_inr:.0f} ms",
        "this engine, fast, one INR, as good": f"{found.fast_ms_per_inr:.1f} ms" if reached else "not reached",
        "published way / this engine, to equal PSNR": _times(found.ratio_to_equal_psnr),
        "first fit (compiling)": duration(found.warmup_s),
    }


def _times(ratio: float | None) -> str:
    return "not reached" if ratio is None else f"{ratio:.3g} x"


def _mib(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f} MiB"
