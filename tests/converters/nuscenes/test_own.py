# SPDX-License-Identifier: Apache-2.0
"""Own data in nuScenes' layout: what may be left out, what is named, files kept elsewhere."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lidistill.converters.info_paths import InfoPaths, superpixels_name
from lidistill.converters.infos import load_infos
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.converters.nuscenes.schema import DEFAULTS, TABLES
from lidistill.converters.superpixels.make import make_superpixels
from lidistill.datasets.loading import LoadImages, LoadPoints, LoadSuperpixels
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.engine.offline.whole_images import WholeImages
from lidistill.geometry.boxes import points_in_boxes
from lidistill.io import DataError
from tests.converters.fake_nuscenes import SIZE, write_fake_nuscenes

VERSION = "v1.0-mine"
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_fake_nuscenes(tmp_path_factory.mktemp("own"), ["a", "b"], VERSION, keyframes=3)
    (root / VERSION / "splits.json").write_text(json.dumps({"train": ["a"], "val": ["b"]}))
    return root


@pytest.fixture
def copy(fake: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(fake, tmp_path / "copy"))


def change(root: Path, table: str, edit: Callable[[Rows], Any]) -> None:
    """Edit the records of a table."""
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    edit(rows)
    path.write_text(json.dumps(rows))


def convert(root: Path, **options: Any) -> list[dict[str, Any]]:
    """Frames of the training split."""
    written = convert_nuscenes(root, VERSION, root.parent / "out", **options)
    return load_infos(written["train"], "nuscenes").frames


def drop(key: str) -> Callable[[Rows], None]:
    return lambda rows: [row.pop(key) for row in rows]


def put(key: str, value: Any, where: int | slice = slice(None)) -> Callable[[Rows], None]:
    def edit(rows: Rows) -> None:
        for row in rows[where] if isinstance(where, slice) else [rows[where]]:
            row[key] = value

    return edit


def everything(frame: dict[str, Any], key: str) -> list[Any]:
    return [instance[key] for instance in frame["instances"]]


def test_what_may_be_left_out_has_a_default(copy: Path, fake: Path) -> None:
    before = convert(copy)
    for key in ("num_radar_pts", "visibility_token", "attribute_tokens", "prev", "next"):
        change(copy, "sample_annotation", drop(key))
    change(copy, "sample_data", drop("width"))
    change(copy, "calibrated_sensor", lambda rows: rows[0].pop("camera_intrinsic"))  # the LiDAR's
    (copy / VERSION / "visibility.json").unlink()
    after = convert(copy)
    for one, two in zip(before, after, strict=True):
        assert one["images"] == two["images"]
        assert everything(one, "num_lidar_pts") == everything(two, "num_lidar_pts")
        assert everything(one, "bbox_3d") == everything(two, "bbox_3d")
        assert set(everything(two, "visibility")) == {0}
        assert set(everything(two, "attr_label")) == {8}
        assert np.isnan(everything(two, "velocity")).all()


@pytest.mark.parametrize("missing", [drop("num_lidar_pts"), put("num_lidar_pts", None)])
def test_lidar_points_are_counted_where_the_table_does_not(
    copy: Path, missing: Callable[[Rows], None]
) -> None:
    change(copy, "sample_annotation", lambda rows: [missing(rows), put("size", [9.0] * 3)(rows)])
    sample = json.loads((copy / VERSION / "sample.json").read_text())[0]["token"]
    lidar = next(
        row
        for row in json.loads((copy / VERSION / "sample_data.json").read_text())
        if row["sample_token"] == sample and row["is_key_frame"] and "LIDAR" in row["filename"]
    )
    boxes = np.array(everything(convert(copy)[0], "bbox_3d"))
    rng = np.random.default_rng(0)
    points = np.zeros((400, 5), "<f4")
    points[:, :3] = boxes[rng.integers(0, len(boxes), 400), :3] + rng.normal(0, 3, (400, 3))
    points.tofile(copy / lidar["filename"])
    shutil.rmtree(copy / "lidarseg")
    (copy / VERSION / "lidarseg.json").unlink()
    found = convert(copy)[0]
    expected = points_in_boxes(points, boxes).sum(axis=0).tolist()
    assert everything(found, "num_lidar_pts") == expected
    assert max(expected) > 20
    assert everything(found, "bbox_3d_isvalid") == [count > 0 for count in expected]
    for instances in found["cam_instances"].values():
        assert all(isinstance(instance["num_lidar_pts"], int) for instance in instances)


def test_points_are_counted_anew_where_a_scan_was_written_in_its_place(copy: Path) -> None:
    """It was "converted before", with the counts of the old scan."""
    change(copy, "sample_annotation", drop("num_lidar_pts"))
    shutil.rmtree(copy / "lidarseg")
    (copy / VERSION / "lidarseg.json").unlink()
    before = convert(copy)
    boxes = np.array(everything(before[0], "bbox_3d"))
    for path in (copy / "samples" / "LIDAR_TOP").iterdir():
        np.pad(boxes[:1, :3], ((0, 0), (0, 2))).astype("<f4").repeat(50, 0).tofile(path)
    after = convert(copy)
    assert everything(after[0], "num_lidar_pts")[0] == 50
    assert everything(before[0], "num_lidar_pts") != everything(after[0], "num_lidar_pts")


def test_visibility_in_words(copy: Path) -> None:
    levels = ["v0-40", "v40-60", "v60-80", "v80-100"]
    rows = [{"token": f"hash{level}", "level": level, "description": ""} for level in levels]
    (copy / VERSION / "visibility.json").write_text(json.dumps(rows))
    words = ["v60-80", "hashv40-60", "4", "", "unheard of", 2]
    change(
        copy,
        "sample_annotation",
        lambda rows: [
            row.update(visibility_token=words[k % len(words)]) for k, row in enumerate(rows)
        ],
    )
    tokens = {row["token"]: row for row in json.loads(
        (copy / VERSION / "sample_annotation.json").read_text())}  # fmt: skip
    seen = {}
    for frame in convert(copy):
        for i in frame["instances"]:
            seen[tokens[i["annotation_token"]]["visibility_token"]] = i["visibility"]
    assert seen == {"v60-80": 3, "hashv40-60": 2, "4": 4, "": 0, "unheard of": 0, 2: 2}


NAN, FAR = float("nan"), 99999999999
FAULTS = [
    ("sample_annotation", put("visibility_token", [], 0), "'visibility_token': expected a text"),
    ("sample_annotation", drop("size"), "with 'size'"),
    ("sample_annotation", put("size", [1, 2, -3], 1), "sizes above 0.*-3"),
    ("sample_annotation", put("size", [1, 2, FAR], 1), "sizes above 0 and below 200 m"),
    ("sample_annotation", put("size", [1, 2], 1), "'size': expected 3 finite numbers"),
    ("sample_annotation", put("translation", [0, FAR, 0], 2), "translation within 1e.08 m"),
    ("sample_annotation", put("translation", [0, 9999, 0], 2), "too far from LIDAR_TOP"),
    ("sample_annotation", put("rotation", [0, 0, 0, 0], 0), "quaternion of length 1.*length 0"),
    ("sample_annotation", put("rotation", [1, 0, 0, NAN], 0), "4 finite numbers"),
    ("sample_annotation", put("num_lidar_pts", -1, 0), "'num_lidar_pts': expected a whole number"),
    ("sample_annotation", put("token", "same", slice(2)), "each token once"),
    ("sample_annotation", put("sample_token", "none", 0), "no record of token 'none'"),
    ("calibrated_sensor", put("camera_intrinsic", [], 1), r"camera matrix, got \[\]"),
    ("calibrated_sensor", put("camera_intrinsic", [[1, 0], [0, 1]], 1), "3 x 3"),
    ("calibrated_sensor", put("translation", [2000.0, 0, 0], 1), "within 1000 m"),
    ("calibrated_sensor", put("rotation", [0, 0, 0, 0], 1), "quaternion of length 1"),
    ("calibrated_sensor", put("rotation", "text", 1), "4 finite numbers, got 'text'"),
    ("calibrated_sensor", put("sensor_token", None, 1), "'sensor_token': expected a text that is"),
    ("ego_pose", put("rotation", [2.0, 0, 0, 0], 1), "length 2"),
    ("ego_pose", put("translation", [5000.0, 0, 0], 3), "far apart"),
    ("ego_pose", put("translation", [10**400, 0, 0], 3), "3 finite numbers"),
    ("sample", put("timestamp", 5, slice(2)), "same timestamp, 5"),
    ("sample", put("timestamp", "5", 0), "'timestamp': expected microseconds from 0, got '5'"),
    ("sample", put("timestamp", -5, 0), "microseconds from 0, got -5"),
    ("sensor", put("modality", "Camera", 0), "'modality': expected camera, lidar or radar, got"),
    ("sample", put("scene_token", "none", 0), "no record of 'none' in scene.json"),
    ("sample_data", put("is_key_frame", "False"), "'is_key_frame': expected true or false"),
    ("sample_data", put("timestamp", 1, slice(9)), "name an earlier sweep"),
    ("sample_data", put("filename", "../../x"), "'filename': .*below this folder"),
    ("sample_data", put("filename", "/etc/hosts", 0), "'filename'"),
    ("sample_data", put("token", "../../x", 9), "'token': .*can be a file name"),
    ("sample_data", lambda rows: rows.append({**rows[2], "token": "double"}), "both belong to"),
    ("sample_data", lambda rows: rows.insert(3, []), r"dictionary\), got \[\]"),
    ("scene", put("token", "../../x", 0), "'token': .*can be a file name"),
    ("scene", put("token", "/x", 1), "'token': .*can be a file name"),
    ("sensor", put("channel", "", 0), "'channel': expected a text that is not empty"),
    ("lidarseg", put("filename", "../x", 0), "'filename'"),
]


@pytest.mark.parametrize(("table", "edit", "words"), FAULTS)
def test_what_cannot_be_left_out_is_named(
    copy: Path, table: str, edit: Callable[[Rows], None], words: str
) -> None:
    """One error with the table's file, the record and the value; nothing is written outside."""
    change(copy, table, edit)
    with pytest.raises(DataError, match=rf"(?s){words}") as caught:
        convert(copy)
    assert f"{VERSION}/{table}.json" in str(caught.value)
    assert caught.value.token
    assert "extract the tables" in str(caught.value)
    assert {path.name for path in copy.parent.iterdir()} <= {"copy", "out"}


