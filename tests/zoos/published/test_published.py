"""Published zoos, tiny ones of exactly their layouts: every network that is read computes what the published one
does.
"""

import gzip
import json
import pickle
import random

import numpy as np
import pytest
import released as tiny
import torch
import torch.nn.functional as F

from weightwalk import InputError
from weightwalk.testing import assert_close
from weightwalk.zoos.check import check
from weightwalk.zoos.published import LAYOUTS, Told, import_zoo
from weightwalk.zoos.store import Zoo

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def imported(layout, folder, out, **options):
    outcome = import_zoo(layout, folder, out, Told(**options))
    assert outcome.finished
    assert not check(out).problems
    again = import_zoo(layout, folder, out, Told(**options))
    assert (again.read, again.already_there) == (0, outcome.read)
    return Zoo.open(out)


def split_of(zoo):
    return {split: zoo.column("group")[zoo.rows(split)].tolist() for split in ("train", "val", "test")}


def test_the_small_cnn_zoo(tmp_path):
    weights = tiny.small_cnn_zoo(tmp_path / "svhn")
    zoo = imported("small-cnn-zoo", tmp_path / "svhn", tmp_path / "zoo")
    assert (zoo.kind, zoo.settings["dataset"], len(zoo)) == ("cnn", "svhn", 12)
    assert set(zoo.column("epoch")) == {86}
    assert {spec.layers[0].activation for spec in zoo.specs} == {"relu", "tanh"}
    for row in (0, 3):
        info, w = zoo.info(zoo.groups[row]), weights[2 * row + 1]
        assert info["row"] == 2 * row + 1
        assert info["learning_rate"] == pytest.approx(1e-3 * (row + 1))
        assert info["optimizer"] == "adam"
        assert zoo.column("test_accuracy")[row] == pytest.approx((2 * row + 1) / 100)
        # as TensorFlow computes: positions of the kernel, then channels in, then channels out
        x, at = X[:, :1], 0
        for fan_in in (1, 16, 16):
            bias, kernel = w[at : at + 16], w[at + 16 : at + 16 + 144 * fan_in].reshape(3, 3, fan_in, 16)
            at += 16 + 144 * fan_in
            x = F.conv2d(x, torch.from_numpy(kernel).permute(3, 2, 0, 1), torch.from_numpy(bias), stride=2)
            x = torch.relu(x) if row % 2 == 0 else torch.tanh(x)
        logits = x.mean((2, 3)) @ torch.from_numpy(w[at + 10 :].reshape(16, 10)) + torch.from_numpy(w[at : at + 10])
        assert_close(zoo.weights([row]).run(X[:, :1])[0], logits, what="logits")


def test_the_published_split_of_the_small_cnn_zoo(tmp_path):
    tiny.small_cnn_zoo(tmp_path / "a", nets=20)
    order = [
        0,
        *np.random.default_rng(1).permutation(40).tolist(),
    ]  # the first line is a stray header: row 0 is there twice
    (tmp_path / "split.csv").write_text("\n".join(map(str, order)) + "\n")
    zoo = imported("small-cnn-zoo", tmp_path / "a", tmp_path / "zoo", splits=tmp_path / "split.csv")
    final = [row for row in order if row % 2]
    first = list(range(10))
    random.Random(0).shuffle(first)
    wanted = {"train": [final[i] for i in first[:8]], "val": [final[i] for i in first[8:]], "test": final[10:]}
    found = {split: [zoo.info(run)["row"] for run in runs] for split, runs in split_of(zoo).items()}
    assert found == wanted


