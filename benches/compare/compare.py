"""One training step, plain and with the penalty: gnp-run against its peers, on networks that PyTorch exports.

    cargo build --release && target/release/gnp-run engines install onnxruntime
    pip install onnx onnxruntime onnxscript torch torchvision timm          (and jax, onnxsim: what is not installed is left out)
    python benches/compare/compare.py [--write] [--networks wrn-16-2 …] [--threads 1 2] [--turns 7] [--device cuda]

All take turns of a few steps, each in a process of its own, and only one of them runs at a time (turns.py). Before a turn the
machine should be idle: that is waited for. Times are medians with quartiles; what lasts of them is the ratios. `gnp` is gnp-run on
stock ONNX Runtime, with the seconds of its metrics.jsonl: what it does to a graph when it loads it, and its kernels, are no others'.
ONNX Runtime's training API has a part where --artifacts names a folder that artifacts.py wrote; then
`gnp-run engines install training` too.

    python benches/compare/compare.py --profile [--write]

says where the time of our steps goes, and what they move beside PyTorch's. With --device cuda: how long the GPU is busy in a step.
--write puts the tables into docs/benchmarks.md.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import profiling
import table
import workload
from turns import CLOCKS, GnpRun, LeftOut, Measure, Process

HERE = Path(__file__).resolve().parent
# What others may use of the machine when a turn begins, in processors.
IDLE = 0.1


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(workload.SIDES), help="which [default: those for the device]")
    parser.add_argument("--engines", nargs="+", help="only these, by their names in the table")
    parser.add_argument("--threads", nargs="+", type=int, help="how many, in turn [default: 1 and one a core, on cuda 1]")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="steps that count in a turn, of each kind")
    parser.add_argument("--settle", type=float, default=3, help="seconds that several threads are busy before steps count")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="processor: on a busy machine, for one thread")
    parser.add_argument("--patience", type=float, default=5, help="seconds that a turn waits at most for an idle machine")
    parser.add_argument("--artifacts", type=Path, help="the folder that artifacts.py wrote")
    parser.add_argument("--programs", type=Path, default=HERE.parents[1] / "target/release", help="the folder of gnp-run and gnp-rewrite")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--profile", action="store_true", help="tell where the time of our steps goes")
    arguments = parser.parse_args()
    arguments.networks = arguments.networks or workload.NETWORKS[arguments.device]
    arguments.threads = arguments.threads or sorted({1, os.cpu_count() if arguments.device == "cpu" else 1})
    return arguments


def step_model(name, folder, arguments):
    """Exports a network, and makes a step model of it."""
    subprocess.run([sys.executable, HERE / "networks.py", folder, name], check=True, stdout=subprocess.DEVNULL)
    step = Path(folder, f"{name}.step.onnx")
    rewrite = [arguments.programs / "gnp-rewrite", Path(folder, f"{name}.onnx"), "-o", step, "--loss", "cross-entropy", "--quiet"]
    subprocess.run([*rewrite, "--dim", f"batch={workload.size(name, arguments.device)}"], check=True)
    return step


def measure(threads, arguments):
    """How a turn is measured."""
    # On a GPU the first steps choose algorithms, and are recorded.
    settle = arguments.settle if threads > 1 and arguments.clock == "wall" else 0
    return Measure(arguments.clock, 6 if arguments.device == "cuda" else 2, settle)


def gnp_run(name, step, engine, threads, arguments):
    """gnp-run on a step model."""
    models = {"plain": (step, ["--engine", engine, "--r", 0]), "GNP": (step, ["--engine", engine])}
    return GnpRun(measure(threads, arguments), arguments.programs / "gnp-run", models, name, threads, arguments.device)


def engines(name, step, folder, threads, arguments):
    """By name, what makes the engines of the comparison."""
    device, measured = arguments.device, measure(threads, arguments)

    def gnp(engine):
        return lambda: gnp_run(name, step, engine, threads, arguments)

    def training_api():
        plain, penalised = arguments.artifacts / name, Path(folder, "artifacts")
        if not (plain / "training_model.onnx").exists():
            raise LeftOut("its generator makes no artifacts of it")
        subprocess.run([arguments.programs / "gnp-rewrite", plain, "-o", penalised, "--quiet", "--force"], check=True)
        models = {"plain": (plain, []), "GNP": (penalised, [])}
        return GnpRun(measured, arguments.programs / "gnp-run", models, name, threads, device)

    yield "gnp", gnp("onnxruntime")
    for channels_last in [False, True]:
        for compiled in [False, True]:
            engine = "PyTorch" + ", channels_last" * channels_last + ", compiled" * compiled
            yield engine, lambda modes=(channels_last, compiled): Process(measured, "pytorch", name, threads, device, *modes)
    yield "JAX", lambda: Process(measured, "jax_step", name, threads, device)
    if arguments.artifacts:
        yield "ONNX Runtime training", training_api
    if device == "cpu":
        yield "onnxsim", lambda: Process(measured, "onnxsim_loop", name, threads)
        yield "gnp, tract", gnp("tract")


def others():
    """How many processors are busy while all who take turns wait."""

    def busy():
        # user, nice, system, idle, iowait, irq, softirq, steal: in hundredths of a second.
        fields = [int(field) for field in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
        return sum(fields) - fields[3] - fields[4]

    before, pause = busy(), 0.5
    time.sleep(pause)
    return (busy() - before) / os.sysconf("SC_CLK_TCK") / pause


def wait(patience):
    """Waits for an idle machine, and returns how many processors others keep busy when it has ended."""
    end = time.monotonic() + patience
    while (load := others()) > IDLE and time.monotonic() < end:
        pass
    return load


def time_network(name, times, arguments):
    """Adds the times of a network, and returns how busy others kept the machine at the turns."""
    loads = []
    with tempfile.TemporaryDirectory() as folder:
        step = step_model(name, folder, arguments)
        for threads in arguments.threads:
            # A process that is stopped outlives this one unless it is closed.
            with ExitStack() as closing:
                members = {}
                for engine, make in engines(name, step, folder, threads, arguments):
                    if arguments.engines and engine not in arguments.engines:
                        continue
                    try:
                        members[engine] = make()
                        closing.callback(members[engine].close)
                    except LeftOut as reason:
                        print(f"{name}, threads {threads}: {engine} left out: {reason}", file=sys.stderr)
                for _ in range(arguments.turns):
                    loads += take_turns(members, times, f"{name}, threads {threads}", threads, arguments)
    return loads


def take_turns(members, times, place, threads, arguments):
    """Everybody's turn, once. Who fails is no member any more."""
    loads = []
    for engine, member in list(members.items()):
        try:
            for kind in member.kinds:
                loads.append(wait(arguments.patience))
                times.add(engine, kind, threads, member.turn(kind, arguments.steps))
        except LeftOut as reason:
            print(f"{place}: {engine} stopped: {reason}", file=sys.stderr)
            del members[engine]
    return loads


