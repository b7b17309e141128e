"""Pictures as images and as features, in the view of the current epoch, in any process."""

import copy
import pickle

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lamm_cl.errors import UsageError
from lamm_cl.streams.build import build_stream


class CountingStore:
    """Gives the mean colour as a feature, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def features(self, keys, load, view, kind="unit"):
        self.asked.append((tuple(keys), view))
        return torch.stack([load(k).mean(dim=(1, 2)) for k in range(len(keys))])


@pytest.fixture
def benchmark(make_dataset, plain):
    return build_stream("class_incremental", make_dataset(), shots=2, seed=3, backbone=plain)


@pytest.fixture
def source(benchmark):
    return benchmark.source


def train_and_test(benchmark):
    return [list(stream[0].dataset.index) for stream in (benchmark.train_stream, benchmark.test_stream)]


def test_training_pictures_change_with_the_epoch_and_test_pictures_do_not(benchmark, source, make_dataset, plain):
    from lamm_cl.data.views import TrainView

    train, test = (index[0] for index in train_and_test(benchmark))
    assert source.epoch is None
    plain_view = source[train][0]
    assert torch.equal(plain_view, plain.preprocess(make_dataset().open(source._items[train])))
    source.epoch = 7
    expected = TrainView((4, 4), (0, 0, 0), (1, 1, 1))(
        make_dataset().open(source._items[train]), source.key(train), 3, 7
    )
    assert torch.equal(source[train][0], expected)
    seen = source[test][0]
    source.epoch = None
    assert torch.equal(source[train][0], plain_view)
    assert torch.equal(source[test][0], seen)
    with pytest.raises(ValueError, match="counted from 0"):
        source.epoch = -1


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_show_the_same_views_also_when_they_outlive_the_epoch(benchmark, source, workers):
    dataset = benchmark.train_stream[0].dataset
    loader = DataLoader(dataset, batch_size=4, num_workers=workers, persistent_workers=workers > 0)
    for epoch in (0, 1, None):
        source.epoch = epoch
        images = torch.cat([batch[0] for batch in loader])
        assert torch.equal(images, torch.stack([source[i][0] for i in dataset.index]))


def test_features_are_fetched_once_per_view(benchmark, source):
    train, test = train_and_test(benchmark)
    store = CountingStore()
    source.use_features(store)
    source.prefetch(train, 0)
    source.prefetch(train + train, 0)
    source.epoch = 0
    assert source[train[0]][0].shape == (3,)
    assert len(store.asked) == 1
    keys, view = store.asked[0]
    assert keys == tuple(source.key(i) for i in train)
    assert view.startswith("train/seed3/epoch0/")
    source.prefetch(test, 0)
    source.prefetch(test, 5)
    assert [view for _, view in store.asked] == [view, "eval"]
    source.use_features(None)
    assert source[train[0]][0].shape == (3, 4, 4)
    source.use_features(store)
    source.prefetch(train + test, 0)
    assert len(store.asked) == 2


def test_features_are_those_of_the_images(benchmark, source):
    train, test = train_and_test(benchmark)
    both = [train[0], test[0], train[1]]
    for epoch in (None, 0, 1):
        source.epoch = epoch
        source.use_features(None)
        images = torch.stack([source[i][0] for i in both])
        source.use_features(CountingStore())
        assert torch.equal(source.gather(both), images.mean(dim=(2, 3)))
        assert torch.equal(torch.stack([source[i][0] for i in both]), images.mean(dim=(2, 3)))


def test_another_store_or_backbone_starts_afresh(benchmark, source, plain):
    train, _ = train_and_test(benchmark)
    first, second = CountingStore(), CountingStore()
    source.use_features(first)
    source.prefetch(train, None)
    source.use_features(second)
    source.prefetch(train, None)
    assert len(second.asked) == 1
    source.set_backbone(plain)
    source.prefetch(train, None)
    assert len(second.asked) == 1  # the same transforms: nothing is dropped
    source.set_backbone(copy.copy(plain))
    source.prefetch(train, None)
    assert len(second.asked) == 2


def test_batches_hold_image_column_place_and_task(benchmark):
    x, y, index, t = next(iter(DataLoader(benchmark.train_stream[1].dataset, batch_size=4)))
    assert x.shape == (4, 3, 4, 4)
    assert y.tolist() == [benchmark.source.targets[i] for i in index.tolist()]
    assert t.tolist() == [0, 0, 0, 0]


def test_a_copy_in_another_process_gives_what_was_fetched(benchmark, source):
    train, test = train_and_test(benchmark)
    source.use_features(CountingStore())
    source.prefetch(train, 2)
    source.epoch = 2
    there = pickle.loads(pickle.dumps(source))
    assert torch.equal(there[train[0]][0], source[train[0]][0])
    with pytest.raises(UsageError, match="no feature store"):
        there[test[0]]
    assert torch.equal(copy.deepcopy(source)[train[1]][0], source[train[1]][0])


def test_a_copy_leaves_the_backbone_behind(make_dataset, plain):
    class Local(type(plain)):
        """No pickle can carry an object of this class."""

        preprocess = staticmethod(plain.preprocess)

    source = build_stream("few_shot", make_dataset(), shots=1, backbone=Local()).source
    assert torch.equal(pickle.loads(pickle.dumps(source))[0][0], source[0][0])


def test_without_a_backbone_pictures_are_made_for_tiny(make_dataset, tiny):
    source = build_stream("few_shot", make_dataset(), shots=1).source
    assert source[0][0].shape == (3, *tiny.image_size)
    assert torch.equal(source[0][0], tiny.preprocess(make_dataset().open(source._items[0])))


@pytest.fixture
def photos(tmp_path, plain):
    """The source of a benchmark whose pictures are files, and the first of them."""
    for number in range(12):
        file = tmp_path / ("train", "val", "test")[number % 3] / "ab"[number // 3 % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (number,) * 3).save(file)
    spec = {"name": "own", "folder": str(tmp_path)}
    source = build_stream("few_shot", spec, shots=2, seed=1, backbone=plain).source
    return source, source._items[0].path


def test_a_picture_that_changes_while_a_benchmark_lives_gets_its_own_key(photos):
    source, path = photos
    old = source.key(0)
    Image.new("RGB", (12, 12), (200,) * 3).save(path)
    assert source.key(0) != old
    store = CountingStore()
    source.use_features(store)
    assert source[0][0][0] == pytest.approx(200 / 255)
    assert store.asked[0][0] == (source.key(0),)


def test_a_picture_that_changes_while_it_is_read_is_refused(photos):
    source, path = photos

    class Slow(CountingStore):
        def features(self, keys, load, view, kind="unit"):
            Image.new("RGB", (12, 12), (200,) * 3).save(path)
            return super().features(keys, load, view)

    source.use_features(Slow())
    with pytest.raises(UsageError, match="was changed while it was read"):
        source.prefetch([0], None)


def test_a_store_whose_backbone_has_another_transform_is_refused(source, tiny):
    from lamm_cl.clip.feature_cache import FeatureStore

    store = FeatureStore(tiny, None)
    source.use_features(store)
    with pytest.raises(UsageError, match=r"source\.set_backbone\(store\.backbone\)"):
        source.prefetch([0], None)
    assert store.encoded == 0
    source.set_backbone(tiny)
    source.prefetch([0], None)
    assert store.encoded == 1
