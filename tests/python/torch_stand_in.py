"""Lets `onnxruntime.training` be imported where PyTorch is not installed.

`onnxruntime.training` imports torch for its PyTorch front end as soon as it is imported itself. The artifact generator
and `onnxruntime.training.api` never call it, so hollow modules are enough for them. With PyTorch installed, this does
nothing.

    python torch_stand_in.py SCRIPT ARGUMENTS

runs a script that way.
"""

import runpy
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from unittest.mock import MagicMock


class _HollowModule(ModuleType):
    """A module in which every name exists and means nothing."""

    __version__ = "2.0.0"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"{self.__name__}.{name}")


class _TorchFinder(MetaPathFinder, Loader):
    """Finds `torch` and every module below it."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] == "torch":
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return _HollowModule(spec.name)

    def exec_module(self, module):
        pass


def install():
    """Makes `import torch` succeed, with hollow modules unless PyTorch is installed."""
    if find_spec("torch") is None:
        sys.meta_path.append(_TorchFinder())


if __name__ == "__main__":
    install()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
