# SPDX-License-Identifier: Apache-2.0
"""The teacher cache: exact where it says so, replayed as loops do it, safe, within its budget."""

from __future__ import annotations

import dataclasses
import errno
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lidistill.distill.caches import images as cache_module
from lidistill.distill.caches.images import (
    TeacherCache,
    fingerprint,
    is_whole,
    replay,
    whole_from_file,
)
from lidistill.distill.caches.store import GIB, FeatureStore
from lidistill.distill.teacher import Teacher
from lidistill.geometry.correspondence import crop_resize_affine, flip_affine
from lidistill.io import DataError, read_manifest
from lidistill.methods import PPKT, ScaLR, SLidR
from tests.toy_pairs import HEIGHT, WIDTH, make_batch, networks

SIZE = (HEIGHT, WIDTH)
FILES = (3 * HEIGHT, 2 * WIDTH)


def in_files(batch, affines=None):
    """The toy batch, its images cut from files of another size by affines (whole by default)."""
    count = len(batch.images)
    whole = crop_resize_affine((0, 0, *FILES), SIZE)
    affines = [whole] * count if affines is None else affines
    return dataclasses.replace(
        batch,
        image_tokens=[f"cam/{index}" for index in range(count)],
        image_from_file=torch.from_numpy(np.stack(affines)),
        file_size=torch.tensor([FILES] * count),
    )


def make_teacher(folder: Path | None, stride: int = 2, seed: int = 0, **options) -> Teacher:
    torch.manual_seed(seed)
    model = nn.Conv2d(3, 4, 3, stride=stride, padding=1)
    cache = None if folder is None else {"folder": folder, "size": SIZE, **options}
    return Teacher(model, taps={"map": ""}, inputs=("images",), cache=cache)


def test_second_look_is_the_first_but_for_half_precision(tmp_path):
    batch = in_files(make_batch())
    live = make_teacher(None)(batch).map.features
    cached = make_teacher(tmp_path / "c", mode="exact")
    torch.testing.assert_close(cached(batch).map.features, live)
    again = make_teacher(tmp_path / "c", mode="exact")
    again.run = None  # would be called
    assert torch.equal(again(batch).map.features, live.half().float())
    assert read_manifest(tmp_path / "c")["tool"] == "lidistill cache_teacher"


@pytest.mark.parametrize("method", [SLidR, PPKT, ScaLR])
def test_methods_lose_nothing_by_the_cache(method, tmp_path):
    parts, batch = networks(2), in_files(make_batch())
    if method is ScaLR:
        del parts["image_head"]
        parts["point_head"] = nn.Linear(6, 4)
    plain = method(**parts)(batch, mode="loss")
    cache = {"folder": tmp_path / "c", "size": SIZE, "mode": "exact"}
    for mode in ("exact", "exact", "replay"):
        parts["teacher"] = {**networks(2)["teacher"], "cache": {**cache, "mode": mode}}
        cached = method(**parts)(batch, mode="loss")
        for term, value in plain.items():
            torch.testing.assert_close(cached[term], value, rtol=1e-3, atol=1e-3)


def test_cropped_and_mirrored_images_run_live_in_exact_mode(tmp_path):
    whole = crop_resize_affine((0, 0, *FILES), SIZE)
    affines = [
        whole,
        flip_affine(WIDTH) @ whole,
        crop_resize_affine((1, 0, FILES[0] - 1, FILES[1]), SIZE),
        whole,
    ]
    batch = in_files(make_batch(), affines)
    assert is_whole(batch, SIZE).tolist() == [True, False, False, True]
    assert is_whole(batch, (3, 4)).tolist() == [False] * 4
    teacher = make_teacher(tmp_path / "c", mode="exact")
    live = make_teacher(None)(batch).map.features
    for _ in range(2):
        torch.testing.assert_close(teacher(batch).map.features, live, rtol=1e-3, atol=1e-3)
    assert teacher.cache.store.count("map") == 2


def random_crops(count: int, seed: int = 0) -> list[np.ndarray]:
    """Random boxes of the files, resized to SIZE; every other one mirrored."""
    rng = np.random.default_rng(seed)
    affines = []
    for index in range(count):
        height, width = rng.integers(4, FILES[0]), rng.integers(4, FILES[1])
        top, left = rng.integers(FILES[0] - height + 1), rng.integers(FILES[1] - width + 1)
        affine = crop_resize_affine((top, left, height, width), SIZE)
        affines.append(flip_affine(WIDTH) @ affine if index % 2 else affine)
    return affines


