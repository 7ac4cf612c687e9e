"""Writes the comparison's models as ONNX Runtime training artifacts: pip install -r models/requirements.txt, then

    python benches/compare/artifacts.py FOLDER
"""

import sys
from pathlib import Path

import models
from make import write_artifacts

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for network in models.MODELS.values():
        write_artifacts(network(), folder)
