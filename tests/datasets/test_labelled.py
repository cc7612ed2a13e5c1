# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidistill.datasets.labelled import (
    choose_scenes,
    labelled_frames,
    labelled_mask,
    read_scene_list,
)
from lidistill.io import DataError


def authors_rule(names, step):
    """The counter of the authors' loop over the scene table."""
    kept = []
    for counter, name in enumerate(names, start=1):
        if counter % step == 0:
            kept.append(name)
    return kept


@pytest.mark.parametrize(("scenes", "step"), [(7, 100), (35, 20), (70, 10), (175, 4), (700, 1)])
def test_fractions_of_nuscenes_are_the_authors(scenes, step):
    names = [f"scene-{i:04d}" for i in range(700)]
    assert choose_scenes(names, scenes) == authors_rule(names, step)
    assert len(choose_scenes(names, scenes)) == scenes


@pytest.mark.parametrize("total", [1, 3, 10, 13])
def test_any_number_of_scenes_is_kept(total):
    names = [str(i) for i in range(total)]
    for scenes in range(1, total + 1):
        kept = choose_scenes(names, scenes)
        assert len(set(kept)) == scenes
        assert kept == sorted(kept, key=names.index)


def frames(scenes=4, each=3):
    return [{"scene_name": f"s{s}", "index": (s, i)} for s in range(scenes) for i in range(each)]


def test_frames_of_the_chosen_scenes_and_every_nth_scan():
    chosen = labelled_frames(frames(), scenes=2)
    assert [f["index"] for f in chosen] == [(s, i) for s in (1, 3) for i in range(3)]
    assert [f["index"] for f in labelled_frames(frames(), every_scan=5)] == [(0, 0), (1, 2), (3, 1)]
    assert len(labelled_frames(frames())) == 12
    both = labelled_frames(frames(), scenes=["s2"], every_scan=2)
    assert [f["index"] for f in both] == [(2, 0), (2, 2)]


def test_a_list_of_scenes_in_a_file(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("# labelled by hand\ns3\n\ns0  # rain\n")
    assert read_scene_list(path) == ["s3", "s0"]
    kept = labelled_frames(frames(), scenes=str(path))
    assert {f["scene_name"] for f in kept} == {"s0", "s3"}
    path.write_text("s3\ns9\n")
    with pytest.raises(ValueError, match=r"mine\.txt.*unknown ones: s9.*holds 4: s0, s1"):
        labelled_frames(frames(), scenes=path)
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match="no name at all"):
        labelled_frames(frames(), scenes=path)
    with pytest.raises(DataError, match="one scene name a line"):
        choose_scenes(["a"], tmp_path / "none.txt")


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match=r"scenes: expected 1\.\.4, got 5"):
        labelled_frames(frames(), scenes=5)
    with pytest.raises(ValueError, match="every_scan: expected 1 or more, got 0"):
        labelled_frames(frames(), every_scan=0)
    with pytest.raises(ValueError, match="frames without scene_name"):
        labelled_frames([{"index": 0}], scenes=1)


def frames_of(scenes: int, each: int = 4, named: bool = True) -> list[dict]:
    return [
        {
            "sample_idx": row,
            "token": f"t{row}",
            **({"scene_name": f"s{row // each}"} if named else {}),
        }
        for row in range(scenes * each)
    ]


@pytest.mark.parametrize(
    ("labelled", "scenes"),
    [(0.2, "49"), (0.5, "13579"), (1.0, "0123456789"), (0.01, "9"), (2, "49")],
)
def test_a_share_takes_whole_scenes(labelled, scenes):
    mask = labelled_mask(frames_of(10), labelled)
    kept = {info["scene_name"] for info, known in zip(frames_of(10), mask, strict=True) if known}
    assert kept == {f"s{scene}" for scene in scenes}
    assert sum(mask) == 4 * len(kept)


@given(count=st.integers(1, 60), share=st.floats(0.001, 1.0))
def test_without_scenes_a_share_takes_frames_evenly(count, share):
    mask = labelled_mask(frames_of(count, 1, named=False), share)
    assert sum(mask) == max(1, round(share * count))
    rows = [row for row, known in enumerate(mask) if known]
    gaps = {b - a for a, b in itertools.pairwise(rows)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_names_of_scenes_and_tokens_of_frames(tmp_path):
    frames = frames_of(3)
    assert sum(labelled_mask(frames, ["s1", "t0"])) == 5
    frames[7]["lidar_points"] = {"lidar_path": "velodyne/000005.bin"}
    assert labelled_mask(frames, ["000005"]) == [row == 7 for row in range(12)]
    with pytest.raises(ValueError, match="unknown ones: 7"):  # mmengine's place, or the frame's?
        labelled_mask(frames, ["7"])
    (tmp_path / "list.txt").write_text("s2  # the night\n")
    assert labelled_mask(frames, tmp_path / "list.txt") == [False] * 8 + [True] * 4


@pytest.mark.parametrize(
    ("labelled", "message"),
    [
        (0.0, "a share above 0 and at most 1, got 0.0"),
        (1.5, "a share above 0"),
        ([], "at least one; no name at all"),
        (["s9"], "unknown ones: s9"),
        (0, "expected 1..3, got 0"),
    ],
)
def test_no_labels_or_unknown_ones_are_refused(labelled, message):
    with pytest.raises(ValueError, match=message):
        labelled_mask(frames_of(3), labelled)


def test_a_number_of_scenes_needs_scenes():
    with pytest.raises(ValueError, match="the frames name none; give a share"):
        labelled_mask(frames_of(3, named=False), 2)