def compare(arguments):
    networks, loads = {name: table.Times() for name in arguments.networks}, []
    for name, times in networks.items():
        loads += time_network(name, times, arguments)
        print("\n".join(table.details({name: times}, arguments.threads)), file=sys.stderr, flush=True)
    lines = [*table.summary(networks, arguments.threads), "", *table.details(networks, arguments.threads), ""]
    load = f"When a turn began, others kept {statistics.median(loads):.1f} of {os.cpu_count()} processors busy (median)."
    lines.append("Seconds that pass. " + load if arguments.clock == "wall" else "Seconds of the processor. " + load)
    print("\n".join(lines))
    if arguments.write:
        table.write("compare.py", lines)


def profile(arguments):
    """Prints the profile of each network on one thread."""
    rows = ["| network | step | nodes | MB | PyTorch's kernels | MB | where our time goes |", "|---|---|---:|---:|---:|---:|---|"]
    for name in arguments.networks:
        with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as pytorch:
            step = step_model(name, folder, arguments)
            if arguments.device == "cuda":
                for engine, kind, busy, launches in pytorch.submit(_gpu, name, step).result():
                    print(f"{name:20}{engine:34}{kind:8}{busy:8.1f} ms busy{launches:8.0f} launches", flush=True)
                continue
            gnp = gnp_run(name, step, "onnxruntime", 1, arguments)
            for kind in gnp.kinds:
                operators = gnp.profile(kind, 6)
                kernels, megabytes = pytorch.submit(_traffic, name, kind).result()
                print(f"\n{name}, {kind}, one thread")
                print("\n".join(profiling.lines(operators)))
                print(f"{'PyTorch eager':24}{kernels:7}{'':17}{megabytes:9.0f}", flush=True)
                ours = profiling.total(operators)
                first = ", ".join(f"{operator} {100 * share:.0f} %" for operator, _, share in profiling.ranked(operators, 6))
                rows.append(f"| {name} | {kind} | {ours.nodes:.0f} | {ours.megabytes:.0f} | {kernels} | {megabytes:.0f} | {first} |")
    if arguments.write:
        table.write("compare.py --profile", rows)


# PyTorch is imported in a process of its own, whose threads are gone when ONNX Runtime's work.
def _gpu(name, step):
    import gpu

    return list(gpu.measure(name, step))


def _traffic(name, kind):
    import traffic

    return traffic.count(name, kind)


if __name__ == "__main__":
    parsed = parse()
    # Who is told to end closes its processes, as who is interrupted does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    (profile if parsed.profile else compare)(parsed)
