"""A trained reader in one file, which tells everything that it takes to build it again; and what it says of networks.

    reader = weightwalk.load("runs/demo")          # a run, or its model.safetensors
    reader.predict(zoo.weights(zoo.rows("test")))  # or a state dict, a module with an example of its input, a sequence
    [{'class': '7', 'probability': 0.99, 'runner_up': '9', 'runner_up_probability': 0.004}, ...]

Of a run that edits networks, `edit` gives what `predict` gives of others: the edited networks, as Weights.

The file is a checkpoint (`training/checkpoint.py`: safetensors with a checksum, no pickle). Nothing in it is a path, or
code: names are looked up in registries, and every value has its type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightwalk import config as configs
from weightwalk.encoders import Encoder, EncoderConfig
from weightwalk.errors import InputError
from weightwalk.frameworks.answers import Answer
from weightwalk.frameworks.editor import Editor, OffsetSizes, PictureEditor
from weightwalk.frameworks.inr2jls import INR2JLS
from weightwalk.frameworks.pretraining import Pretext, Pretraining
from weightwalk.frameworks.reader import Reader
from weightwalk.heads import HeadConfig
from weightwalk.networks.files import check_finite, to_network
from weightwalk.networks.trace import trace
from weightwalk.registry import unknown
from weightwalk.spec import NetworkSpec
from weightwalk.training import checkpoint
from weightwalk.weights import Weights
from weightwalk.zoos.inr.pixels import PixelFormat

FILE = "model.safetensors"
BATCH = 256  # networks that are read at once

Model = Reader | Editor | PictureEditor
"""A module from networks to outputs, with the part that reads them as its `encoder`."""

Asked = Weights | Mapping[str, Any] | nn.Module | Sequence[Weights]


@dataclass(frozen=True)
class Latents:
    """What is built around the encoder, INR2JLS for example: its sizes, and the shape (C, H, W) of the pictures."""

    sizes: Pretext
    image_shape: tuple[int, ...]


@dataclass(frozen=True)
class Offsets:
    """An editor around the encoder: its head's sizes, and the shape (C, H, W) and pixels of what INRs show."""

    sizes: OffsetSizes
    image_shape: tuple[int, ...]
    pixels: PixelFormat


