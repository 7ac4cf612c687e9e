"""One training step, plain and with the penalty, batch 32: the engines of gnp-run against PyTorch.

    cargo build --release && target/release/gnp-run engines install onnxruntime && target/release/gnp-run engines install training
    pip install onnx onnxruntime numpy torch
    python benches/compare/compare.py [--models wrn-16-2 vit-ti-4] [--steps 15] [--threads 2] [--profile FOLDER]

Stock ONNX Runtime and PyTorch take turns of a few steps, each in a process of its own, with a pause between: their idle threads wait by
spinning, and would take the processor from each other. The other engines run before them, in gnp-run. Times are medians;
what lasts of them is the ratios. What is not installed is left out. ONNX Runtime's training API needs artifacts: --artifacts FOLDER, which
artifacts.py writes.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime as ort

import models

ROOT = Path(__file__).resolve().parents[2]


class OnnxRuntime:
    """A step model on stock ONNX Runtime, its state bound, as gnp-run has it."""

    def __init__(self, path, threads, images, labels, profile=None):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.pairs = json.loads(metadata["gnp.state"])
        self.state = {}
        self.batch = {"input": ort.OrtValue.ortvalue_from_numpy(images), "labels": ort.OrtValue.ortvalue_from_numpy(labels)}
        self.results = [o.name for o in self.session.get_outputs() if not o.name.endswith(".next")]

    def step(self, r):
        binding = self.session.io_binding()
        # What has an initializer can be bound as an OrtValue alone.
        radius = ort.OrtValue.ortvalue_from_numpy(np.array(r, np.float32))
        for name, value in {**self.batch, **self.state, "gnp.r": radius}.items():
            binding.bind_ortvalue_input(name, value)
        names = self.results + [after for _, after in self.pairs]
        for name in names:
            binding.bind_output(name)
        begin = time.perf_counter()
        self.session.run_with_iobinding(binding)
        seconds = time.perf_counter() - begin
        values = dict(zip(names, binding.get_outputs()))
        self.state = {before: values[after] for before, after in self.pairs}
        return seconds


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(models.MODELS), choices=list(models.MODELS))
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--profile", type=Path, help="write ONNX Runtime's profile there and print where the time goes")
    parser.add_argument("--artifacts", type=Path, help="the folder that artifacts.py wrote")
    parser.add_argument("--programs", type=Path, default=ROOT / "target/release", help="the folder of gnp-run and gnp-rewrite")
    return parser.parse_args()


def time_model(name, arguments):
    random = np.random.default_rng(0)
    images = random.normal(size=(32, 3, 32, 32)).astype(np.float32)
    labels = random.integers(0, 10, 32)
    steppers = {}
    with tempfile.TemporaryDirectory() as folder:
        forward = models.write(name, Path(folder))
        step = Path(folder) / "step.onnx"
        command = [arguments.programs / "gnp-rewrite", forward, "-o", step, "--loss", "cross-entropy", "--quiet", "--dim", "batch=32"]
        subprocess.run([str(part) for part in command], check=True)
        others = gnp_run_times(name, step, images, labels, arguments)
        ours = OnnxRuntime(step, arguments.threads, images, labels, arguments.profile and arguments.profile / name)
        steppers["stock ONNX Runtime"] = lambda kind: ours.step(0.1 if kind == "GNP" else 0.0)
    peer, ours_of_it = multiprocessing.get_context("spawn").Pipe()
    worker = multiprocessing.get_context("spawn").Process(
        target=serve_pytorch, args=(ours_of_it, name, arguments.threads, images, labels), daemon=True
    )
    worker.start()
    if (problem := peer.recv()) is None:
        steppers["PyTorch eager"] = lambda kind: (peer.send(kind), peer.recv())[1]
    else:
        print(f"{name:10} PyTorch left out: {problem}")
    times = defaultdict(list)
    for turn in range(arguments.steps // 3 + 1):
        for engine, stepper in steppers.items():
            time.sleep(0.5)
            for kind in ["plain", "GNP"]:
                seconds = [stepper(kind) for _ in range(4)]
                # The first turn, and each turn's first step, warm up.
                times[engine, kind] += seconds[1:] if turn > 0 else []
    worker.kill()
    if arguments.profile:
        report(ours.session.end_profiling())
    return {key: statistics.median(values) for key, values in times.items()} | others


def serve_pytorch(connection, name, threads, images, labels):
    """Takes a step of the kind that is asked for and answers with its seconds; at first, with what keeps it from that."""
    try:
        import pytorch
    except (ImportError, OSError) as error:
        connection.send(str(error))
        return
    plain, gnp = pytorch.steps(name, threads, images, labels)
    connection.send(None)
    while True:
        connection.send((gnp if connection.recv() == "GNP" else plain)())


def gnp_run_times(name, step, images, labels, arguments):
    """The seconds of a step in tract, and in ONNX Runtime's training API where there are artifacts."""
    folder = step.parent
    steps = max(4, arguments.steps // 2)
    np.savez(folder / "data.npz", x_train=np.tile(images, (steps, 1, 1, 1)), y_train=np.tile(labels, steps))
    runs = {("tract", "plain"): (step, ["--r", "0", "--engine", "tract"]), ("tract", "GNP"): (step, ["--engine", "tract"])}
    if arguments.artifacts:
        plain, gnp = arguments.artifacts / name, folder / "gnp"
        subprocess.run([str(arguments.programs / "gnp-rewrite"), plain, "-o", gnp, "--quiet"], check=True)
        runs |= {("ONNX Runtime training", "plain"): (plain, []), ("ONNX Runtime training", "GNP"): (gnp, [])}
    times = {}
    for key, (model, flags) in runs.items():
        out = folder / "run"
        command = [arguments.programs / "gnp-run", model, "--data", folder / "data.npz", "--epochs", 1, "--batch-size", 32]
        command += ["--threads", arguments.threads, "--out", out, "--force", "--quiet", *flags]
        subprocess.run([str(part) for part in command], check=True)
        metrics = [json.loads(line) for line in open(out / "metrics.jsonl")]
        seconds = [line["seconds"] for line in metrics if line["kind"] == "step"]
        times[key] = statistics.median(seconds[2:])
    return times


def report(profile):
    """Where the time of the steps went, by operator."""
    spent = defaultdict(float)
    for event in json.load(open(profile)):
        operator = event.get("args", {}).get("op_name")
        if operator and event["name"].endswith("_kernel_time") and operator != "If":
            spent[operator] += event["dur"] / 1e3
    total = sum(spent.values())
    for operator, milliseconds in sorted(spent.items(), key=lambda item: -item[1])[:14]:
        print(f"    {operator:24}{milliseconds:10.0f} ms{milliseconds / total:8.1%}")


def main():
    arguments = parse()
    if arguments.profile:
        arguments.profile.mkdir(parents=True, exist_ok=True)
    print(f"{'model':10} {'engine':20} {'plain':>9} {'GNP':>9} {'GNP/plain':>10} {'GNP/PyTorch':>12}")
    for name in arguments.models:
        times = time_model(name, arguments)
        peer = times.get(("PyTorch eager", "GNP"))
        for engine in dict.fromkeys(engine for engine, _ in times):
            plain, gnp = times[engine, "plain"], times[engine, "GNP"]
            ratio = f"{gnp / peer:12.2f}" if peer else f"{'–':>12}"
            print(f"{name:10} {engine:20} {plain * 1e3:6.0f} ms {gnp * 1e3:6.0f} ms {gnp / plain:10.2f} {ratio}")


if __name__ == "__main__":
    main()
