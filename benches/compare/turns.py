"""Who takes turns: a peer in a process of its own, or gnp-run in short runs. Only one of them runs at a time.

Idle threads wait by spinning, and would take the processor from whose turn it is: so a process is stopped between its turns.
"""

import importlib
import json
import math
import multiprocessing
import os
import resource
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import profiling
import workload

# What seconds are: those that pass, or those that a process has the processor. The latter last on a busy machine, of one thread.
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


@dataclass
class Measure:
    """How a turn is measured. It begins with steps that warm up and do not count.

    They are so many, and go on for so many seconds at least: a virtual machine's processors are often near each other while they
    have been idle, and are moved apart when all are busy for a second or two. Then each reads what the other wrote much later.
    """

    clock: str = "wall"
    warm_up: int = 2
    settle: float = 0


class LeftOut(Exception):
    """Why a peer has no part in the comparison."""


def pin(threads):
    """Gives this process so many processors: for what counts them to decide how many threads it starts."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


class Process:
    """A peer: the function `steps` of a module of this folder, called with the arguments in another process.

    It returns by kind ("plain", "GNP") a function that takes one step and waits for its end.
    """

    def __init__(self, measure, module, *arguments):
        self.measure = measure
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, CLOCKS[measure.clock], module, arguments), daemon=True)
        self.process.start()
        theirs.close()
        try:
            self.kinds = self._answer()
        except LeftOut:
            self.close()
            raise
        self._stop()

    def turn(self, kind, steps):
        """The seconds of each of so many steps."""
        os.kill(self.process.pid, signal.SIGCONT)
        self.connection.send((kind, steps, self.measure.warm_up, self.measure.settle))
        seconds = self._answer()
        self._stop()
        return seconds

    def close(self):
        """Lets the process end by itself, as it does when nobody is there to ask it for steps."""
        self.connection.close()
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGCONT)
        self.process.join(10)
        self.process.kill()

    def _answer(self):
        try:
            answer = self.connection.recv()
        except EOFError:
            raise LeftOut("its process ended") from None
        if isinstance(answer, str):
            raise LeftOut(answer)
        return answer

    def _stop(self):
        os.kill(self.process.pid, signal.SIGSTOP)


def _serve(connection, clock, module, arguments):
    """Answers with the kinds, then with the seconds of the steps that are asked for; with a text where that fails."""
    try:
        steppers = importlib.import_module(module).steps(*arguments)
        connection.send(list(steppers))
        while True:
            kind, steps, warm_up, settle = connection.recv()
            begin = time.perf_counter()
            while warm_up > 0 or time.perf_counter() - begin < settle:
                steppers[kind]()
                warm_up -= 1
            times = [clock()]
            for _ in range(steps):
                steppers[kind]()
                times.append(clock())
            connection.send([end - begin for begin, end in zip(times, times[1:])])
    except EOFError:
        pass
    except LeftOut as reason:
        connection.send(str(reason))
    except Exception as error:  # Whatever a peer fails with, the others go on.
        connection.send(f"{type(error).__name__}: {str(error).strip()[:160]}")


def _seconds(out):
    """The seconds of each step of a run."""
    metrics = [json.loads(line) for line in Path(out, "metrics.jsonl").read_text().splitlines()]
    return [line["seconds"] for line in metrics if line["kind"] == "step"]


# Where files are in memory, if they can be: what is written to a disk goes there while the step is timed.
IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


class GnpRun:
    """gnp-run, which starts afresh in every turn. `models`: by kind what it trains, and its flags for that."""

    def __init__(self, measure, program, models, name, threads, device="cpu"):
        self.measure, self.program, self.models = measure, program, models
        self.kinds = list(models)
        # The seconds of a step, from when one was taken.
        self.pace = {}
        self.images, self.labels = workload.batch(name, device)
        self.flags = ["--batch-size", len(self.labels), "--threads", threads, "--device", device, "--epochs", 1, "--force", "--quiet"]

    def turn(self, kind, steps):
        """The seconds of each of so many steps; with the processor's clock, their mean."""
        if self.measure.clock == "wall":
            if self.measure.settle and kind not in self.pace:
                self.pace[kind] = min(self._run(kind, self.measure.warm_up + 1))
            warm_up = max(self.measure.warm_up, math.ceil(self.measure.settle / self.pace.get(kind, math.inf)))
            return self._run(kind, warm_up + steps)[warm_up:]
        begin = self._processor()
        self._run(kind, self.measure.warm_up)
        middle = self._processor()
        self._run(kind, self.measure.warm_up + steps)
        return [(self._processor() - middle - (middle - begin)) / steps]

    @staticmethod
    def _processor():
        """The seconds that processes which have ended had the processor."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def profile(self, kind, batches):
        """What gnp-run records of the operators of so many steps, as the function `read` of profiling.py has it."""
        return self._run(kind, batches, ["--profile"], lambda out: profiling.read(out / "profile.json"))

    def _run(self, kind, batches, more=(), read=_seconds):
        """What `read` makes of the folder of a run of so many steps: the seconds of each, as gnp-run writes them."""
        model, flags = self.models[kind]
        with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
            data, out = Path(folder, "data.npz"), Path(folder, "run")
            np.savez(data, x_train=np.tile(self.images, (batches, 1, 1, 1)), y_train=np.tile(self.labels, batches))
            command = [self.program, model, "--data", data, "--out", out, *self.flags, *flags, *more]
            run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
            if run.returncode:
                raise LeftOut(run.stderr.strip()[:160])
            return read(out)

    def close(self):
        pass
