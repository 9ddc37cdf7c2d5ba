"""`weightwalk evaluate`: a trained run on networks that it never saw."""

from __future__ import annotations

from weightwalk.cli.common import AsJson, Device, Quiet, RunArgument, ZooOfRun, facts, next_steps, percent, terminal


def command(run: RunArgument, zoo: ZooOfRun = None, device: Device = "auto", as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Measure a run on the test networks of its zoo, or of another zoo of such networks."""
    with terminal(as_json, quiet) as screen:
        from weightwalk import devices
        from weightwalk.tasks.inr_classification.run import Run, evaluate
        from weightwalk.zoos.store import Zoo

        opened = Run.open(run)
        path = zoo or opened.record["made"]["zoo_path"]
        found = evaluate(opened, Zoo.open(path), device=devices.pick(device), progress=screen.progress)
        screen.answer(
            {"run": str(run), **found},
            f"{run}: {percent(found['test_accuracy'])} of {found['networks']['test']:,} test INRs right",
            facts(
                f"{opened.config.recipe} on {path}",
                {
                    "test accuracy": percent(found["test_accuracy"]),
                    "validation accuracy": percent(found["val_accuracy"]),
                    "INRs": ", ".join(f"{count:,} {split}" for split, count in found["networks"].items()),
                    "init of the INRs": found["init"],
                    "access to the INRs": f"{found['access']} (they are never evaluated)",
                    "parameters": ", ".join(f"{count:,} {name}" for name, count in found["num_parameters"].items()),
                },
            ),
            next_steps(f"weightwalk report {run}", f"weightwalk classify {run} {path}"),
        )
