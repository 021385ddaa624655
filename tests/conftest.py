"""Shared by all tests: the toy method can be imported, and JAX stays on the CPU unless told."""

import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("CDIS_CACHE_DIR", "")  # no programs of earlier runs
sys.path.insert(0, str(Path(__file__).parent))
