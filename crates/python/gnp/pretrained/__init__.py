"""Models in the layout of Hugging Face.

| Module | What it is |
|---|---|
| ``folder`` | ``from_pretrained``: which file is the model, and what belongs to it |
| ``texts`` | texts as the model takes them |
| ``pictures`` | what pictures are to be before |
| ``writing`` | a trained model in the same layout |
"""

from __future__ import annotations

from .folder import Pretrained, from_pretrained
from .pictures import Pictures

__all__ = ["Pictures", "Pretrained", "from_pretrained"]