@pytest.mark.parametrize("content", ["", "null", "{}", '"text"', "[" * 99999, '[{"token": 1}]'])
def test_damaged_tables_are_named(copy: Path, content: str) -> None:
    (copy / VERSION / "ego_pose.json").write_text(content)
    with pytest.raises(DataError, match=r"ego_pose\.json"):
        convert(copy)


def test_annotations_out_of_order_are_named(copy: Path) -> None:
    def swap(rows: Rows) -> None:
        for row in rows:
            row["prev"], row["next"] = row["next"], row["prev"]

    change(copy, "sample_annotation", swap)
    with pytest.raises(DataError, match=r"(?s)earlier and a later.*sample_annotation\.json"):
        convert(copy)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_damage_is_named_or_changes_nothing(fake: Path, data: st.DataObject) -> None:
    """A key gone, or anything in place of a record, a value or an item: an error, or no matter."""
    table = data.draw(st.sampled_from(sorted(TABLES)))
    rows = json.loads((fake / VERSION / f"{table}.json").read_text())
    index = data.draw(st.integers(0, len(rows) - 1))
    key = data.draw(st.sampled_from(sorted(rows[index])))
    deep = data.draw(st.sampled_from(["record", "gone", "value", "item"]))
    value = data.draw(junk)
    if deep == "record":
        rows[index] = value
    elif deep == "gone":
        del rows[index][key]
    elif deep == "item" and isinstance(rows[index][key], list) and rows[index][key]:
        rows[index][key][data.draw(st.integers(0, len(rows[index][key]) - 1))] = value
    else:
        rows[index][key] = value
    out = fake.parent / "damaged"
    shutil.rmtree(out, ignore_errors=True)
    root = fake.parent / "linked"
    shutil.rmtree(root, ignore_errors=True)
    (root / VERSION).mkdir(parents=True)
    for path in fake.iterdir():
        if path.name != VERSION:
            (root / path.name).symlink_to(path)
    for path in (fake / VERSION).iterdir():
        shutil.copy(path, root / VERSION)
    (root / VERSION / f"{table}.json").write_text(json.dumps(rows))
    assert outcome(root, out) in ({"train", "val"}, str(root))


