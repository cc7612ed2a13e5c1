# SPDX-License-Identifier: Apache-2.0
"""A scene: things on a ground, an ego path and the light, all as functions of absolute time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.world.catalog import KINDS
from lidistill.world.ground import Ground
from lidistill.world.scene.blueprint import BOTTOM_MARGIN, CLEARANCE, Blueprint

Array = NDArray[np.float64]


@dataclass
class Thing:
    """A blueprint that stands or moves in the scene (world frame, metres, radians, seconds)."""

    plan: Blueprint
    x: float
    y: float
    yaw: float
    speed: float = 0.0
    turn: float = 0.0
    parked: bool = False

    @property
    def kind(self) -> str:
        """Key into the catalogue of kinds."""
        return self.plan.kind

    @property
    def boxed(self) -> bool:
        """Whether the thing carries an annotated box."""
        return KINDS[self.kind].detection is not None

    def pose(self, time: float) -> tuple[float, float, float]:
        """Position x, y and yaw at ``time``: constant speed and turn rate."""
        if self.speed == 0.0:
            return self.x, self.y, self.yaw
        yaw = self.yaw + self.turn * time
        if abs(self.turn) < 1e-6:
            step = self.speed * time
            return self.x + step * math.cos(yaw), self.y + step * math.sin(yaw), yaw
        radius = self.speed / self.turn
        x = self.x + radius * (math.sin(yaw) - math.sin(self.yaw))
        return x, self.y - radius * (math.cos(yaw) - math.cos(self.yaw)), yaw


@dataclass(frozen=True)
class EgoPath:
    """The ego drives along +x and sways a little within its lane."""

    speed: float
    lane_y: float
    sway: float
    rate: float
    phase: float

    def pose(self, time: float) -> tuple[float, float, float]:
        """Position x, y and yaw at ``time``."""
        angle = self.rate * time + self.phase
        slope = self.sway * self.rate * math.cos(angle)
        return (
            self.speed * time,
            self.lane_y + self.sway * math.sin(angle),
            math.atan2(slope, self.speed),
        )


@dataclass(frozen=True)
class Light:
    """Illumination and camera response of a scene."""

    sun: Array  # (3,) unit vector towards the sun
    ambient: float
    exposure: float
    white_balance: Array  # (3,)
    haze: float  # metres
    zenith: Array  # (3,)
    horizon: Array  # (3,)
    noise: float  # standard deviation, 0-1 scale
    lidar_dropout: float  # extra share of lost returns (rain)


@dataclass(frozen=True)
class Snapshot:
    """The scene at one instant, as the kernels read it. The ego's own body is the last object.

    Attributes:
        prim: (P, 11) float64, columns of :mod:`primitives`, world frame.
        kinds: (P,) int32 shape; material: (P,) int32; owner: (P,) int32 index of the thing.
        tint: (P, 3) float64; reflectivity: (P,) float64.
        span: (O, 2) int64 first and last + 1 primitive of each object.
    """

    prim: Array
    kinds: NDArray[np.int32]
    material: NDArray[np.int32]
    owner: NDArray[np.int32]
    tint: Array
    reflectivity: Array
    span: NDArray[np.int64]
    ground: Ground


@dataclass
class Scene:
    """Everything the sensors can see."""

    name: str
    description: str
    things: list[Thing]
    ground: Ground
    marks: Array  # (K, 6) y, half width, dash period, dash length, x0, x1 of painted marks
    ground_tints: Array  # (M, 3) tint of each ground material
    light: Light
    ego: EgoPath
    ego_body: Blueprint
    seed: int
    _static: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        plans = [thing.plan for thing in self.things] + [self.ego_body]
        counts = np.array([len(plan.prim) for plan in plans])
        ends = np.cumsum(counts)
        self._static: dict[str, Any] = {
            "local": np.concatenate([plan.prim for plan in plans]),
            "kinds": np.concatenate([plan.shapes for plan in plans]),
            "material": np.concatenate([plan.materials for plan in plans]),
            "tint": np.concatenate([plan.tints for plan in plans]),
            "reflectivity": np.concatenate([plan.reflectivity for plan in plans]),
            "owner": np.repeat(np.arange(len(plans), dtype=np.int32), counts),
            "span": np.stack([ends - counts, ends], axis=1),
        }
        self._rest = np.array([thing.pose(0.0) for thing in self.things]).reshape(-1, 3)
        self._sizes = np.array([thing.plan.size for thing in self.things]).reshape(-1, 3)
        self._boxed = np.array([thing.boxed for thing in self.things], dtype=bool)
        self._base = self._stand(np.arange(len(self.things)), self._rest)
        movers = [k for k, thing in enumerate(self.things) if thing.speed != 0.0]
        self._movers = np.array(movers, dtype=np.int64)

    def _stand(self, which: NDArray[np.int64], rest: Array) -> Array:
        """(M,) height of the base of things ``which`` at poses (M, 3) x, y, yaw.

        What carries a box stands over the highest ground under its footprint's corners and middle.
        """
        offsets = np.array([[0, 0], [1, 1], [1, -1], [-1, 1], [-1, -1]]) / 2
        boxed = self._boxed[which]
        local = offsets * self._sizes[which][:, None, :2] * boxed[:, None, None]  # (M, 5, 2)
        cos, sin = np.cos(rest[:, 2])[:, None], np.sin(rest[:, 2])[:, None]
        x = rest[:, None, 0] + cos * local[..., 0] - sin * local[..., 1]
        y = rest[:, None, 1] + sin * local[..., 0] + cos * local[..., 1]
        found = self.ground.look_up(np.stack([x, y], axis=-1).reshape(-1, 2))[:, 1]
        return np.asarray(found.reshape(-1, 5).max(axis=1) + CLEARANCE * boxed)

    def poses(self, time: float) -> Array:
        """(O, 4) x, y, z of the base, yaw of every thing at ``time``."""
        poses = np.concatenate([self._rest[:, :2], self._base[:, None], self._rest[:, 2:]], axis=1)
        if len(self._movers):
            moved = np.array([self.things[k].pose(time) for k in self._movers])
            poses[self._movers, :2], poses[self._movers, 3] = moved[:, :2], moved[:, 2]
            poses[self._movers, 2] = self._stand(self._movers, moved)
        return poses

    def boxes(self, time: float) -> Array:
        """(O, 7) x, y, z of the centre, l, w, h, yaw of every thing at ``time``, world frame."""
        poses = self.poses(time)
        centre = poses[:, 2] - BOTTOM_MARGIN + 0.5 * self._sizes[:, 2]
        return np.concatenate([poses[:, :2], centre[:, None], self._sizes, poses[:, 3:]], axis=1)

    def snapshot(self, time: float) -> Snapshot:
        """The scene's primitives in the world frame at ``time`` seconds."""
        x, y, yaw = self.ego.pose(time)
        poses = np.concatenate([self.poses(time), [[x, y, 0.0, yaw]]])
        s = self._static
        pose = poses[s["owner"]]
        cos, sin = np.cos(pose[:, 3]), np.sin(pose[:, 3])
        prim = s["local"].copy()
        local = s["local"]
        prim[:, 0] = pose[:, 0] + cos * local[:, 0] - sin * local[:, 1]
        prim[:, 1] = pose[:, 1] + sin * local[:, 0] + cos * local[:, 1]
        prim[:, 2] += pose[:, 2]
        prim[:, 6] = cos * local[:, 6] - sin * local[:, 7]
        prim[:, 7] = sin * local[:, 6] + cos * local[:, 7]
        return Snapshot(
            prim,
            s["kinds"],
            s["material"],
            s["owner"],
            s["tint"],
            s["reflectivity"],
            s["span"],
            self.ground,
        )
