# SPDX-License-Identifier: Apache-2.0
"""Measures octet against PyTorch in one run, on one machine, in turns, and prints tables for docs/performance.md.

usage: python bench/peers/peers.py [--rounds 3] [--steps 6] [--quick | --peers SETTING ...] [--before DIR]   (from the repository's root; make bench-peers)

Every setting trains the debug model on two ranks of one thread, global batch 8, sequences of 512. A round runs each
setting once, octet's and PyTorch's mixed, so that a slow spell of the machine meets all of them; steps of all rounds
are then pooled. Raw figures go to out/peers.jsonl. --before names another checkout of octet, with its programs built into
its bin/: its runs take their turns as well, and the tables tell how this one compares.
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
    args.add_argument("--peers", nargs="*", choices=TORCH, metavar="SETTING", help=f"of PyTorch's settings only these; none: nothing of PyTorch but gloo. They are {', '.join(TORCH)}")
    args.add_argument("--before", metavar="DIR", type=Path, help="another checkout of octet, built, to compare with")
    args = args.parse_args()
    torch = QUICK if args.quick else TORCH if args.peers is None else args.peers
    checkouts = {"octet": Path.cwd()}
    if args.before:
        checkouts["before"] = args.before.resolve()

    runs, launches, figures, collectives = {}, {}, {}, {}
    for _ in range(args.rounds):
        for name, root in checkouts.items():
            launches.setdefault(f"{name} run", []).append(launch_octet(root))
        if torch:
            launches.setdefault("torchrun", []).append(launch_torch())
        for name in interleave(list(OCTET), torch):
            if name not in OCTET:
                each = {name: pytorch(name, args.steps)}
            else:
                each = {name.replace("octet", label): octet(root, OCTET[name], args.steps) for label, root in checkouts.items()}
            for label, run in each.items():
                runs.setdefault(label, []).append(run)
                record(dict(setting=label, **run))
        kernels = {name: [root / "bin/kernels"] for name, root in checkouts.items()}
        if torch:
            kernels["PyTorch"] = [sys.executable, HERE / "micro.py"]
        for name, argv in kernels.items():
            for line in command(argv).output.splitlines():
                figure = json.loads(line)
                figures.setdefault((figure["op"], figure["dtype"], figure["unit"]), {}).setdefault(name, []).append(figure.get("value", 0))
                record(dict(side=name, **figure))
        for ranks in 2, 4:
            for line in collective_lines(ranks):
                collectives.setdefault(line["op"], {}).setdefault(line["by"], []).append(line["ms"])
                record(line)
    print(training_table(runs))
    print(launch_table(launches))
    print(kernel_table(figures))
    print(collective_table(collectives))
    if args.before:
        print(before_table(runs, figures))


def interleave(ours, theirs):
    """The peer's settings with ours spread evenly among them."""
    every = -(-len(theirs) // len(ours))
    for i, name in enumerate(ours):
        yield name
        yield from theirs[i * every : (i + 1) * every]


def octet(root, flags, steps):
    with tempfile.TemporaryDirectory() as out:
        done = command([root / "bin/octet", "run", f"--nproc-per-node={RANKS}", "train", *flags, f"--training.steps={WARM + steps}",
                        f"--training.local_batch_size={8 // RANKS}", "--training.seq_len=512", f"--job.dump_folder={out}"], cwd=root)
        lines = [json.loads(line) for path in Path(out).rglob("metrics.jsonl") for line in path.read_text().splitlines()]
    return dict(step_ms=[line["step_ms"] for line in lines[WARM:]], peak_mb=done.peak_mb)


def pytorch(setting, steps):
    done = command([BIN / "torchrun", f"--nproc-per-node={RANKS}", HERE / "train.py", setting, f"--steps={steps}", f"--warm={WARM}"])
    rank = json.loads(done.output.strip().splitlines()[-1])
    return dict(step_ms=rank["step_ms"], peak_mb=done.peak_mb, rank=rank)


def launch_octet(root):
    return command([root / "bin/octet", "run", f"--nproc-per-node={RANKS}", root / "bin/allreduce"]).seconds


def launch_torch():
    return command([BIN / "torchrun", f"--nproc-per-node={RANKS}", HERE / "first_all_reduce.py"]).seconds


@dataclass(frozen=True)
class Done:
    output: str
    seconds: float
    peak_mb: int  # the most that any one process of the command's tree had resident: a rank


def collective_lines(ranks):
    """Figures of all transports, one after the other, on so many ranks."""
    octet = ["bin/octet", "run", f"--nproc-per-node={ranks}", "bin/collectives"]
    for argv in (octet + ["tcp"], [BIN / "torchrun", f"--nproc-per-node={ranks}", HERE / "collectives.py"], octet + ["shared memory"]):
        yield from (json.loads(line[line.index("{"):]) for line in command(argv).output.splitlines() if "{" in line)


def command(argv, limit_s=900, cwd=None):
    """Runs a command to its end; a failure ends the measurement with what it said."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(argv, env=ENV, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
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
        label = f"PyTorch {name}" if name in TORCH else name
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


def collective_table(figures):
    """The shortest call of all rounds."""
    rows = ["| float32, one host of two cores | TCP, ms | gloo, ms | gloo ÷ TCP | shared memory, ms |", "|---|---|---|---|---|"]
    for op, by in figures.items():
        tcp, gloo, shared = (min(by[name]) for name in ("tcp", "gloo", "shared memory"))
        rows.append(f"| {op} | {tcp:.2f} | {gloo:.2f} | {gloo / tcp:.2f} | {shared:.2f} |")
    return "\n".join(rows) + "\n"


def before_table(runs, figures):
    """This checkout against the one before. A step's ratio is of its medians, round by round; a kernel's of each side's best."""
    rows = ["| two ranks | step before, ms | now, ms | now ÷ before, by round | peak MiB a rank |", "|---|---|---|---|---|"]
    for name in OCTET:
        pair = runs[name.replace("octet", "before")], runs[name]
        old, new = ([statistics.median(run["step_ms"]) for run in side] for side in pair)
        peak = " → ".join(str(max(run["peak_mb"] for run in side)) for side in pair)
        ratios = ", ".join(f"{b / a:.2f}" for a, b in zip(old, new))
        rows.append(f"| {name} | {statistics.median(old):.0f} | {statistics.median(new):.0f} | {ratios} | {peak} |")
    rows += ["", "| one core | dtype | unit | before | now | now ÷ before |", "|---|---|---|---|---|---|"]
    for (op, dtype, unit), sides in figures.items():
        if "before" in sides:
            old, new = max(sides["before"]), max(sides["octet"])
            rows.append(f"| {op} | {dtype} | {unit} | {old:.4g} | {new:.4g} | {new / old:.2f} |")
    return "\n".join(rows) + "\n"


def processor():
    """The processor's name with the units that decide: virtual machines often hide the model."""
    info = Path("/proc/cpuinfo").read_text()
    field = lambda key: next(line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith(key))
    units = [u for u in ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile") if u in field("flags").split()]
    return f"{field('model name')} (family {field('cpu family')}, model {field('model	')}; {', '.join(units)})"


if __name__ == "__main__":
    main()
