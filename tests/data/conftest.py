"""So that the tests here, and nothing else, can import tiny_store."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
