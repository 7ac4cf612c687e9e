"""The memory and the time of a step whose batch is taken in parts, or whose activations are computed again.

A vision transformer of 12 blocks (ViT-Ti, patches of 4×4 at 32×32 pixels) with 64 images a batch, and the example
`models/cnn` with 1024, in ONNX Runtime on one thread. Each step model is run in a process of its own: the memory is how
much higher its peak is than it was when the model was loaded, the time that of the processor, the least of three steps.

    cargo build --release && python benches/compare/memory.py
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

ROOT = Path(__file__).parents[2]
WAYS = [[], ["--accumulate", "4"], ["--recompute"], ["--accumulate", "4", "--recompute"]]


def transformer() -> onnx.ModelProto:
    sys.path.insert(0, str(ROOT / "models"))
    import architectures
    from network import Network

    net = Network("vit", [3, 32, 32], architectures.OPSET, seed=4)
    x = architectures.embed(net, channels=3, patch=4, width=192, patches=64)
    for i in range(12):
        x = architectures.attention(net, x, f"block{i}.attention", 192, heads=3)
        x = architectures.feed_forward(net, x, f"block{i}.mlp", 192, ratio=4)
    architectures.classify(net, x, 192)
    return net.to_model(architectures.CLASSES)


def measure(step: str, batch: int, r: float) -> None:
    options = onnxruntime.SessionOptions()
    options.enable_mem_pattern = False
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(step, options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    rng = np.random.default_rng(0)
    feeds = {
        image.name: rng.standard_normal([batch, *image.shape[1:]]).astype(np.float32),
        "labels": rng.integers(0, 10, batch),
        "gnp.r": np.array(r, np.float32),
    }
    loaded = peak()
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        session.run(["loss", "gnp.grad_norm"], feeds)
        seconds.append(time.process_time() - begin)
    print(f"{peak() - loaded:.0f} {min(seconds):.2f}")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rewrite", default=ROOT / "target/release/gnp-rewrite", type=Path)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step, batch, r = arguments.step
        measure(step, int(batch), float(r))
        return
    with tempfile.TemporaryDirectory() as folder:
        vit = Path(folder) / "vit.onnx"
        onnx.save(transformer(), vit)
        print("| network | | plain, MiB | plain, s | GNP, MiB | GNP, s |\n|---|---|---:|---:|---:|---:|")
        for name, model, batch in [("ViT-Ti", vit, 64), ("cnn", ROOT / "models/cnn/model.onnx", 1024)]:
            for way in WAYS:
                step = Path(folder) / "step.onnx"
                flags = ["--loss", "cross-entropy", "--force", "--quiet", *way]
                subprocess.run([arguments.rewrite, model, "-o", step, *flags], check=True)
                again = [sys.executable, __file__, "--step", step, str(batch)]
                runs = [subprocess.run([*again, r], check=True, capture_output=True, text=True) for r in ("0", "0.1")]
                cells = " | ".join(" | ".join(run.stdout.split()) for run in runs)
                print(f"| {name} | {f'`{chr(32).join(way)}`' if way else ''} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
