# SPDX-License-Identifier: Apache-2.0
"""KITTI's protocol as it reads, in plain Python and double precision: the oracle of the tests."""

from __future__ import annotations

import math

NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}
LIMITS = ((40, 0, 0.15), (25, 1, 0.3), (25, 2, 0.5))  # height, occlusion, truncation


def corners(x, z, length, width, turn):
    """Corners on the ground, in order."""
    cos, sin = math.cos(turn), math.sin(turn)
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    points = [(a * length / 2, b * width / 2) for a, b in signs]
    return [(x + cos * a + sin * b, z - sin * a + cos * b) for a, b in points]


def signed_area(polygon):
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs) / 2


def clipped(polygon, other):
    """The part of a polygon within another convex one that turns to the left."""
    for (ax, ay), (bx, by) in zip(other, other[1:] + other[:1], strict=True):
        sides = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in polygon]
        kept = []
        for i, (x, y) in enumerate(polygon):
            j = (i + 1) % len(polygon)
            if sides[i] >= 0:
                kept.append((x, y))
            if sides[i] * sides[j] < 0:
                part = sides[i] / (sides[i] - sides[j])
                kept.append((x + part * (polygon[j][0] - x), y + part * (polygon[j][1] - y)))
        polygon = kept
        if not polygon:
            return []
    return polygon


def space_overlap(a, b, with_height):
    """Of boxes x, y bottom, z, l, h, w, rotation_y."""
    if math.hypot(a[0] - b[0], a[2] - b[2]) > (math.hypot(a[3], a[5]) + math.hypot(b[3], b[5])) / 2:
        return 0.0
    first, second = (corners(box[0], box[2], box[3], box[5], box[6]) for box in (a, b))
    first, second = (p if signed_area(p) > 0 else p[::-1] for p in (first, second))
    shared = abs(signed_area(clipped(first, second) or [(0, 0)]))
    sizes = a[3] * a[5], b[3] * b[5]
    if with_height:
        shared *= max(0.0, min(a[1], b[1]) - max(a[1] - a[4], b[1] - b[4]))
        sizes = sizes[0] * a[4], sizes[1] * b[4]
    return shared / (sum(sizes) - shared) if shared > 0 else 0.0


def image_overlap(a, b, over_first=False):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(r[2] - r[0]) * (r[3] - r[1]) for r in (a, b)]
    return width * height / (areas[0] if over_first else sum(areas) - width * height)


def rows_of(labels):
    """One dict an object."""
    return [
        {
            "name": name.lower(), "rect": labels.bbox[k].tolist(), "alpha": float(labels.alpha[k]),
            "box": [*labels.location[k].tolist(), *labels.size[k].tolist(),
                    float(labels.rotation_y[k])],
            "occluded": int(labels.occluded[k]), "truncated": float(labels.truncated[k]),
            "score": float(labels.score[k]),
        }
        for k, name in enumerate(labels.names)
    ]  # fmt: skip


def overlap_of(metric, found, truth):
    if metric == "bbox":
        return image_overlap(found["rect"], truth["rect"])
    return space_overlap(found["box"], truth["box"], metric == "3d")


def prepared(truth, found, name, metric, level, minimum):
    """Each frame: objects (counts?), detections (counts?), overlaps above the minimum, excuses."""
    height, occlusion, truncation = LIMITS[level]
    frames, name = [], name.lower()
    for labels, detections in zip(truth, found, strict=True):
        objects, areas = [], []
        for row in rows_of(labels):
            if row["name"] == "dontcare":
                areas.append(row["rect"])
            tall = row["rect"][3] - row["rect"][1] > height
            easy = tall and row["occluded"] <= occlusion and row["truncated"] <= truncation
            if row["name"] in (name, NEIGHBOURS.get(name)):
                objects.append((row, row["name"] == name and easy))
        candidates = []
        for row in rows_of(detections):
            tall = abs(row["rect"][3] - row["rect"][1]) >= height
            if row["name"] == name or not tall:
                candidates.append((row, tall))
        overlaps = {
            (d, g): value
            for g, (one, _) in enumerate(objects)
            for d, (other, _) in enumerate(candidates)
            if (value := overlap_of(metric, other, one)) > minimum
        }
        excuses = [
            metric == "bbox"
            and any(image_overlap(row["rect"], area, True) > minimum for area in areas)
            for row, _ in candidates
        ]
        frames.append((objects, candidates, overlaps, excuses))
    return frames


def matched(frame, threshold):
    """(object, detection) of one frame; without a threshold each takes its best-scored one."""
    objects, candidates, overlaps, _ = frame
    free, pairs = set(range(len(candidates))), []
    for g in range(len(objects)):
        near = [d for d in sorted(free) if (d, g) in overlaps]
        if threshold is None:
            best = max(near, key=lambda d: candidates[d][0]["score"], default=None)
        else:
            near = [d for d in near if candidates[d][0]["score"] >= threshold]
            valid = [d for d in near if candidates[d][1]]
            first = near[0] if near else None
            best = max(valid, key=lambda d: overlaps[d, g], default=first)
        if best is not None:
            free.discard(best)
            pairs.append((g, best))
    return pairs, free


def sampled(scores, objects):
    """Scores at which recall comes nearest to 0, 1/40, .. 1."""
    out, recall = [], 0.0
    scores = sorted(scores, reverse=True)
    for i, score in enumerate(scores):
        last = i == len(scores) - 1
        left, right = (i + 1) / objects, (i + 1 if last else i + 2) / objects
        if right - recall < recall - left and not last:
            continue
        out.append(score)
        recall += 1 / 40
    return out


def curves(truth, found, name, metric, level, minimum):
    """Interpolated precision and orientation similarity, 41 values each."""
    frames = prepared(truth, found, name, metric, level, minimum)
    objects = sum(counts for frame in frames for _, counts in frame[0])
    if not objects:
        return [math.nan] * 41, [math.nan] * 41
    scores = []
    for frame in frames:
        for g, d in matched(frame, None)[0]:
            if frame[0][g][1] and frame[1][d][1]:
                scores.append(frame[1][d][0]["score"])
    precision, similarity = [0.0] * 41, [0.0] * 41
    for index, threshold in enumerate(sampled(scores, objects)):
        right = wrong = 0
        alike = 0.0
        for frame in frames:
            pairs, free = matched(frame, threshold)
            for g, d in pairs:
                if frame[0][g][1] and frame[1][d][1]:
                    right += 1
                    turn = frame[0][g][0]["alpha"] - frame[1][d][0]["alpha"]
                    alike += (1 + math.cos(turn)) / 2
            wrong += sum(
                frame[1][d][1] and frame[1][d][0]["score"] >= threshold and not frame[3][d]
                for d in free
            )
        if right + wrong:
            precision[index], similarity[index] = right / (right + wrong), alike / (right + wrong)
    return (
        [max(precision[i:]) for i in range(41)],
        [max(similarity[i:]) for i in range(41)],
    )


def r40(curve):
    return 100 * sum(curve[1:]) / 40
