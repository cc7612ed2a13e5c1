# SPDX-License-Identifier: Apache-2.0
"""Do the defaults on the teacher's side cost quality? One image network, used in two forms.

At demo size on the embedded world: the network is trained once, without labels; then SLidR learns
from it in the authors' form (dilated to stride 4, upsampled to every pixel) and in ours (stride
16, read between the cells), the latter in bfloat16 too. Compare by ``lidistill test`` (linear
probe), or all at once by ``lidistill evidence teacher_form``.
"""

bfloat16 = {
    "model.teacher.autocast": "bfloat16",
    "optim_wrapper.type": "lidistill.engine.amp.BFloat16OptimWrapper",  # as --amp
}

stages = [
    dict(name="image_network", config="teacher_form_network.py"),
    dict(name="authors_form", config="teacher_form_authors.py"),
    dict(name="default_form", config="teacher_form_default.py"),
    dict(name="bfloat16_form", config="teacher_form_default.py", options=bfloat16),
]
