"""A zoo is a data set: whatever a DataLoader does with one, each sample is the row that it says."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Subset, default_collate

from weightwalk import InputError, Weights
from weightwalk.testing import tiny_zoo
from weightwalk.testing.trained import tiny_trained_zoo
from weightwalk.zoos.samples import Batch
from weightwalk.zoos.store import Zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return tiny_zoo(tmp_path_factory.mktemp("inrs") / "zoo", num_images=20, fits=2, steps=2)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return tiny_trained_zoo(tmp_path_factory.mktemp("trained") / "zoo", num_runs=12, mixed=True)


def assert_rows(zoo, batch):
    """Every entry of a batch is that of the rows that it says."""
    rows = batch["row"].numpy()
    networks = batch["weights"]
    for place, row in enumerate(rows):
        assert torch.equal(networks[place].flat, zoo.weights(int(row)).flat)
        assert networks[place].spec == zoo.specs[zoo.spec_codes[row]]
    for name in ("group", "member", *zoo.columns):
        np.testing.assert_array_equal(batch[name].numpy(), zoo.column(name)[rows])
        assert batch[name].numpy().dtype == zoo.column(name).dtype
    if zoo.sources is not None:
        assert batch["label"].tolist() == zoo.labels[rows].tolist()


def contents(batch):
    """Every entry as bytes, dtype and shape; networks with their specs."""
    networks = batch["weights"] if isinstance(batch["weights"], list) else [batch["weights"]]
    tensors = {name: [column] for name, column in batch.items() if name != "weights"}
    tensors["weights"] = [network.flat for network in networks]
    told = {name: [(t.dtype, t.shape, t.numpy().tobytes()) for t in each] for name, each in tensors.items()}
    return told, [network.spec for network in networks]


@pytest.mark.parametrize("kind", ["zoo", "mixed"])
def test_a_batch_is_the_same_bytes_whichever_way(kind, request):
    zoo = request.getfixturevalue(kind)
    rows = [7, 2, 19, 7, 0]
    [expected] = zoo.batches(rows, len(rows))
    assert_rows(zoo, expected)
    samples = zoo.__getitems__(rows)
    batches = {
        "at once": default_collate(samples),
        "by its own name": zoo.collate(samples),
        "one by one": zoo.collate([zoo[row] for row in rows]),
        "after they were looked at": default_collate(samples if samples[1:] else []),
        "in another process": pickle.loads(pickle.dumps(expected)),
        "copied": copy.copy(expected),
    }
    for way, batch in batches.items():
        assert contents(batch) == contents(expected), way


def test_what_is_put_into_a_sample_is_in_the_batch(zoo):
    """And the wrong twin: a batch that is taken as it was read, whatever became of its samples."""
    changes = [
        lambda sample: sample.update(label=99),
        lambda sample: sample["weights"].flat.fill_(3.0),
        lambda sample: sample.update(weights=Weights(zoo.spec, torch.full((1, zoo.spec.num_parameters), 3.0))),
    ]
    for change in changes:
        samples = zoo.__getitems__([4, 5])
        change(samples[1])
        batch = default_collate(samples)
        assert batch["label"][1] == 99 or bool((batch["weights"].flat[1] == 3.0).all())
        assert batch["label"][0] == zoo.labels[4]
        assert torch.equal(batch["weights"].flat[0], zoo.weights(4).flat[0])
    samples = zoo.__getitems__([4, 5])
    for sample in samples:
        sample["more"] = sample["row"] + 1
        del sample["psnr"]
    assert default_collate(samples)["more"].tolist() == [5, 6]
    assert "psnr" not in zoo.collate(samples)


@pytest.mark.parametrize("kind", ["zoo", "mixed"])
def test_a_batch_is_one_tensor_on_its_way(kind, request, tmp_path):
    zoo = request.getfixturevalue(kind)
    [batch] = zoo.batches([3, 1, 2], 3)
    _, sent = batch.__reduce__()
    assert sum(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(sent)) == 1
    torch.save(batch, tmp_path / "batch.pt")
    assert_rows(zoo, torch.load(tmp_path / "batch.pt", weights_only=True))
    for more in ({"masks": torch.ones(3, 2, dtype=torch.bool)}, {"none": torch.ones(3, 0, dtype=torch.float64)}):
        whole = Batch(batch | more)
        assert contents(pickle.loads(pickle.dumps(whole))) == contents(whole)
    assert pickle.loads(pickle.dumps(Batch(batch | {"names": ["a", "b", "c"]})))["names"] == ["a", "b", "c"]
    assert pickle.loads(pickle.dumps(Batch(row=batch["row"])))["row"].tolist() == [3, 1, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataloader_reads_every_row_once(zoo, workers):
    context = "spawn" if workers else None
    loader = DataLoader(zoo, batch_size=7, shuffle=True, num_workers=workers, multiprocessing_context=context)
    seen = []
    for batch in loader:
        assert isinstance(batch["weights"], Weights)
        assert_rows(zoo, batch)
        seen += batch["row"].tolist()
    assert sorted(seen) == list(range(len(zoo)))


def test_the_wrong_twin_of_a_batch_is_found(zoo):
    """Networks that stand in another order than their rows."""
    batch = next(iter(DataLoader(zoo, batch_size=5)))
    with pytest.raises(AssertionError):
        assert_rows(zoo, {**batch, "weights": batch["weights"][[1, 0, 2, 3, 4]]})


def test_a_split_is_a_subset(zoo):
    loader = DataLoader(Subset(zoo, zoo.rows("val", members=1).tolist()), batch_size=64)
    [batch] = list(loader)
    assert batch["row"].tolist() == zoo.rows("val", members=1).tolist()
    assert_rows(zoo, batch)


def test_mixed_architectures_are_a_list_of_networks(mixed):
    loader = DataLoader(mixed, batch_size=9, shuffle=True, collate_fn=mixed.collate)
    for batch in loader:
        assert_rows(mixed, batch)
    assert any(isinstance(batch["weights"], list) for batch in loader)


@pytest.mark.parametrize("kind", ["zoo", "mixed"])
def test_batches_are_what_a_dataloader_gives(kind, request):
    zoo = request.getfixturevalue(kind)
    of_loader = list(DataLoader(zoo, batch_size=8, collate_fn=zoo.collate))
    batches = list(zoo.batches(zoo.rows(), 8))
    assert [batch.keys() for batch in batches] == [batch.keys() for batch in of_loader]
    for batch, other in zip(batches, of_loader, strict=True):
        assert batch["row"].tolist() == other["row"].tolist()
        assert_rows(zoo, batch)
    shuffled = [
        [row for batch in zoo.batches("train", 8, torch.Generator().manual_seed(seed)) for row in batch["row"].tolist()]
        for seed in (0, 0, 1)
    ]
    assert shuffled[0] == shuffled[1] != shuffled[2]
    assert sorted(shuffled[2]) == zoo.rows("train").tolist()
    with pytest.raises(InputError, match="batch size of at least 1"):
        next(zoo.batches("train", 0))


@pytest.mark.parametrize("kind", ["zoo", "mixed"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda zoo: pickle.loads(pickle.dumps(zoo))])
def test_a_copy_is_the_same_zoo(kind, copied, request):
    zoo = request.getfixturevalue(kind)
    other = copied(zoo)
    assert len(pickle.dumps(zoo)) < 10_000  # its path and its manifest, not its networks
    assert (other.path, other.settings, other.specs) == (zoo.path, zoo.settings, zoo.specs)
    for (places, networks), (same, others) in zip(zoo.buckets(zoo.rows()), other.buckets(zoo.rows()), strict=True):
        np.testing.assert_array_equal(places, same)
        assert torch.equal(networks.flat, others.flat)


def test_rows_in_any_form(zoo):
    every, count = zoo.weights(zoo.rows()).flat, len(zoo)
    mask = zoo.splits == 0
    for rows, expected in [
        ([], every[:0]),
        (np.empty(0), every[:0]),
        (3, every[3:4]),
        (-1, every[-1:]),
        (slice(2, 9, 3), every[2:9:3]),
        ([5, -2], every[[5, count - 2]]),
        (torch.tensor([4, 4]), every[[4, 4]]),
        (mask, every[torch.from_numpy(mask)]),
    ]:
        assert torch.equal(zoo.weights(rows).flat, expected)
        assert len(zoo.images(rows)) == len(expected)
    for rows in ([count], [-count - 1], [0.5], [[0]], "train"):
        with pytest.raises(InputError, match=r"expected (rows|numbers of rows)"):
            zoo.weights(rows)
    with pytest.raises(IndexError):
        zoo[count]
    assert zoo[-1]["row"] == count - 1


@pytest.mark.parametrize("row", ["a", slice(0, 3), None, 1.5, [0]], ids=repr)
def test_a_sample_is_of_one_row(zoo, row):
    with pytest.raises(InputError, match="expected the number of one row"):
        zoo[row]


def test_numbers_of_numpy_and_torch_are_rows(zoo):
    assert zoo[np.int64(3)]["row"] == zoo[torch.tensor(3)]["row"] == 3


def test_members(zoo, mixed):
    assert zoo.rows(members="last").tolist() == [
        int(np.flatnonzero((zoo.groups == group) & (zoo.members == zoo.members[zoo.groups == group].max()))[0])
        for group in sorted(zoo.group_numbers, key=lambda group: (zoo.members[zoo.groups == group].max(), group))
    ]
    assert mixed.column("epoch")[mixed.rows(members="last")].tolist() == [4] * 12
    assert mixed.rows("test", members=1).tolist() == [24, 27]
    assert len(mixed.rows(members=0)) == 0


def test_what_a_zoo_has_not_is_said(zoo, mixed):
    for read in (lambda: mixed.labels, lambda: mixed.label_names, lambda: mixed.image_shape, lambda: mixed.images([0])):
        with pytest.raises(InputError, match=r"expected a zoo of INRs, got one of cnn networks at .*"):
            read()
    with pytest.raises(InputError, match=r"expected networks of one architecture in .*, got \d+; read them"):
        _ = mixed.spec
    with pytest.raises(InputError, match="unknown column 'test_accuracy'; known: group, member, psnr"):
        zoo.column("test_accuracy")
    with pytest.raises(InputError, match="has no image 99; it has 20"):
        zoo.info(99)
    assert zoo.info(3) == {}
    assert mixed.info(3).keys() == {"optimizer", "learning_rate"}


def test_networks_that_are_not_finite_are_named(tmp_path, draw_zoo, rewrite):
    zoo = draw_zoo(tmp_path / "zoo")
    assert len(zoo.broken(zoo.rows())) == 0

    def change(tensors):
        tensors["params.0"][2, 3], tensors["params.0"][4, 0] = np.nan, -np.inf

    rewrite(zoo.path, "rows/train-m1-000000-000006.safetensors", change)
    zoo = Zoo.open(zoo.path)
    broken = zoo.broken(zoo.rows()[::-1])
    assert zoo.names(broken) == ["train-4-f1", "train-2-f1"]
    assert len(zoo.broken([])) == 0


def test_a_batch_is_a_tree_of_its_tensors(zoo):
    batch = default_collate([zoo[0], zoo[1]])
    halves = tree_map(lambda leaf: leaf[:1], batch, is_leaf=lambda leaf: isinstance(leaf, Weights))
    assert type(halves) is type(batch)
    assert halves.keys() == batch.keys()
    assert {len(value) for value in halves.values()} == {1}