@pytest.mark.parametrize("with_omegaconf", [False, True])
def test_the_wild_park(tmp_path, with_omegaconf):
    networks = tiny.wild_park(tmp_path / "park", with_omegaconf=with_omegaconf)
    zoo = imported("wild-park", tmp_path / "park", tmp_path / "zoo")
    assert (zoo.kind, len(zoo), len(zoo.specs)) == ("wild-park", 12, 2)
    assert {split: len(set(runs)) for split, runs in split_of(zoo).items()} == {"train": 3, "val": 1, "test": 2}
    assert [zoo.info(run)["run"][-1] for run in zoo.group_numbers] == ["3", "4", "5", "0", "1", "2"]
    for row in range(12):
        original = int(zoo.info(zoo.groups[row])["run"][-1])
        which = 2 * original + (zoo.column("epoch")[row] == 10)
        assert zoo.column("epoch")[row] in (1, 10)
        assert_close(zoo.weights([row]).run(X)[0], networks[which](X).detach(), what="logits")
        assert zoo.column("test_accuracy")[row] == pytest.approx(original / 10 + (0.09 if which % 2 else 0.0))
    assert np.isnan(zoo.column("train_loss")).all()


def test_the_wild_park_without_its_split(tmp_path):
    tiny.wild_park(tmp_path / "park", split=False, epochs=(0,))
    zoo = imported("wild-park", tmp_path / "park", tmp_path / "zoo")
    assert [zoo.info(run)["run"][-1] for run in zoo.group_numbers] == list("012345")


def test_the_vit_zoo(tmp_path):
    networks = tiny.vit_zoo(tmp_path / "vits")
    zoo = imported("vit-zoo", tmp_path / "vits", tmp_path / "zoo")
    assert (zoo.kind, len(zoo), len(zoo.specs)) == ("vit", 10, 1)
    assert {split: len(runs) for split, runs in split_of(zoo).items()} == {"train": 7, "val": 1, "test": 2}
    for row in range(10):
        model = zoo.info(zoo.groups[row])["model_id"]
        assert zoo.column("epoch")[row] == model % 3 + 1
        assert zoo.column("test_accuracy")[row] == pytest.approx(0.09 * model)
        assert_close(zoo.weights([row]).run(X)[0], networks[model - 1](X).detach(), what="logits")
    tiny.vit_zoo(tmp_path / "others", split=False)
    other = imported("vit-zoo", tmp_path / "others", tmp_path / "other")
    assert {split: len(runs) for split, runs in split_of(other).items()} == {"train": 8, "val": 1, "test": 1}


def test_an_import_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("weightwalk.zoos.published.trained.SHARD", 4)
    tiny.vit_zoo(tmp_path / "vits")
    calls = iter([False] * 6 + [True])
    outcome = import_zoo("vit-zoo", tmp_path / "vits", tmp_path / "zoo", should_stop=lambda: next(calls))
    assert (outcome.finished, outcome.read) == (False, 4)
    import_zoo("vit-zoo", tmp_path / "vits", tmp_path / "zoo")
    import_zoo("vit-zoo", tmp_path / "vits", tmp_path / "whole")
    for path in (tmp_path / "whole").rglob("*.*"):
        if path.is_file() and path.name[0] != ".":
            assert path.read_bytes() == (tmp_path / "zoo" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_no_code_is_run(tmp_path):
    tiny.wild_park(tmp_path / "park", runs=1, epochs=(0,), split=False)
    (path,) = (tmp_path / "park").rglob("checkpoint.pt")

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "evil"), "w"))

    content = torch.load(path, weights_only=False)
    torch.save({**content, "config": Evil()}, path)
    with pytest.raises(InputError, match=r"got a file that|got other contents"):
        LAYOUTS["wild-park"](tmp_path / "park", Told()).run(0)
    assert not (tmp_path / "evil").exists()


def replaced(path, change):
    path.write_text(change(path.read_text()))


def changed(folder, change):
    for path in folder.rglob("checkpoint.pt"):
        torch.save(change(torch.load(path, weights_only=False)), path)


def float8(content):
    return content | {"model": {name: t.to(torch.float8_e5m2) for name, t in content["model"].items()}}


