"""Describes what machines offer (GPU, node, cluster, prices), and loads, validates and merges YAML catalogs."""

from hardware.catalog import Catalog
from hardware.cluster import Cluster, has_room
from hardware.errors import CatalogError, PlannerError, UnknownNameError, nearest_names, normalized
from hardware.fields import GIB, MIB
from hardware.gpu import GPU, Dtype, Link, PeakFlops
from hardware.loading import CATALOG_VARIABLE, builtin_catalog_path, load_catalog, read_catalog
from hardware.machine import Machine
from hardware.sustained import Sustained

__all__ = [
    "CATALOG_VARIABLE",
    "GIB",
    "GPU",
    "MIB",
    "Catalog",
    "CatalogError",
    "Cluster",
    "Dtype",
    "Link",
    "Machine",
    "PeakFlops",
    "PlannerError",
    "Sustained",
    "UnknownNameError",
    "builtin_catalog_path",
    "has_room",
    "load_catalog",
    "nearest_names",
    "normalized",
    "read_catalog",
]
