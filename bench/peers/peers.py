# SPDX-License-Identifier: Apache-2.0
"""Measures octet against PyTorch in one run, on one machine, in turns, and prints tables for docs/performance.md.

usage: python bench/peers/peers.py [--rounds 3] [--steps 6] [--quick]     (from the repository's root; make bench-peers)

Every setting trains the debug model on two ranks of one thread, global batch 8, sequences of 512. A round runs each
setting once, octet's and PyTorch's mixed, so that a slow spell of the machine meets all of them; steps of all rounds
are then pooled. Raw figures go to out/peers.jsonl.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
RANKS, WARM, TOKENS = 2, 3, 8 * 512
OCTET = {
    "octet float8": ["--config=configs/debugmodel.toml"],
    "octet bf16": ["--config=configs/debugmodel_f32.toml", "--training.mixed_precision_param=bfloat16"],
    "octet f32": ["--config=configs/debugmodel_f32.toml"],
}
TORCH = ["f32", "f32-compile", "bf16", "bf16-compile", "bf16-float8", "bf16-float8-compile", "bf16-float8-emulate-compile"]
QUICK = ["f32", "bf16-compile", "bf16-float8"]  # the fastest on either kind of processor seen, and the like for like
ENV = os.environ | {"OMP_NUM_THREADS": "1"}


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--steps", type=int, default=6, help="steps that count, per round")
    args.add_argument("--quick", action="store_true", help=f"of PyTorch's settings only {', '.join(QUICK)}")
    args = args.parse_args()
    torch = QUICK if args.quick else TORCH

    runs, launches, figures = {}, {}, {}
    for _ in range(args.rounds):
        for name, took in (("octet run", launch_octet()), ("torchrun", launch_torch())):
            launches.setdefault(name, []).append(took)
        for name in interleave(list(OCTET), torch):
            run = octet(OCTET[name], args.steps) if name in OCTET else pytorch(name, args.steps)
            runs.setdefault(name, []).append(run)
            record(dict(setting=name, **run))
        for name, argv in (("octet", ["bin/kernels"]), ("PyTorch", [sys.executable, HERE / "micro.py"])):
            for line in command(argv).output.splitlines():
                figure = json.loads(line)
                figures.setdefault((figure["op"], figure["dtype"], figure["unit"]), {}).setdefault(name, []).append(figure.get("value", 0))
                record(dict(side=name, **figure))
    print(training_table(runs))
    print(launch_table(launches))
    print(kernel_table(figures))


def interleave(ours, theirs):
    """The peer's settings with ours spread evenly among them."""
    every = -(-len(theirs) // len(ours))
    for i, name in enumerate(ours):
        yield name
        yield from theirs[i * every : (i + 1) * every]


def octet(flags, steps):
    with tempfile.TemporaryDirectory() as out:
        done = command(["bin/octet", "run", f"--nproc-per-node={RANKS}", "train", *flags, f"--training.steps={WARM + steps}",
                        f"--training.local_batch_size={8 // RANKS}", "--training.seq_len=512", f"--job.dump_folder={out}"])
        lines = [json.loads(line) for path in Path(out).rglob("metrics.jsonl") for line in path.read_text().splitlines()]
    return dict(step_ms=[line["step_ms"] for line in lines[WARM:]], peak_mb=done.peak_mb)


def pytorch(setting, steps):
    done = command([BIN / "torchrun", f"--nproc-per-node={RANKS}", HERE / "train.py", setting, f"--steps={steps}", f"--warm={WARM}"])
    rank = json.loads(done.output.strip().splitlines()[-1])
    return dict(step_ms=rank["step_ms"], peak_mb=done.peak_mb, rank=rank)


def launch_octet():
    return command(["bin/octet", "run", f"--nproc-per-node={RANKS}", "bin/allreduce"]).seconds


def launch_torch():
    return command([BIN / "torchrun", f"--nproc-per-node={RANKS}", HERE / "first_all_reduce.py"]).seconds


@dataclass(frozen=True)
class Done:
    output: str
    seconds: float
    peak_mb: int  # the most that any one process of the command's tree had resident: a rank


def command(argv, limit_s=900):
    """Runs a command to its end; a failure ends the measurement with what it said."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(argv, env=ENV, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        limit = threading.Timer(limit_s, process.terminate)
        limit.start()
        _, status, usage = os.wait4(process.pid, 0)
        limit.cancel()
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        output = out.read()
        if process.returncode:
            sys.exit(f"{' '.join(map(str, argv))}: exit code {process.returncode} after {seconds:.0f} s\n{output[-2000:]}\n{err.read()[-4000:]}")
    return Done(output, seconds, usage.ru_maxrss // 1024)


def record(run):
    path = Path("out/peers.jsonl")
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as f:
        f.write(json.dumps(run) + "\n")


def training_table(runs):
    """Markdown; the ratio is this setting's median step over octet float8's: above 1, octet is faster."""
    ms = {name: [t for run in many for t in run["step_ms"]] for name, many in runs.items()}
    peak = {name: max(run["peak_mb"] for run in many) for name, many in runs.items()}
    ours = statistics.median(ms["octet float8"])
    rows = [f"{processor()}, {time.strftime('%Y-%m-%d')}: two ranks of one thread", "",
            "| setting | step, median ms | fastest ms | tokens/s | step ÷ octet float8 | peak MiB a rank | ÷ octet float8 |",
            "|---|---|---|---|---|---|---|"]
    for name in sorted(ms, key=lambda n: statistics.median(ms[n])):
        median = statistics.median(ms[name])
        label = name if name in OCTET else f"PyTorch {name}"
        rows.append(f"| {label} | {median:.0f} | {min(ms[name]):.0f} | {TOKENS / median * 1e3:.0f} | {median / ours:.2f} "
                    f"| {peak[name]} | {peak[name] / peak['octet float8']:.1f} |")
    return "\n".join(rows) + "\n"


def launch_table(launches):
    rows = ["| two ranks launched, connected, one all-reduce, ended | median s | fastest s |", "|---|---|---|"]
    rows += [f"| {name} | {statistics.median(s):.2f} | {min(s):.2f} |" for name, s in launches.items()]
    return "\n".join(rows) + "\n"


def kernel_table(figures):
    """Each side's best figure: on a machine that does other work, the rest tells about that work."""
    rows = ["| one core | dtype | unit | octet | PyTorch | octet ÷ PyTorch |", "|---|---|---|---|---|---|"]
    for (op, dtype, unit), sides in figures.items():
        ours, theirs = max(sides.get("octet", [0])), max(sides.get("PyTorch", [0]))
        beside = f"{theirs:.4g} | {ours / theirs:.2f}" if theirs else "|"
        rows.append(f"| {op} | {dtype} | {unit} | {ours:.4g} | {beside} |")
    return "\n".join(rows) + "\n"


def processor():
    """The processor's name with the units that decide: virtual machines often hide the model."""
    info = Path("/proc/cpuinfo").read_text()
    field = lambda key: next(line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith(key))
    units = [u for u in ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile") if u in field("flags").split()]
    return f"{field('model name')} (family {field('cpu family')}, model {field('model	')}; {', '.join(units)})"


if __name__ == "__main__":
    main()