def outcome(root: Path, out: Path) -> set[str] | str:
    """The splits that were written, or the root of the file that the error names."""
    try:
        return set(convert_nuscenes(root, VERSION, out))
    except DataError as error:
        return str(root) if str(error.path).startswith(str(root)) else str(error)


def test_the_only_lidar_is_taken(copy: Path) -> None:
    before = convert(copy)
    change(copy, "sensor", put("channel", "LIDAR_CONCAT", 0))
    for folder in ("samples", "sweeps"):
        (copy / folder / "LIDAR_TOP").rename(copy / folder / "LIDAR_CONCAT")
    change(copy, "sample_data", lambda rows: [
        row.update(filename=row["filename"].replace("LIDAR_TOP/", "LIDAR_CONCAT/")) for row in rows
    ])  # fmt: skip
    for one, two in zip(before, convert(copy), strict=True):
        name = one["lidar_points"].pop("lidar_path")
        assert two["lidar_points"].pop("lidar_path") == f"samples/LIDAR_CONCAT/{name}"
        for key in ("lidar_points", "images", "token"):
            assert one[key] == two[key]
        np.testing.assert_equal(one["instances"], two["instances"])
    path = copy.parent / "out/lidistill_infos_val.pkl"
    assert load_infos(path).metainfo["lidar"] == "LIDAR_CONCAT"


