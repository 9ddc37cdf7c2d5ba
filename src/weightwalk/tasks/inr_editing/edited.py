"""What a trained editor makes of a zoo: a zoo of edited INRs, or a folder of decoded pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from weightwalk import config, files
from weightwalk.errors import InputError
from weightwalk.frameworks.answers import Picture
from weightwalk.frameworks.editor import Editor
from weightwalk.frameworks.pretrained import Pretrained
from weightwalk.progress import Progress, silent
from weightwalk.report import renders
from weightwalk.report.pictures import shades
from weightwalk.tasks import supervised
from weightwalk.tasks.inr_editing.task import INREditing, errors, per_picture
from weightwalk.tasks.runs import versions
from weightwalk.tasks.stages import Data, Rows
from weightwalk.zoos.blocks import blocks
from weightwalk.zoos.inr.kind import FIGURES
from weightwalk.zoos.splits import PARTS, Part
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.writer import ZooWriter

_BLOCK = 512  # images whose INRs are a shard
TOLD = "edit.json"


@dataclass(frozen=True)
class EditOutcome:
    """What a call did: `edited` INRs were added to the `already_there`; `errors` as in `errors`, of all that were
    added, and of showing the INRs as they are; None where nothing was added.
    """

    edited: int
    already_there: int
    finished: bool
    errors: dict[str, float] | None
    unedited: dict[str, float] | None


def task_of(model: Pretrained) -> INREditing:
    """The task of a model; InputError for one that does not edit."""
    answer = model.description.answer
    if not isinstance(answer, Picture):
        raise InputError(
            f"expected a run that edits INRs, got one that tells {answer.subject}; train one, as with `weightwalk "
            "train digits_dilate`"
        )
    return INREditing(answer.op)


def edit_zoo(
    model: Pretrained,
    zoo: Zoo,
    out: Path,
    name: Path,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> EditOutcome:
    """Edit every INR of `zoo` that is not in `out` yet, block by block; `name` is the model's, for sentences.

    Of an editor of weights `out` is a zoo with the splits, labels and names of `zoo`: the sources are the wanted
    pictures, and the PSNR is that of the edited INR against them. Its settings say what it was made of; it opens,
    renders and verifies as any other. Of one that decodes, `out` is a folder of NAME.png. InputError for a zoo that the
    model does not read, and for an `out` that is of something else.
    """
    task = task_of(model)
    supervised.check_zoo(model, zoo, name)
    supervised.demand_finite(task, zoo, zoo.rows())
    target = (_Networks if isinstance(model.reader, Editor) else _Pictures)(model, zoo, out, task)
    todo = list(target.todo())
    total, done = sum(map(len, todo)), 0
    after, before = list[torch.Tensor](), list[torch.Tensor]()
    for rows in todo:
        if should_stop():
            break
        wanted = task.target(zoo, rows)
        after.append(per_picture(target.add(rows, wanted), wanted))
        before.append(task.undone(zoo, rows))
        done += len(rows)
        progress("editing", done, total, {"MSE": float(torch.cat(after).mean())})
    told = [errors(float(torch.cat(of).mean())) if of else None for of in (after, before)]
    return EditOutcome(done, len(zoo) - total, done == total, *told)


class _Target:
    """Where the edits of a zoo go."""

    def __init__(self, model: Pretrained, zoo: Zoo, out: Path, task: INREditing):
        self.model, self.zoo, self.out, self.task = model, zoo, out, task
        self.data = Data(zoo, zoo.rows(), zoo.rows(), model.device)
        self.made_of = {
            "op": task.op,
            "of": zoo.fingerprint,
            "by": model.description.recipe,
            "encoder": model.description.encoder.name,
            "parameters": _hash(model),
        }


class _Networks(_Target):
    """A zoo of edited INRs."""

    def __init__(self, model: Pretrained, zoo: Zoo, out: Path, task: INREditing):
        super().__init__(model, zoo, out, task)
        dataset = zoo.settings["dataset"]
        kept = {key: value for key, value in zoo.settings.items() if key not in ("layout", "images", "image_dtype")}
        self.writer = ZooWriter.open(
            out,
            settings={**kept, "dataset": f"{dataset}-{task.op}", "image_dtype": "uint8", "images": "edited"}
            | {"edit": self.made_of},
            figures=FIGURES,
            splits=zoo.manifest.splits,
            sources=True,
            provenance={**versions(), "edited": zoo.provenance},
        )

    def todo(self) -> list[Rows]:
        """Rows of one part and fit, cut at the multiples of `_BLOCK` images."""
        found: list[Rows] = []
        for part in dict.fromkeys(self.zoo.parts.tolist()):
            for member in np.unique(self.zoo.members[self.zoo.parts == part]).tolist():
                rows = np.flatnonzero((self.zoo.parts == part) & (self.zoo.members == member))
                there = self.writer.done(PARTS[part], member)
                rows = rows[~np.isin(self.zoo.indices[rows], there)]
                rows = rows[np.argsort(self.zoo.indices[rows])]
                cut = np.flatnonzero(np.diff(self.zoo.indices[rows] // _BLOCK)) + 1
                found += [block for block in np.split(rows, cut) if len(block)]
        return found

    def add(self, rows: Rows, wanted: torch.Tensor) -> torch.Tensor:
        """Edit, and write, one block; what the edited INRs show."""
        zoo, editor = self.zoo, self.model.reader
        assert isinstance(editor, Editor)
        edited = self.model.edit(zoo.weights(rows))
        _, *grid = zoo.image_shape
        shown = editor.pixels.render(edited, *grid) * 2 - 1
        part: Part = PARTS[int(zoo.parts[rows[0]])]
        indices, member = zoo.indices[rows], int(zoo.members[rows[0]])
        # an error in outputs is one in [-1, 1] times half of their range
        psnr = editor.pixels.psnr(per_picture(shown, wanted) * ((editor.pixels.high - editor.pixels.low) / 2) ** 2)
        with self.writer.together():
            new = ~np.isin(indices, self.writer.done(part, table="sources"))
            if new.any():
                labels = zoo.labels[rows]
                self.writer.add_sources(part, indices[new], wanted.numpy()[new], labels[new])
            self.writer.add_rows(part, member, indices, edited.flat.numpy(), {"psnr": psnr.float().numpy()})
        return shown


class _Pictures(_Target):
    """A folder of decoded pictures, with a file that says of what."""

    def __init__(self, model: Pretrained, zoo: Zoo, out: Path, task: INREditing):
        super().__init__(model, zoo, out, task)
        told = out / TOLD
        if told.exists():
            changed = config.differences(files.read_json(told, "what pictures were made of"), self.made_of)
            if changed:
                raise InputError(f"{out} has pictures of other settings ({'; '.join(changed)}); choose another --out")
        elif out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"expected a folder of edited pictures or nothing at {out}, found something else")
        else:
            files.write_json(told, self.made_of)
        self.paths = [out / f"{name}.png" for name in zoo.names(zoo.rows())]

    def todo(self) -> list[Rows]:
        """Rows without a picture."""
        return list(blocks(np.flatnonzero([not path.exists() for path in self.paths]), _BLOCK))

    def add(self, rows: Rows, wanted: torch.Tensor) -> torch.Tensor:
        """Decode, and write, one block of pictures."""
        shown = self.model.values(self.zoo.weights(rows))
        channels, *grid = self.zoo.image_shape
        for row, picture in zip(rows.tolist(), shown.numpy(), strict=True):
            renders.write_png(self.paths[row], channels, grid, [np.moveaxis(shades(picture), 0, -1)])
        return shown


def _hash(model: Pretrained) -> str:
    """Ten hex digits that name the model's parameters."""
    digest = hashlib.sha256()
    for tensor in model.reader.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]
