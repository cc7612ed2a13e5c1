# SPDX-License-Identifier: Apache-2.0
import pytest

from lidistill.datasets.labelled import choose_scenes, labelled_frames, read_scene_list
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
