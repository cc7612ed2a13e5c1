# SPDX-License-Identifier: Apache-2.0
"""SLidR with our defaults on the teacher's side: a twelfth of its arithmetic, else as published.

The ResNet-50 keeps stride 16 (the authors dilate it to 4) and runs in bfloat16; regions are read
between its cells, so no map of the image's size is ever made. Whether that costs quality is
measured at demo size by ``teacher_form.py``. Weights and superpixels: ``minkunet_r50_nuscenes.py``.
"""

from mmengine.config import read_base

with read_base():
    from .minkunet_r50_nuscenes import *

model["teacher"]["model"].update(stride=16)
model["teacher"].update(autocast="bfloat16")
model["image_head"].update(upsample=1)