def test_one_of_several_lidars_is_chosen(copy: Path) -> None:
    """The second LiDAR's sensor is the radar's, called one."""
    change(copy, "sensor", put("channel", "LIDAR_LEFT", 0))
    change(copy, "sensor", put("modality", "lidar", -1))
    change(copy, "sensor", put("channel", "LIDAR_RIGHT", -1))
    with pytest.raises(DataError, match=r"(?s)some: LIDAR_LEFT, LIDAR_RIGHT.*--lidar CHANNEL"):
        convert(copy)
    with pytest.raises(DataError, match="Expected key frames of LIDAR_CONCAT"):
        convert(copy, lidar="LIDAR_CONCAT")
    assert len(convert(copy, lidar="LIDAR_LEFT")) == 3
    change(copy, "sensor", put("modality", "camera"))
    with pytest.raises(DataError, match="LiDARs that have some: none"):
        convert(copy)


def test_a_sample_without_the_lidar_says_what_it_has(copy: Path) -> None:
    change(copy, "sample_data", put("is_key_frame", False, 2))
    with pytest.raises(DataError, match=r"(?s)key frame of LIDAR_TOP.*has: CAM_BACK, CAM_FRONT"):
        convert(copy)


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_files_in_other_folders_keep_their_path(copy: Path, separator: str) -> None:
    """One camera and the LiDAR's label files elsewhere; two files of one name stay apart."""
    before = convert(copy)
    (copy / "blob 02").mkdir()
    (copy / "samples/CAM_FRONT").rename(copy / "blob 02/CAM_FRONT")
    (copy / "lidarseg").rename(copy / "blob 02/lidarseg")

    def move(rows: Rows) -> None:
        for row in rows:
            name = row["filename"].replace("samples/CAM_FRONT", "blob 02/CAM_FRONT")
            row["filename"] = name.replace("lidarseg/", "blob 02/lidarseg/").replace("/", separator)

    change(copy, "sample_data", move)
    change(copy, "lidarseg", move)
    frames = convert(copy)
    locate = InfoPaths(copy, load_infos(copy.parent / "out/lidistill_infos_train.pkl").metainfo)
    for one, two in zip(before, frames, strict=True):
        name = one["images"]["CAM_FRONT"]["img_path"]
        assert two["images"]["CAM_FRONT"]["img_path"] == f"blob 02/CAM_FRONT/{name}"
        assert two["images"]["CAM_BACK"] == one["images"]["CAM_BACK"]
        assert two["lidar_points"] == one["lidar_points"]
        assert two["lidar_sweeps"] == one["lidar_sweeps"]
        for camera, image in two["images"].items():
            assert locate(image["img_path"], camera).is_file()
        assert locate(two["pts_semantic_mask_path"], "pts_semantic_mask").is_file()
        assert locate(two["lidar_points"]["lidar_path"], "pts").is_file()