def naive_replay(maps: np.ndarray, affines, cells) -> np.ndarray:
    """Each cell of the result: its pixel, the file's, the whole image's, the place in the map."""
    height, width = maps.shape[2:]
    out = np.zeros((*maps.shape[:2], *cells))
    whole = crop_resize_affine((0, 0, *FILES), SIZE)
    for image, affine in enumerate(affines):
        for i in range(cells[0]):
            for j in range(cells[1]):
                pixel = (j * (WIDTH - 1) / (cells[1] - 1), i * (HEIGHT - 1) / (cells[0] - 1), 1.0)
                u, v, _ = whole @ np.linalg.inv(affine) @ pixel
                x = np.clip(u * (width - 1) / (WIDTH - 1), 0, width - 1)
                y = np.clip(v * (height - 1) / (HEIGHT - 1), 0, height - 1)
                top, left = min(int(y), height - 2), min(int(x), width - 2)
                for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
                    for column, right in ((left, 1 - (x - left)), (left + 1, x - left)):
                        out[image, :, i, j] += maps[image, :, row, column] * down * right
    return out


@pytest.mark.parametrize("cells", [(3, 4), (5, 7)])
def test_replay_equals_naive_loops(cells):
    affines = random_crops(4)
    maps = torch.randn(4, 3, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = replay(
        maps,
        torch.from_numpy(np.stack(affines)),
        torch.tensor([FILES] * 4),
        SIZE,
        SIZE,
        cells,
    )
    np.testing.assert_allclose(got, naive_replay(maps.numpy(), affines, cells), atol=1e-9)


def test_replay_of_a_plain_resize_is_exact():
    maps = torch.randn(2, 3, 3, 4, dtype=torch.float64)
    sizes = torch.tensor([FILES, SIZE])
    affine = whole_from_file(sizes, (100, 70))
    expected = [crop_resize_affine((0, 0, *size), (100, 70)) for size in (FILES, SIZE)]
    np.testing.assert_allclose(affine, np.stack(expected), atol=1e-12)
    got = replay(maps, affine, sizes, (100, 70), (100, 70))
    torch.testing.assert_close(got, maps)


def test_replay_mode_reads_what_the_command_wrote(tmp_path):
    """The maps of whole images in, crops out, without a forward pass and without images."""
    whole = in_files(make_batch())
    make_teacher(tmp_path / "c", mode="exact")(whole)
    affines = random_crops(len(whole.images))
    batch = in_files(make_batch(), affines)
    batch = dataclasses.replace(batch, images=torch.full_like(batch.images, float("nan")))
    teacher = make_teacher(tmp_path / "c")
    maps = make_teacher(None)(whole).map.features.half()
    got = teacher(batch).map.features
    expected = naive_replay(maps.double().numpy(), affines, maps.shape[2:])
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_missing_maps_name_the_command_or_run_live(tmp_path):
    batch = in_files(make_batch(), random_crops(4))
    with pytest.raises(DataError, match=r"No teacher cache.*(?s:.)*lidistill cache_teacher CONFIG"):
        make_teacher(tmp_path / "none")(batch)
    make_teacher(tmp_path / "c", mode="exact")(in_files(make_batch()))
    strict = make_teacher(tmp_path / "c")
    gone = strict.cache.open(strict).path("cam/2", "map")
    gone.unlink()
    with pytest.raises(DataError, match=r"1 images.*no map(?s:.)*cam/2(?s:.)*lidistill cache_te"):
        strict(batch)
    mixed = make_teacher(tmp_path / "c", missing="live")(batch).map.features
    live = make_teacher(None)(batch).map.features
    torch.testing.assert_close(mixed[2], live[2])
    assert not torch.allclose(mixed[1], live[1])
    blank = dataclasses.replace(batch, images=torch.full_like(batch.images, float("nan")))
    with pytest.raises(ValueError, match=r"placeholders.*lidistill cache_teacher"):
        make_teacher(tmp_path / "c", missing="live")(blank)
    gone.parent.mkdir(exist_ok=True)
    gone.write_bytes(b"\x93NUMPY cut")  # a power failure
    with pytest.raises(DataError, match="1 images"):
        strict(batch)
    assert not gone.exists()


def test_another_item_of_a_tapped_module_is_another_cache(tmp_path):
    class Pyramid(nn.Conv2d):
        def forward(self, images):
            found = super().forward(images)
            return found, 2 * found

    torch.manual_seed(0)
    model, batch = Pyramid(3, 4, 3, padding=1), in_files(make_batch())
    cache = {"folder": tmp_path / "c", "size": SIZE, "mode": "exact"}
    first, second = (
        Teacher(model, taps={"map": f"[{k}]"}, inputs=("images",), cache=cache) for k in (0, 1)
    )
    first(batch)
    first(batch)
    with pytest.raises(DataError, match=r"'\[1\]'.*got .*'\[0\]'"):
        second(batch)


def test_another_teacher_size_or_precision_is_refused(tmp_path):
    batch = in_files(make_batch())
    make_teacher(tmp_path / "c", mode="exact")(batch)
    for other in (
        make_teacher(tmp_path / "c", seed=1),
        make_teacher(tmp_path / "c", stride=1),
        make_teacher(tmp_path / "c", size=(12, 16)),
    ):
        with pytest.raises(DataError, match=r"another teacher or .*expected(?s:.)*cache_teacher"):
            other(batch)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match="other files are there"):
        make_teacher(tmp_path / "other", mode="exact")(batch)


