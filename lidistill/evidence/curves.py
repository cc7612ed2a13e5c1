# SPDX-License-Identifier: Apache-2.0
"""Reading a curve: metric over steps, where it bends, and what counts as a gain above it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lidistill.evaluation.results import ResultRow, compared, summarise, with_spread
from lidistill.evidence.record import MORE_STEPS, Evidence, EvidenceRow


def points_of(rows: Sequence[EvidenceRow], curve: str) -> list[EvidenceRow]:
    """The points of a curve, by steps."""
    return sorted((row for row in rows if row.curve == curve), key=lambda row: row.steps)


def curve_names(rows: Sequence[EvidenceRow]) -> list[str]:
    """Names of the curves of a table, in its order."""
    return list(dict.fromkeys(row.curve for row in rows if row.curve))


def best_of(points: Sequence[EvidenceRow]) -> EvidenceRow:
    """The point with the highest mean; the earliest of equal ones."""
    return max(points, key=lambda row: summarise(row, ()).mean)


def bent(points: Sequence[ResultRow]) -> bool:
    """Whether the last doubling of the steps added less than the spread over seeds.

    The spread is that of the two points together. One seed has none: its curve goes on to the cap.
    So does one that is within the spread of zero: it has not left the ground yet.
    """
    if len(points) < 2:
        return False
    before, last = (summarise(point, ()) for point in points[-2:])
    spread = _pooled(before.spread, last.spread)
    return last.mean - before.mean < spread < last.mean


def refusal(teacher: ResultRow, points: Sequence[EvidenceRow]) -> str:
    """Why a teacher cannot show what teaching is worth; empty where it can.

    It must be ahead of the best that the student reaches alone, by more than the spread.
    """
    best = best_of(points)
    ours, theirs = summarise(teacher, ()), summarise(best, ())
    spread = _pooled(ours.spread, theirs.spread)
    if ours.mean - theirs.mean > (0.0 if math.isnan(spread) else spread):
        return ""
    return (
        f"the teacher {teacher.name!r} reaches {with_spread(ours.mean, ours.spread)}, which is not "
        f"ahead of the plateau of its student alone: {with_spread(theirs.mean, theirs.spread)} "
        f"({best.name})"
    )


def verdicts(evidence: Evidence) -> list[str]:
    """What the curves say, a sentence each: where the twin's ends, and who is above its best."""
    found = []
    for name in curve_names(evidence.rows):
        points = points_of(evidence.rows, name)
        twin = _twin_curve(points, evidence.rows)
        if twin is None:
            found.append(_end(name, points, evidence.caps.get(name, points[-1].steps)))
        else:
            longer = [row for row in evidence.rows if row.note == MORE_STEPS and not row.curve]
            found.append(gain(name, points, twin, points_of(evidence.rows, twin), longer))
    if evidence.refused:
        found.append(f"Refused: {evidence.refused}. Such a table says nothing about teaching.")
    return found


def gain(
    name: str,
    points: Sequence[EvidenceRow],
    twin: str,
    baseline: Sequence[EvidenceRow],
    longer: Sequence[EvidenceRow] = (),
) -> str:
    """Whether a method's best point is above the best point of its twin's curve.

    Args:
        name: of the method's curve.
        points: of it.
        twin: name of the curve of its student alone.
        baseline: points of that.
        longer: its student alone with more steps, beside the curve; where the best of them is above
            the curve's best, a gain is one above it.
    """
    ours, theirs = best_of(points), best_of(baseline)
    mine, other = compared(ours, theirs), summarise(theirs, ())
    head = (
        f"{name}: {with_spread(mine.mean, mine.spread)} at its best ({ours.steps:g}x steps); "
        f"{twin} at its best {with_spread(other.mean, other.spread)} ({theirs.steps:g}x)"
    )
    above = "the best point of the twin's curve"
    control = best_of([theirs, *longer])
    if control is not theirs:
        further = summarise(control, ())
        head += f", {control.name} {with_spread(further.mean, further.spread)}"
        above, mine = f"{control.name!r}", compared(ours, control)
    paired = with_spread(mine.difference, mine.difference_spread, "+")
    if mine.beyond_spread and mine.difference > 0:
        return f"{head}: a gain of {paired} above {above}."
    if mine.difference > 0:
        return f"{head}: {paired}, not beyond the spread, so no gain."
    return f"{head}: {paired}, no gain."


def _end(name: str, points: Sequence[EvidenceRow], cap: float) -> str:
    best, summary = best_of(points), summarise(best_of(points), ())
    head = (
        f"{name}, the curve that counts: best at {best.steps:g}x steps, "
        f"{with_spread(summary.mean, summary.spread)}"
    )
    last = points[-1].steps
    if bent(points):
        return f"{head}; the doubling to {last:g}x added less than the spread."
    if last >= cap:
        return f"{head}; it still rose at its cap of {cap:g}x, so its plateau is not known."
    return f"{head}; it ends at {last:g}x, before its cap of {cap:g}x."


def _twin_curve(points: Sequence[EvidenceRow], rows: Sequence[EvidenceRow]) -> str | None:
    """Name of the curve that a curve's twins are points of."""
    twins = {point.twin for point in points} - {None}
    return next((row.curve for row in rows if row.name in twins and row.curve), None)


def _pooled(one: float, other: float) -> float:
    """Standard deviation of two groups together; NaN where one has none."""
    return math.sqrt((one**2 + other**2) / 2)