def test_superpixels_and_pairs_find_files_elsewhere(copy: Path) -> None:
    """As `superpixels`, `cache_teacher` and `teacher_regions` find them."""

    def move(rows: Rows) -> None:
        for row in rows:
            row["filename"] = row["filename"].replace("samples/", "blob02\\samples\\")

    change(copy, "sample_data", move)
    (copy / "blob02").mkdir()
    (copy / "samples").rename(copy / "blob02/samples")
    convert(copy)
    infos = copy.parent / "out/lidistill_infos_train.pkl"
    store = copy.parent / "store"
    assert make_superpixels(infos, copy, store, segments=4, sigma=0) == 6
    steps = [LoadPoints(), LoadImages(), LoadSuperpixels()]
    pairs = ImageLidarPairs(str(infos), str(copy), steps, superpixels_dir=str(store))
    frame = pairs[2]
    assert [view.image.shape for view in frame.cameras] == [(SIZE[1], SIZE[0], 3)] * 2
    assert all(view.superpixels.max() > 0 for view in frame.cameras)
    assert len(frame.points) == frame.lidar_path.stat().st_size // 20
    whole = WholeImages({"ann_file": str(infos), "data_root": str(copy), "pipeline": []}, (8, 16))
    assert whole[0].images.shape == (2, 3, 8, 16)
    assert whole[0].names == [view.superpixels_path.name for view in pairs[0].cameras]


def test_one_file_elsewhere_gives_all_of_its_kind_their_path(copy: Path) -> None:
    """One prefix of a reader must do for all files of a kind."""

    def move(rows: Rows) -> None:
        row = next(r for r in rows if "samples/CAM_BACK" in r["filename"])
        (copy / "more").mkdir()
        (copy / row["filename"]).rename(copy / "more" / Path(row["filename"]).name)
        row["filename"] = f"more/{Path(row['filename']).name}"

    change(copy, "sample_data", move)
    names = [frame["images"]["CAM_BACK"]["img_path"] for frame in convert(copy)]
    assert [name.rpartition("/")[0] for name in names] == ["more", *["samples/CAM_BACK"] * 2]


@pytest.mark.parametrize("name", ["../x", "/etc/hosts", "a/../../b", "C:\\x", "", None, 3])
def test_names_of_info_files_stay_below_the_root(tmp_path: Path, name: Any) -> None:
    with pytest.raises(DataError):
        InfoPaths(tmp_path, {})(name, "pts")
    if name:
        with pytest.raises(DataError):
            superpixels_name({"superpixels_path": name})
    with pytest.raises(DataError):
        superpixels_name({"sample_data_token": f"../{name}"})