def test_fingerprint_sees_weights_and_structure():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
    same = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
    same.load_state_dict(plain.state_dict())
    assert fingerprint(plain) == fingerprint(same)
    assert fingerprint(plain.train()) == fingerprint(same.eval())
    same[0].dilation = (2, 2)
    assert fingerprint(plain) != fingerprint(same)
    same[0].dilation = (1, 1)
    with torch.no_grad():
        same[0].bias[0] += 1e-6
    assert fingerprint(plain) != fingerprint(same)
    same.load_state_dict(plain.state_dict())
    same.final_norm = False  # a number that a forward pass looks at
    assert fingerprint(plain) != fingerprint(same)


def test_budget_is_kept(tmp_path):
    one = 2 * 3 * 4 * 5 + 256
    store = FeatureStore(tmp_path / "c", {}, budget_gib=2.5 * one / GIB)
    values = np.zeros((3, 4, 5), np.float32)
    assert [store.write(f"t{i}", "map", values) for i in range(4)] == [True, True, False, False]
    assert (store.count("map"), store.bytes()) == (2, 2 * one)
    assert not store.write("t0", "map", values)  # there already
    (tmp_path / "c" / ".bytes").unlink()  # counted anew from the files
    assert 2 * 120 <= store.bytes() <= 2 * one
    batch, live = in_files(make_batch()), make_teacher(None)
    full = make_teacher(tmp_path / "d", mode="exact", budget_gib=0.0)
    for _ in range(2):
        torch.testing.assert_close(full(batch).map.features, live(batch).map.features)
    assert full.cache.store.count("map") == 0


def _write_many(folder: str, seed: int) -> None:
    store = FeatureStore(folder, {"a": 1}, budget_gib=21.5 * (2 * 600 + 256) / GIB)
    order = np.random.default_rng(seed).permutation(40)
    for index in order.tolist():
        store.write(f"token {index}", "map", np.full((6, 10, 10), index))


