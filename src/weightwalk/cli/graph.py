"""`weightwalk graph`: a network as the dynamic graph that encoders walk over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, table, terminal


def command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A zoo, a spec .json, or PACKAGE.MODULE:FUNCTION.", show_default=False),
    ],
    png: Annotated[Path | None, typer.Option(help="Draw the timeline into this file.")] = None,
    page: Annotated[Path | None, typer.Option("--html", help="Write it all as one page.")] = None,
    run: Annotated[
        int | None, typer.Option(help="Of a zoo of trained networks: this run's.", show_default="the first")
    ] = None,
    dim: Annotated[int, typer.Option(min=1, help="Memory width of the encoder whose cost is told.")] = 128,
    frequencies: Annotated[int, typer.Option(min=1, help="Fourier frequencies of that encoder.")] = 128,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show a network's snapshots in the order of inference: nodes and edges that come and go, and the cost of reading.

    A FUNCTION returns a module and an example of its input, or a module alone. Its code is run, with your rights: give
    none that you don't trust. The cost is that of a DNG-Encoder, in multiply-adds.
    """
    with terminal(as_json, quiet) as screen:
        from weightwalk import files
        from weightwalk.cli.models import spec_of
        from weightwalk.graphs.dynamic import DynamicGraph
        from weightwalk.report.cost import multiply_adds, node_counts

        if png is not None:
            files.output(png, ".png", option="--png")
        if page is not None:
            files.output(page, ".html", ".htm", option="--html")
        spec = spec_of(model, run)
        graph = DynamicGraph.of(spec)
        cost, nodes = multiply_adds(graph, dim, frequencies), node_counts(graph)
        header = ["t", "step", "block", "new nodes", "edges", "events", "multiply-adds"]
        rows: list[list[object]] = [
            [
                shot.timestamp,
                shot.name,
                f"{', '.join(f'v^{group}' for group in shot.sources) or '-'} -> v^{shot.target}",
                f"{nodes[shot.target]:,}",
                f"{shot.num_edges:,}",
                ", ".join(map(str, shot.events)),
                f"{count:,}",
            ]
            for shot, count in zip(graph.snapshots, cost, strict=True)
        ]
        title = f"{spec}: {spec.num_parameters:,} parameters, v^0 has {nodes[0]:,} nodes"
        line = (
            f"{len(rows)} snapshots, {sum(shot.num_edges for shot in graph.snapshots):,} edges, "
            f"{sum(cost):,} multiply-adds to read once"
        )
        if png is not None or page is not None:
            from weightwalk.report import html
            from weightwalk.report.timeline import timeline

            picture = timeline(graph, cost)
            if png is not None:
                files.write_bytes(png, picture)
            if page is not None:
                shown = html.Picture(
                    picture,
                    "Groups of nodes over time; dotted: residual edges. Bars are logarithmic.",
                    f"Timeline of {spec}.",
                )
                words = (
                    f"The forward pass as a dynamic graph: {line}, for memories of {dim} and {frequencies} frequencies."
                )
                html.write(
                    page,
                    title,
                    words,
                    [html.Section("Timeline", [shown]), html.Section("Snapshots", [html.Table(header, rows)])],
                )
        drawn = [str(path) for path in (png, page) if path is not None]
        screen.answer(
            {
                "spec": spec.to_dict(),
                "parameters": spec.num_parameters,
                "snapshots": [
                    {
                        "timestamp": shot.timestamp,
                        "step": shot.step.to_dict(),
                        "sources": list(shot.sources),
                        "target": shot.target,
                        "edges": shot.num_edges,
                        "events": [str(event) for event in shot.events],
                        "multiply_adds": count,
                    }
                    for shot, count in zip(graph.snapshots, cost, strict=True)
                ],
                "files": drawn,
            },
            line + (f"; drawn in {', '.join(drawn)}" if drawn else ""),
            table(title, header, rows),
        )