def test_the_files_size_wins_over_the_tables(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(copy, "sample_data", lambda rows: [r.update(width=1600, height=900) for r in rows])
    with caplog.at_level(logging.WARNING):
        frames = convert(copy)
    images = [image for frame in frames for image in frame["images"].values()]
    assert {(image["width"], image["height"]) for image in images} == {SIZE}
    assert "a, CAM_FRONT: sample_data.json says 1600 x 900, the images are 80 x 45" in caplog.text


def test_two_sizes_of_one_camera(copy: Path) -> None:
    """The first image has another size than the table: the others are opened as well."""
    first = sorted((copy / "samples/CAM_FRONT").glob("a*"))[0]
    Image.new("RGB", (40, 30)).save(first)
    images = [frame["images"]["CAM_FRONT"] for frame in convert(copy)]
    assert [(i["width"], i["height"]) for i in images] == [(40, 30), SIZE, SIZE]


def test_another_number_of_columns(copy: Path) -> None:
    for folder in ("samples", "sweeps"):
        for path in (copy / folder / "LIDAR_TOP").iterdir():
            np.fromfile(path, "<f4").reshape(-1, 5)[:, :4].tofile(path)
    frames = convert(copy, columns=4)
    assert {frame["lidar_points"]["num_pts_feats"] for frame in frames} == {4}
    with pytest.raises(ValueError, match="3 or more"):
        convert(copy, columns=2)


def test_contents_of_the_data(copy: Path) -> None:
    convert(copy)
    contents = load_infos(copy.parent / "out/lidistill_infos_train.pkl").metainfo["contents"]
    rows = json.loads((copy / VERSION / "sample_annotation.json").read_text())
    assert contents["frames"] == 3
    assert contents["clouds"] == 1
    assert sum(entry["boxes"] for entry in contents["boxes"].values()) == len(rows) // 2
    assert contents["boxes"]["animal"]["class"] is None
    assert list(contents["columns"]) == ["x", "y", "z", "intensity", "ring"]
    assert set(contents["cameras"]) == {"CAM_FRONT", "CAM_BACK"}


def test_a_scene_without_samples_and_a_split_of_such(copy: Path) -> None:
    change(copy, "scene", lambda rows: rows.append({**rows[0], "token": "c", "name": "c"}))
    splits = {"train": ["a", "c"], "val": ["b"]}
    (copy / VERSION / "splits.json").write_text(json.dumps(splits))
    assert len(convert(copy)) == 3
    (copy / VERSION / "splits.json").write_text(json.dumps({"train": ["c"], "val": ["b"]}))
    with pytest.raises(
        DataError, match=r"(?s)No scene of split 'train' \(1\) has a sample.*sample"
    ):
        convert(copy)


def test_two_scenes_of_one_name_are_named(copy: Path) -> None:
    """All that follows knows a scene by its name: splits, object banks, tracks."""
    change(copy, "scene", lambda rows: rows[1].update(name="a"))
    with pytest.raises(DataError, match="another scene is called 'a' too"):
        convert(copy)


def test_defaults_are_of_keys_that_the_schema_knows() -> None:
    for name, defaults in DEFAULTS.items():
        assert defaults.keys() <= TABLES[name].keys()


def test_time_is_counted_from_the_scan(copy: Path) -> None:
    """A sample may be stamped by a camera, or by another LiDAR than the one that is chosen."""
    before = convert(copy)
    change(
        copy,
        "sample",
        lambda rows: [row.update(timestamp=row["timestamp"] - 60_000) for row in rows],
    )
    after = convert(copy)
    assert [f["timestamp"] for f in after] == [f["timestamp"] for f in before]
    lags = [
        f["timestamp"] - f["lidar_sweeps"][0]["timestamp"] for f in after if "lidar_sweeps" in f
    ]
    assert min(lags) > 0