def test_processes_share_a_store(tmp_path):
    """Four at once, half of the maps fit: whole files, the budget held, nothing left over."""
    context = multiprocessing.get_context("fork")
    folder = str(tmp_path / "c")
    workers = [context.Process(target=_write_many, args=(folder, seed)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    store = FeatureStore(folder, {"a": 1}, create=False)
    assert 15 <= store.count("map") <= 21
    for index in range(40):
        values = store.read(f"token {index}", "map")
        assert values is None or (values == index).all()
    assert not [path for path in Path(folder).rglob(".*") if "tmp" in path.name]


def test_what_cannot_be_cached_says_so(tmp_path):
    store = FeatureStore(tmp_path / "c", {})
    with pytest.raises(ValueError, match="1 values beyond half precision"):
        store.write("t", "map", np.array([[[1e6, 0.0]]]))
    with pytest.raises(ValueError, match="expected a finite map"):
        store.write("t", "map", np.zeros(3))
    with pytest.raises(ValueError, match="mode: expected one of exact, replay, got 'near'"):
        TeacherCache(tmp_path, SIZE, mode="near")
    rows = Teacher(
        nn.Sequential(nn.Flatten()),
        taps={"map": ""},
        inputs=("images",),
        cache={"folder": tmp_path / "r", "size": SIZE, "mode": "exact"},
    )
    with pytest.raises(ValueError, match=r"\['map'\] give no map"):
        rows(in_files(make_batch()))
    with pytest.raises(ValueError, match="image_tokens"):
        make_teacher(tmp_path / "x", mode="exact")(make_batch())
    two = Teacher(
        nn.Identity(),
        taps={"map": ""},
        inputs=("images", "points"),
        cache={"folder": tmp_path / "r", "size": SIZE, "mode": "exact"},
    )
    with pytest.raises(ValueError, match="teachers of images alone"):
        two(in_files(make_batch()))


def test_several_taps_are_kept_apart(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 2, stride=2))
    cache = {"folder": tmp_path / "c", "size": SIZE, "mode": "exact"}
    teacher = Teacher(model, {"low": "0", "high": "1"}, inputs=("images",), cache=cache)
    batch = in_files(make_batch())
    first, second = teacher(batch), teacher(batch)
    assert first.low.features.shape[1:] == (4, *SIZE)
    assert second.high.features.shape[1:] == (2, HEIGHT // 2, WIDTH // 2)
    for tap in ("low", "high"):
        one, two = getattr(first, tap).features, getattr(second, tap).features
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_keep_writes_once(tmp_path):
    store = FeatureStore(tmp_path / "c", {})
    maps = {"map": torch.randn(2, 3, 4, 5)}
    assert cache_module.keep(store, "t", maps, 1)
    assert not cache_module.keep(store, "t", maps, 1)
    np.testing.assert_array_equal(store.read("t", "map"), maps["map"][1].half())
    live = cache_module.live_maps(make_teacher(None), torch.zeros(1, 3, *SIZE))
    assert live["map"].shape == (1, 4, 3, 4)


@pytest.fixture
def one_map(tmp_path):
    """A store with one map, its file and its values."""
    store = FeatureStore(tmp_path / "c", {})
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float16)
    assert store.write("t", "map", values)
    return store, store.path("t", "map"), values


@pytest.mark.parametrize("where", [0, 7, 20, 60, 127, 128, 200, -1])
def test_any_damage_is_seen_and_made_good(one_map, where):
    """One flipped bit in the header, the values or the checksum: removed, its bytes given back."""
    store, path, values = one_map
    before = store.bytes()
    data = bytearray(path.read_bytes())
    data[where] ^= 4
    path.write_bytes(data)
    assert store.read("t", "map") is None
    assert not path.exists()
    assert store.bytes() == before - len(data)
    assert store.write("t", "map", values)
    np.testing.assert_array_equal(store.read("t", "map"), values)


@pytest.mark.parametrize("size", [0, 5, 90, 128, 200, 247, 249])
def test_cut_files_are_damaged(one_map, size):
    store, path, _ = one_map
    path.write_bytes(path.read_bytes()[:size])
    assert store.read("t", "map") is None
    assert not path.exists()


def test_maps_without_a_checksum_are_read(one_map):
    store, path, values = one_map
    np.save(path, values)  # as earlier versions did
    np.testing.assert_array_equal(store.read("t", "map"), values)
    np.save(path, np.full((3, 4, 5), np.nan, np.float16))  # no version ever wrote such a one
    assert store.read("t", "map") is None


@pytest.mark.parametrize("reason", [errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.EIO])
def test_a_read_that_fails_deletes_nothing(one_map, monkeypatch, reason):
    store, path, values = one_map

    def refuse(*_args, **_options):
        raise OSError(reason, os.strerror(reason), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(DataError, match=os.strerror(reason)) as caught:
            store.read("t", "map")
    assert str(path) in str(caught.value)
    np.testing.assert_array_equal(store.read("t", "map"), values)


def test_a_file_that_was_made_again_meanwhile_stays(one_map):
    store, path, values = one_map
    seen = path.stat()
    path.unlink()
    assert store.write("t", "map", values)
    os.utime(path, (1, 1))
    store._remove(path, seen)
    assert path.exists()


def test_a_full_disk_gives_the_budget_back(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path / "c", {})

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space left"):
        store.write("t", "map", np.zeros((1, 2, 3)))
    assert store.bytes() == 0


@pytest.mark.parametrize("token", ["..", "a..", "../../x", "/x", "\\x", "CON", "drive.png"])
def test_tokens_of_others_stay_inside(tmp_path, token):
    store = FeatureStore(tmp_path / "c", {})
    assert store.write(token, "map", np.ones((1, 2, 3)))
    files = [path for path in tmp_path.rglob("*.npy")]
    assert len(files) == 1
    assert (tmp_path / "c" / "map") in files[0].parents
    assert store.read(token, "map") is not None


@pytest.mark.parametrize("count", ["", "x", "\u00b2", "-5"])
def test_a_damaged_count_is_counted_anew(one_map, count):
    store, path, _ = one_map
    (store.folder / ".bytes").write_text(count)
    assert store.bytes() == path.stat().st_size


def test_a_map_in_another_memory_order_comes_back(tmp_path):
    """A transposed map is stored by rows: its file is whole, not damaged."""
    store = FeatureStore(tmp_path / "s", {})
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 1, 0)
    assert store.write("a", "map", values)
    assert np.array_equal(store.read("a", "map"), values)
