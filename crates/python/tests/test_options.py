"""The keyword arguments are the programs' flags, and the package has its types."""

import subprocess
import sys
from pathlib import Path

import gnp

HERE = Path(__file__).parent


def test_options_are_written_down():
    script = HERE.parent / "options.py"
    written = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True, check=True)
    assert written.stdout == (HERE.parent / "gnp/options.py").read_text("utf-8"), (
        "python -I crates/python/options.py > crates/python/gnp/options.py"
    )


def test_every_name_is_there():
    for name in gnp.__all__:
        assert getattr(gnp, name) is not None
    assert (Path(gnp.__file__).parent / "py.typed").is_file()


def test_importing_it_imports_little():
    script = (
        "import sys, gnp; assert not {'onnx', 'torch', 'onnxruntime', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
