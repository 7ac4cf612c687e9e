"""Prints the scalars that TensorBoard finds in a folder, as JSON: {tag: [[step, value], …]}."""

import json
import sys

from tensorboard.backend.event_processing import event_accumulator

everything = {event_accumulator.SCALARS: 0}
accumulator = event_accumulator.EventAccumulator(sys.argv[1], size_guidance=everything)
accumulator.Reload()
tags = accumulator.Tags()["scalars"]
print(json.dumps({tag: [[event.step, event.value] for event in accumulator.Scalars(tag)] for tag in tags}))
