"""The Avalanche side: streams, experiences, and what they carry."""

import shutil

import pytest
from avalanche.benchmarks.scenarios import CLScenario
from PIL import Image

import lamm_cl
from lamm_cl.data.verify import content_digest
from lamm_cl.streams.build import build_stream


@pytest.fixture(scope="module")
def digits():
    return lamm_cl.base_to_novel("digits", shots=16, seed=1)


def test_base_to_novel_is_a_two_step_stream(digits):
    assert isinstance(digits, CLScenario)
    assert [len(stream) for stream in (digits.train_stream, digits.test_stream)] == [2, 2]
    for stream in (digits.train_stream, digits.test_stream):
        assert [exp.classes_in_this_experience for exp in stream] == [{0, 1, 2, 3, 4}, {5, 6, 7, 8, 9}]
        assert [exp.name for exp in stream] == ["set1", "set2"]
        assert stream[1].class_names == ("five", "six", "seven", "eight", "nine")
    assert [len(exp.dataset) for exp in digits.train_stream] == [80, 80]
    assert sum(len(exp.dataset) for exp in digits.test_stream) == 899
    assert digits.train_stream[1].previous_classes == {0, 1, 2, 3, 4}
    assert digits.train_stream[0].future_classes == {5, 6, 7, 8, 9}
    assert digits.train_stream[0].columns == digits.plan.sets[0].own == (0, 1, 2, 3, 4)


def test_what_a_benchmark_knows_of_itself(digits):
    assert digits.class_names[:2] == ("zero", "one")
    assert digits.templates == ("a photo of a {}.",) * 10
    assert digits.split == "embedded"
    assert digits.dataset_names == ("digits",)
    assert digits.data_fingerprint == lamm_cl.load_dataset("digits").fingerprint
    assert (digits.protocol, digits.shots, digits.seed, digits.synthetic) == ("class_incremental", 16, 1, False)
    assert digits.train_stream.benchmark is digits


def test_experiences_keep_their_names_through_avalanche(digits):
    exp = digits.train_stream[1]
    for one in (exp.train(), exp.eval(), exp.logging(), digits.train_stream[1:][0]):
        assert one.name == "set2"
        assert one.columns == (5, 6, 7, 8, 9)
    assert exp.train().dataset.train().index[0] == exp.dataset.index[0]


def test_test_streams_may_have_classes_that_are_never_trained(make_dataset, plain):
    one, two = make_dataset("one", 3), make_dataset("two", 2, train=0, val=0)
    benchmark = build_stream("cross_dataset", [one, two], shots=1, backbone=plain)
    assert len(benchmark.train_stream) == 1
    assert [exp.classes_in_this_experience for exp in benchmark.test_stream] == [{0, 1, 2}, {3, 4}]
    assert [exp.dataset_name for exp in benchmark.test_stream] == ["one", "two"]
    assert len(benchmark.class_names) == 5


def test_validation_images_make_a_stream_of_their_own(make_dataset, plain):
    benchmark = build_stream("class_incremental", make_dataset(), shots=2, backbone=plain)
    assert [len(exp.dataset) for exp in benchmark.val_stream] == [6, 6]
    assert set(build_stream("few_shot", make_dataset(val=0), shots=2).streams) == {"train", "test"}


def test_samples_stay_in_the_order_they_were_drawn(digits):
    from lamm_cl.data.few_shot import few_shot

    train, _ = few_shot(lamm_cl.load_dataset("digits"), 16, 1)
    expected = [item for item in train if item.label < 5]
    assert [digits.source._items[i] for i in digits.train_stream[0].dataset.index] == expected


def test_the_content_fingerprint_follows_the_images_used(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for k in range(20):
            Image.new("RGB", (4, 4), (k, 0, 0)).save(tmp_path / name / f"{k:02d}.png")

    def benchmark(folder):
        return build_stream("class_incremental", {"name": "pets", "folder": folder}, shots=2)

    first = benchmark(tmp_path)
    parts = [*first.train_stream, *first.test_stream]
    used = [first.source._items[i] for part in parts for i in part.dataset.index]
    dataset = lamm_cl.load_dataset({"name": "pets", "folder": tmp_path})
    pairs = ((dataset.relative(item), dataset.content_key(item)) for item in {one.path: one for one in used}.values())
    assert first.content_fingerprint == content_digest(pairs)
    copy = tmp_path.parent / "copy"
    shutil.copytree(tmp_path, copy)
    second = benchmark(copy)
    assert (second.content_fingerprint, second.data_fingerprint) == (first.content_fingerprint, first.data_fingerprint)
    unused = next(item for item in (*dataset.train, *dataset.val) if item not in used)
    Image.new("RGB", (5, 5)).save(copy / dataset.relative(unused))
    assert benchmark(copy).content_fingerprint == first.content_fingerprint
    Image.new("RGB", (5, 5)).save(copy / dataset.relative(used[0]))
    third = benchmark(copy)
    assert third.content_fingerprint != first.content_fingerprint
    assert third.data_fingerprint == first.data_fingerprint


def test_the_content_fingerprint_of_several_data_sets(make_dataset, plain):
    one, two, other = make_dataset("one", 3), make_dataset("two", 2), make_dataset("two", 2, test=2)
    prints = {
        build_stream("cross_dataset", datasets, shots=1, backbone=plain).content_fingerprint
        for datasets in ([one, two], [one, other], [two, one])
    }
    assert len(prints) == 3