@dataclass(frozen=True)
class Description:
    """What a reader is, beside its parameters; without a head it is an editor (`frameworks/editor.py`).

    `specs` are the architectures that it was built for. What encoders measure of training networks (mean and deviation,
    say) is among the parameters; what outputs are scaled by, in `answer`. Where it comes from is said by `task`,
    `recipe`, `zoo` (kind, data set and fingerprint of the settings of that which it was trained on) and `made`
    (versions).
    """

    specs: tuple[NetworkSpec, ...]
    encoder: EncoderConfig
    head: HeadConfig | None
    answer: Answer
    latents: Latents | None = None
    offsets: Offsets | None = None
    task: str = ""
    recipe: str = ""
    zoo: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)

    def build(self) -> Model:
        """The reader or editor, its parameters drawn from torch's generator."""
        if not self.specs or self.answer.num_outputs < 1:
            raise InputError("expected a model of at least one architecture and one output, got none")
        if (self.head is not None) + (self.offsets is not None) > 1 or not (self.head or self.latents or self.offsets):
            raise InputError(
                "expected a model with a head, or one that edits networks or decodes pictures, got neither"
            )
        encoder = self.encoder.build(*self.specs)
        if self.offsets is not None:
            return self.offsets.sizes.build(encoder, self.offsets.image_shape, self.offsets.pixels)
        if self.latents is None:
            part: Encoder | Pretraining = encoder
        else:
            part = self.latents.sizes.build(encoder, self.latents.image_shape)
        if self.head is not None:
            return Reader(part, self.head.build(part.encoding_shape, self.answer.num_outputs))
        if not isinstance(part, INR2JLS):
            raise InputError(f"expected a model without a head to be INR2JLS, got {type(part).__name__}")
        return PictureEditor(part)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is the inverse."""
        return {**configs.to_dict(self), "specs": [spec.to_dict() for spec in self.specs]}

    @classmethod
    def from_dict(cls, value: Any, path: Path) -> Description:
        """InputError that names the first value that is not of its type."""
        try:
            return configs.from_dict(cls, value)
        except InputError as error:
            raise InputError(f"expected the description of a model in {path}, got another one: {error}") from None


class Pretrained(nn.Module):
    """A `reader`, or an editor in its place, and its `description`: what `load` gives."""

    def __init__(self, reader: Model, description: Description):
        super().__init__()
        self.reader, self.description = reader, description
        self._channels = {(spec.widths[0], spec.num_outputs) for spec in description.specs}

    def save(self, path: Path) -> None:
        """Write it as one file, whole or not at all."""
        checkpoint.save(Path(path), {"reader": self.description.to_dict()}, self.reader)

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> Pretrained:
        """The model in a file, or in the folder of a finished run; ready for use, in evaluation mode."""
        path = Path(path)
        if path.is_dir():
            if not (path / FILE).exists():
                raise InputError(
                    f"expected the folder of a trained run at {path}, found no {FILE} in it; if it is a run, "
                    "finish it with the train command that began it"
                )
            path = path / FILE
        saved = checkpoint.load(path)
        if "reader" not in saved.metadata:
            raise InputError(f"expected a model at {path}, got the state of a training; give the run's {FILE}")
        description = Description.from_dict(saved.metadata["reader"], path)
        try:
            with torch.random.fork_rng(devices=[]):
                reader = description.build()
        except (ValueError, RuntimeError, TypeError, IndexError, MemoryError) as error:
            raise InputError(
                f"expected a model at {path}, got the description of one that cannot be built: {error}"
            ) from None
        saved.restore(reader)
        return cls(reader.to(device), description).eval()

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.reader.parameters()).device

    def forward(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """The reader's outputs."""
        outputs: Tensor = self.reader(networks)
        return outputs

    def check(self, spec: NetworkSpec) -> None:
        """InputError for networks of other inputs, outputs or architecture than the model reads."""
        got = (spec.widths[0], spec.num_outputs)
        if got not in self._channels:
            known = " or ".join(f"{inputs} inputs and {outputs} outputs" for inputs, outputs in sorted(self._channels))
            raise InputError(
                f"this model knows networks of {known} (channels), "
                f"got {got[0]} inputs and {got[1]} outputs in {spec}; use a run trained on such networks"
            )
        self.reader.encoder.check(spec)

    def predict(self, asked: Asked, example: Any = None) -> list[dict[str, Any]]:
        """Plain answers, one for every network.

        `asked`: a batch of networks, a sequence of such batches, a state dict, or a module with an `example` of its
        input. InputError for what the model does not read, and for networks that are not finite.
        """
        return self.description.answer.tell(self.values(self._networks(asked, example)))

    @torch.no_grad()
    def edit(self, asked: Asked, example: Any = None) -> Weights:
        """The edited networks, of the device and dtype of the given ones; `asked` is what `predict` may be asked.

        InputError for a model that edits no networks, and as of `predict`.
        """
        if not isinstance(self.reader, Editor):
            what = (
                "decodes edited pictures: ask .values(networks)"
                if isinstance(self.reader, PictureEditor)
                else "tells: ask .predict"
            )
            raise InputError(f"expected a model that edits networks, got one that {what}")
        networks, edited = self._networks(asked, example), list[Weights]()
        for first, part in self._parts(networks):
            found = self.reader.edit(part)
            _demand_finite(first, found.flat.isfinite().all(1))
            edited.append(found)
        given = networks if isinstance(networks, Weights) else networks[0]
        return Weights.cat(edited).to(given.dtype).to(given.device)

    @torch.no_grad()
    def values(self, networks: Weights | Sequence[Weights]) -> Tensor:
        """What is said of networks as numbers (`Answer.values`), in float64 (pictures in float32) on the CPU: (B, ...);
        InputError as of `predict`.
        """
        answers: list[Tensor] = []
        for first, part in self._parts(networks):
            values = self.description.answer.values(self.reader(part).double()).cpu()
            finite = values.reshape(len(values), -1).isfinite().all(1)
            _demand_finite(first, part.flat.isfinite().all(1).cpu() & finite)
            answers.append(values)
        return torch.cat(answers)

    def _parts(self, networks: Weights | Sequence[Weights]) -> Iterator[tuple[int, Weights]]:
        """At most `BATCH` networks at once, of the dtype and device of the model, with the number of the first."""
        own, done = next(self.reader.parameters()), 0
        for batch in [networks] if isinstance(networks, Weights) else networks:
            self.check(batch.spec)
            for start in range(0, len(batch), BATCH):
                part = batch[start : start + BATCH]
                yield done, part.to(own.dtype).to(own.device)
                done += len(part)
        if not done:
            raise InputError("expected at least one network, got none")

    def _networks(self, asked: Asked, example: Any) -> Weights | Sequence[Weights]:
        if isinstance(asked, nn.Module):
            if example is None:
                raise InputError("a module needs an example of its input; ask predict(module, example_input)")
            check_finite(asked.state_dict(), "in the module")
            return trace(asked, example)[1]
        if isinstance(asked, Mapping):
            return self.network(asked, "the state dict")
        batches = [asked] if isinstance(asked, Weights) else asked
        if not isinstance(batches, Sequence) or not all(isinstance(batch, Weights) for batch in batches):
            raise InputError(
                f"expected networks as Weights, a state dict or a module, got {type(asked).__name__}; of a zoo, ask "
                "predict(zoo.weights(rows)), or zoo.sequence(rows) of a mixed one; of a file, what torch.load gives"
            )
        return batches

    def network(self, state: Mapping[str, Any], where: str, activation: str | None = None) -> Weights:
        """A state dict as the one network that it is, of the one of the model's own architectures that it fits.

        Where it fits several, `activation` says which, or any of them will do if the model says the same of all.
        InputError otherwise; `where` says in words where the state dict came from.
        """
        fitting = self._fitting(state, where)
        if activation is not None:
            known = sorted({name for network in fitting for name in network.spec.activations})
            if activation not in known:
                raise InputError(unknown("activation", activation, known))
            fitting = [network for network in fitting if network.spec.activations == (activation,)]
        if len(fitting) > 1:
            values = [self.values(network) for network in fitting]
            fitting = fitting[:1] if all(torch.equal(values[0], other) for other in values) else fitting
        if len(fitting) == 1:
            return fitting[0]
        kinds = list(dict.fromkeys(" and ".join(network.spec.activations) for network in fitting))
        told = "; ".join(kinds if len(kinds) <= 6 else [*kinds[:6], f"{len(kinds) - 6} more"])
        raise InputError(
            f"{where} fits {len(fitting)} architectures that this model was trained on (with {told}), and a state dict "
            "does not say which of them it is; give its activation, its spec, or the network as a module"
        )

    def _fitting(self, state: Mapping[str, Any], where: str) -> list[Weights]:
        """The state dict as a network of each of the model's architectures that it fits: at least one."""
        check_finite(state, f"in {where}")
        fits: dict[Any, bool] = {}
        found: list[Weights] = []
        refusal = InputError(f"{where} fits no architecture")
        for spec in self.description.specs:
            if fits.get(spec.shape, True):
                try:
                    found.append(to_network(state, spec, where))
                except InputError as error:
                    fits[spec.shape], refusal = False, error
        if found:
            return found
        if len({spec.shape for spec in self.description.specs}) == 1:
            raise refusal
        raise InputError(
            f"{where} fits none of the {len(self.description.specs):,} architectures that this model was trained on; "
            "give its own spec, or the network as a module"
        )


def _demand_finite(first: int, good_B: Tensor) -> None:
    """InputError that names the first bad network of a part that begins with network `first`."""
    if not good_B.all():
        raise InputError(
            f"network {first + int(good_B.logical_not().nonzero()[0])}: its weights are not finite or too large, so "
            "that there is no answer; leave this network out"
        )


def load(path: Path | str, device: torch.device | str = "cpu") -> Pretrained:
    """A trained reader: of a finished run's folder, or of its model.safetensors.

    >>> load("runs/demo").predict(zoo.weights([0]))  # doctest: +SKIP
    [{'class': '0', 'probability': 0.98, 'runner_up': '6', 'runner_up_probability': 0.01}]
    """
    return Pretrained.load(path, device)
