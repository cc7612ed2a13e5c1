# SPDX-License-Identifier: Apache-2.0
"""Files: written whole or not at all, read with checks, refused with an error that helps.

Everything that lidistill derives (info files, superpixels, caches) is written through
:func:`atomic_write` and described by a manifest beside it.
"""

from lidistill.io.atomic import atomic_write
from lidistill.io.errors import FILE_AGAIN, INFOS_AGAIN, DataError, read_bytes
from lidistill.io.glance import evenly, glance
from lidistill.io.images import (
    NO_REGION,
    image_bytes,
    image_size,
    read_image,
    read_label_map,
    write_label_map,
)
from lidistill.io.locks import exclusive
from lidistill.io.manifest import manifest_path, read_manifest, write_manifest
from lidistill.io.names import inside, ordered_files, plain_name
from lidistill.io.plain_pickle import dump_pickle, load_pickle
from lidistill.io.points import NonFinite, finite_points, finite_rows, point_count, read_points
from lidistill.io.records import fields
from lidistill.io.text import read_json, read_text, write_json
from lidistill.parallel import available_cpus, parallel

__all__ = [
    "FILE_AGAIN",
    "INFOS_AGAIN",
    "NO_REGION",
    "DataError",
    "NonFinite",
    "atomic_write",
    "available_cpus",
    "dump_pickle",
    "evenly",
    "exclusive",
    "fields",
    "finite_points",
    "finite_rows",
    "glance",
    "image_bytes",
    "image_size",
    "inside",
    "load_pickle",
    "manifest_path",
    "ordered_files",
    "parallel",
    "plain_name",
    "point_count",
    "read_bytes",
    "read_image",
    "read_json",
    "read_label_map",
    "read_manifest",
    "read_points",
    "read_text",
    "write_json",
    "write_label_map",
    "write_manifest",
]