BROKEN = [
    ("small-cnn-zoo", lambda f: (f / "weights.npy").unlink(), "readable file at .*weights.npy"),
    ("small-cnn-zoo", lambda f: (f / "weights.npy").write_bytes(b"x"), "cannot be read"),
    ("small-cnn-zoo", lambda f: (f / "weights.npy").write_bytes(pickle.dumps({})), "cannot be read"),
    (
        "small-cnn-zoo",
        lambda f: np.save(f / "weights.npy", np.zeros((3, 4970), np.float32)),
        "a line of metrics per row",
    ),
    ("small-cnn-zoo", lambda f: (f / "metrics.csv.gz").write_bytes(b"\x1f\x8b123"), "does not unpack"),
    ("small-cnn-zoo", lambda f: (f / "metrics.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n")), "columns step"),
    (
        "small-cnn-zoo",
        lambda f: replaced(f / "layout.csv", lambda t: t.replace("kernel:0", "gamma:0")),
        "kernels and biases",
    ),
    (
        "small-cnn-zoo",
        lambda f: replaced(f / "layout.csv", lambda t: t.replace("(3, 3, 1, 16)", "(3, 3, 1, 8)")),
        "kernels and biases",
    ),
    ("wild-park", lambda f: [p.unlink() for p in f.rglob("checkpoint.pt")], "found none"),
    ("wild-park", lambda f: (f / "cnn_park_splits.json").write_text("{}"), "train, val and test"),
    ("wild-park", lambda f: [p.write_bytes(b"no") for p in f.rglob("checkpoint.pt")], "torch.load cannot read"),
    ("wild-park", lambda f: [torch.save({"model": {}}, p) for p in f.rglob("checkpoint.pt")], "got other contents"),
    ("wild-park", lambda f: changed(f, lambda content: content | {"model": 3}), "got other contents"),
    ("wild-park", lambda f: changed(f, lambda content: float8(content)), "real numbers in .* float8"),
    ("vit-zoo", lambda f: [p.unlink() for p in f.rglob("*.pth")], "found none"),
    ("vit-zoo", lambda f: (f / "stat" / "results.json").write_text("[]"), "none of model 1"),
    ("vit-zoo", lambda f: (f / "stat" / "results.json").write_text("[1]"), "got other JSON"),
    (
        "vit-zoo",
        lambda f: (f / "stat" / "splits.json").write_text(json.dumps({"train": [1], "val": [1], "test": []})),
        "every id once",
    ),
    (
        "vit-zoo",
        lambda f: [torch.save({"a": torch.ones(1)}, p) for p in f.rglob("*.pth")],
        "expected the tensor to_patch",
    ),
]


@pytest.mark.parametrize(("layout", "damage", "match"), BROKEN)
def test_what_is_wrong_is_said(tmp_path, layout, damage, match):
    {"small-cnn-zoo": tiny.small_cnn_zoo, "wild-park": tiny.wild_park, "vit-zoo": tiny.vit_zoo}[layout](
        tmp_path / "files"
    )
    damage(tmp_path / "files")
    with pytest.raises(InputError, match=match) as caught:
        import_zoo(layout, tmp_path / "files", tmp_path / "zoo")
    assert not any(advice in str(caught.value) for advice in ("allow_pickle", "weights_only", "trust"))


def test_other_layouts_and_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown layout 'vit'"):
        import_zoo("vit", tmp_path, tmp_path / "zoo")
    with pytest.raises(InputError, match="found nothing"):
        import_zoo("vit-zoo", tmp_path / "absent", tmp_path / "zoo")
    tiny.small_cnn_zoo(tmp_path / "a")
    for text, match in (
        ("a\nb", "one row number per line"),
        ("999\n", "belongs to another zoo"),
        ("0\n1\n", "runs to train on"),
    ):
        (tmp_path / "split.csv").write_text(text)
        with pytest.raises(InputError, match=match):
            import_zoo("small-cnn-zoo", tmp_path / "a", tmp_path / "zoo", Told(splits=tmp_path / "split.csv"))
