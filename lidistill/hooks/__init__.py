# SPDX-License-Identifier: Apache-2.0
"""mmengine hooks: lifecycle only. Losses cannot live here (forward, loss and step are one call)."""

from lidistill.hooks.audit import AuditHook
from lidistill.hooks.checkpoint import AtomicCheckpointHook
from lidistill.hooks.ema_teacher import EMATeacherHook
from lidistill.hooks.finite_loss import FiniteLossHook
from lidistill.hooks.monitor import MonitorHook
from lidistill.hooks.progress import ProgressBarHook
from lidistill.hooks.schedule import ScheduleHook
from lidistill.hooks.teacher_guided import TeacherGuidedInit

__all__ = [
    "AtomicCheckpointHook",
    "AuditHook",
    "EMATeacherHook",
    "FiniteLossHook",
    "MonitorHook",
    "ProgressBarHook",
    "ScheduleHook",
    "TeacherGuidedInit",
]
