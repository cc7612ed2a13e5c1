# SPDX-License-Identifier: Apache-2.0
"""Mean Teacher with pseudo labels: begins as a detector of the labelled scenes, then follows.

An untrained moving average has sure boxes too; they would be the labels that it begins with.
"""

from lidistill.hooks import EMATeacherHook
from lidistill.hooks.pretrained import PretrainedParts

pseudo = dict(teacher="teacher", score=0.3)
follow = [
    dict(type=PretrainedParts, checkpoint="stage://detector", parts=dict(student="")),
    dict(type=EMATeacherHook, momentum=0.99),  # begins as the student
]
