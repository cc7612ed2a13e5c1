# SPDX-License-Identifier: Apache-2.0
"""Do the defaults on the teacher's side cost quality? One image network, used in two forms.

At demo size on the embedded world: the network is trained once, without labels; then SLidR learns
from it in the authors' form (dilated to stride 4, upsampled to every pixel) and in ours (stride
16, read between the cells). Compare by ``lidistill test`` (linear probe) on both.
"""

stages = [
    dict(name="image_network", config="teacher_form_network.py"),
    dict(name="authors_form", config="teacher_form_authors.py"),
    dict(name="default_form", config="teacher_form_default.py"),
]
