"""``python -I -S .../keeper SOCKET``: serve requests that come over an inherited socket."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[4]))
    from wit.sandboxes.local.keeper.service import serve

    serve(int(sys.argv[1]))
