"""A trained reader as a program that runs without this library: torch.export (.pt2) or ONNX.

    input   weights (networks, P): the parameters of networks of one architecture, any number of them, in the order and
            the shapes of torch's modules, row by row: the metadata's `parameters` say which where.
    output  what `Pretrained.values` says of them, in the model's own type: `probabilities` (networks, K), `share` or
            `number` (networks,).

The file's metadata (`described`) tell all that it takes to use it, as JSON: the entry `weightwalk` of an .onnx file's
metadata, the extra file `weightwalk.json` of a .pt2.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import weightwalk
from weightwalk import config, files, memory
from weightwalk.encoders.edges import EdgeMap
from weightwalk.errors import InputError
from weightwalk.frameworks.answers import Answer
from weightwalk.frameworks.pretrained import Pretrained
from weightwalk.networks import starts
from weightwalk.registry import Registry, unknown
from weightwalk.spec import Field, NetworkSpec
from weightwalk.state_dicts import torch_shape
from weightwalk.steps import Conv, Embed
from weightwalk.weights import Weights

INPUT, METADATA = "weights", "weightwalk"
SIZES = (1, 2, 7, 64)
"""How many networks a program is tried on at once, after it was written and loaded again."""
ATOL, RTOL = 1e-4, 1e-4
"""|program - reader| <= ATOL + RTOL |reader| in all of them: a program sums in another order, in its own type."""

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """A program that was written and tried: on `sizes` networks at once, from the reader by at most `difference`."""

    path: Path
    format: str
    spec: NetworkSpec
    output: str
    sizes: tuple[int, ...]
    difference: float


class Format(ABC):
    """A kind of file that programs are written to."""

    suffix: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    """What it takes beside torch."""

    @abstractmethod
    def write(self, path: Path, program: ExportedProgram, output: str, metadata: dict[str, Any]) -> None:
        """The program's file, with its metadata, and its output under that name."""

    @abstractmethod
    def load(self, path: Path) -> Run:
        """What a file does, as those do who have only that file."""

    @classmethod
    def check(cls) -> None:
        """InputError if a package is not there."""
        missing = [name for name in cls.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise InputError(
                f"expected {' and '.join(missing)} for an export to {cls.suffix}, found none; install what it takes "
                "with pip install 'weightwalk[export]'"
            )


FORMATS: Registry[type[Format]] = Registry("format")


@FORMATS.register("torch")
class Torch(Format):
    """torch.export: `torch.export.load(path).module()(weights)`, with torch alone."""

    suffix = ".pt2"

    def write(self, path: Path, program: ExportedProgram, output: str, metadata: dict[str, Any]) -> None:
        with open(path, "wb") as file:  # torch wants a path that ends in .pt2, or a file
            torch.export.save(program, file, extra_files={f"{METADATA}.json": files.to_json(metadata)})

    def load(self, path: Path) -> Run:
        with open(path, "rb") as file:
            loaded: Run = torch.export.load(file).module()
        return torch.no_grad()(loaded)


@FORMATS.register("onnx")
class ONNX(Format):
    """ONNX: `onnxruntime.InferenceSession(path).run(None, {"weights": weights})`, without torch."""

    suffix = ".onnx"
    packages = ("onnx", "onnxscript", "onnxruntime")

    def write(self, path: Path, program: ExportedProgram, output: str, metadata: dict[str, Any]) -> None:
        num_bytes = sum(tensor.nbytes for tensor in program.state_dict.values())
        if num_bytes > 2**31 - 2**24:
            raise InputError(
                f"an ONNX file holds 2 GB at most, got a model of {files.in_units(num_bytes)}; export it --to torch"
            )
        with _quiet():
            made: Any = torch.onnx.export(
                program,
                program.example_inputs[0],
                dynamo=True,
                input_names=[INPUT],
                output_names=[output],
                dynamic_shapes={INPUT: {0: "networks"}},
                verbose=False,
            )
        for node in made.model.graph.all_nodes():
            node.metadata_props.clear()  # lines of source and their paths, which are most of a small file
        made.model.metadata_props[METADATA] = files.to_json(metadata)
        made.save(path, external_data=False)

    def load(self, path: Path) -> Run:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda weights: torch.from_numpy(session.run(None, {INPUT: weights.numpy()})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of torch's own code, and of torchvision, which it wants and we don't."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


class Program(nn.Module):
    """From flat weights (B, P) of one architecture to what a reader says of them (`Answer.values`)."""

    def __init__(self, reader: nn.Module, answer: Answer, spec: NetworkSpec):
        super().__init__()
        self.reader, self.answer, self.spec = reader, answer, spec

    def forward(self, weights: Tensor) -> Tensor:
        return self.answer.values(self.reader(Weights(self.spec, weights)))


def export(model: Pretrained, path: Path, kind: str, spec: NetworkSpec | None = None) -> Exported:
    """Write what `model`, on the CPU, says of networks of `spec` (left out: its one architecture) as a program of the
    format `kind`.

    The file is loaded again and tried on networks drawn at random, `SIZES` at once; where it says something else than
    the model by more than `ATOL + RTOL`, nothing is left behind. InputError: a package is missing, the model reads
    several architectures and none was chosen, or its encoder can't be a program.
    """
    made = FORMATS[kind]()
    made.check()
    spec = architecture(model) if spec is None else spec
    model.check(spec)
    sizes = _sizes(model, spec)
    own = next(model.reader.parameters()).dtype
    drawn = [starts.classifier(spec, starts.Key(0, 0, number, 0)) for number in range(max(sizes))]
    networks = Weights.cat(drawn).to(own)
    program = _captured(Program(model.reader, model.description.answer, spec), networks[:3].flat.clone())
    output = model.description.answer.output
    with files.replacing(path) as scratch:
        made.write(scratch, program, output, described(model, spec, own))
        run, worst = made.load(scratch), 0.0
        for size in sizes:
            given = networks[:size]
            expected, got = model.values(given), run(given.flat).double()
            difference = (got - expected).abs()
            if got.shape != expected.shape or not bool((difference <= ATOL + RTOL * expected.abs()).all()):
                far = f"other numbers, by up to {float(difference.max()):.2g}" if difference.numel() else "nothing"
                raise InputError(
                    f"the {kind} program of {size} networks says {far} than the model, where {ATOL:g} + {RTOL:g} of "
                    "the value are allowed, so nothing was written; export another format, or report this"
                )
            worst = max(worst, float(difference.max()))
    return Exported(path, kind, spec, output, sizes, worst)


def architecture(model: Pretrained, activation: str | None = None) -> NetworkSpec:
    """The one architecture that a model reads, or that of an activation; InputError for several, unless all are read
    alike.
    """
    specs = model.description.specs
    if activation is not None:
        known = sorted({name for spec in specs for name in spec.activations})
        if activation not in known:
            raise InputError(unknown("activation", activation, known))
        specs = tuple(spec for spec in specs if spec.activations == (activation,))
    if specs and len({spec.shape for spec in specs}) == 1:
        drawn = starts.classifier(specs[0], starts.Key(0, 0, 0, 0)).flat
        said = [model.values(Weights(spec, drawn)) for spec in specs]
        if all(torch.equal(one, said[0]) for one in said):
            return specs[0]
    told = "; ".join(f"{spec} with {' and '.join(spec.activations)}" for spec in specs[:3])
    raise InputError(
        f"a program reads networks of one architecture, and this model was trained on {len(specs):,} ({told}"
        f"{'; ...' if len(specs) > 3 else ''}); choose by --spec (a spec .json, or a file of one network's parameters) "
        "or --activation"
    )


def described(model: Pretrained, spec: NetworkSpec, dtype: torch.dtype) -> dict[str, Any]:
    """All that it takes to use a program, as JSON values.

    `parameters` are the tensors that one network's row of the input consists of, under the names and in the shapes of
    torch's modules, flattened row by row. One with `view` and `axes` lies there as `view` of it with these axes.
    """
    description = model.description
    return {
        "weightwalk": weightwalk.__version__,
        "input": {"name": INPUT, "shape": ["networks", spec.num_parameters], "dtype": str(dtype).split(".")[1]},
        "output": {"name": description.answer.output, "of": description.answer.subject},
        "answer": config.to_dict(description.answer),
        "architecture": str(spec),
        "parameters": [_tensor(spec, field) for field in spec.fields],
        **{name: getattr(description, name) for name in ("task", "recipe", "zoo", "made")},
        "spec": spec.to_dict(),
    }


def _tensor(spec: NetworkSpec, field: Field) -> dict[str, Any]:
    layer = spec.layers[field.layer]
    shape = list(torch_shape(layer, field.role))
    told = {"name": field.name, "start": field.start, "stop": field.stop, "shape": shape}
    if field.role == "weight" and isinstance(layer, Embed):
        told |= {"view": shape, "axes": [1, 0]}
    if field.role == "weight" and isinstance(layer, Conv) and layer.transposed:
        view = [layer.groups, shape[0] // layer.groups, *shape[1:]]
        told |= {"view": view, "axes": [0, 2, 1, *range(3, len(view))]}
    return told


def _captured(program: Program, example: Tensor) -> ExportedProgram:
    """The program's graph, for any number of networks, without the parameters that it has no use for (a decoder's)."""
    networks = torch.export.Dim("networks")
    with torch.no_grad():
        program(example)  # what is wrong with the model is said here, and facts of its spec are known afterwards
    try:
        with torch.no_grad(), warnings.catch_warnings():  # strict, for it takes len(weights) as a symbol
            warnings.filterwarnings("ignore", ".*should not be instantiated", DeprecationWarning)  # Dynamo's own doing
            captured = torch.export.export(program, (example,), dynamic_shapes=({0: networks},), strict=True)
    except Exception as error:
        told = str(error).strip().splitlines() or [""]
        raise InputError(
            f"torch.export does not take this model ({type(error).__name__}: {told[0][:200]}); what its encoder does "
            "must not depend on the values that it reads, see weightwalk.testing.check_encoder"
        ) from error
    specs = captured.graph_signature.input_specs
    for node in captured.graph.find_nodes(op="placeholder"):
        spec = next(one for one in specs if one.arg.name == node.name)
        if not node.users and spec.target is not None:
            captured.graph.erase_node(node)
            specs.remove(spec)
    for name in {*captured.state_dict} - {spec.target for spec in specs}:
        del captured.state_dict[name]
    for node in captured.graph.nodes:
        for key in ("stack_trace", "source_fn_stack", "torch_fn"):  # lines of source with their paths
            node.meta.pop(key, None)
    captured.graph_module.recompile()
    return captured


def _sizes(model: Pretrained, spec: NetworkSpec) -> tuple[int, ...]:
    """Those of `SIZES` that fit in memory: a program has all that it makes of all edges at once."""
    width = max((module.width for module in model.modules() if isinstance(module, EdgeMap)), default=1)
    per_network = 4 * spec.num_parameters * width * next(model.parameters()).element_size()
    memory.check(2 * per_network, f"a program that reads {spec}", "ask the model itself, which needs less")
    limit = memory.available()
    return tuple(size for size in SIZES if size <= 2 or limit is None or 2 * size * per_network < limit)
