"""What a protobuf message can hold."""

from __future__ import annotations

#: Bytes of weights in a model in memory: two gigabytes, less what nodes and names take.
LARGEST = 2**31 - 2**24
