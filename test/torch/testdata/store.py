# SPDX-License-Identifier: Apache-2.0
"""Makes every request that a client of PyTorch's TCPStore can make, and prints what came back, a line each.

usage: store.py HOST:PORT    against the server there
       store.py --serve      PyTorch's own server until stdin ends; prints its port
"""
import sys
import threading
from datetime import timedelta

from torch.distributed import PrefixStore, TCPStore


def serve():
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    print(store.port, flush=True)
    sys.stdin.read()


def client(host, port, seconds=10.0):
    return TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=seconds))


def say(what, f):
    """Prints a call's result, or the kind of its error: the words differ with addresses and times."""
    try:
        result = f()
    except Exception as err:
        result = type(err).__name__
    print(f"{what}: {result!r}", flush=True)


def later(f):
    thread = threading.Timer(0.3, f)
    thread.start()
    return thread


def main(address):
    host, port = address.rsplit(":", 1)
    a, b = client(host, int(port)), client(host, int(port))

    say("set", lambda: a.set("k", "v"))
    say("get", lambda: b.get("k"))
    say("set empty", lambda: a.set("empty", ""))
    say("get empty", lambda: b.get("empty"))
    say("set again", lambda: (a.set("k", "w"), b.get("k")))
    big = "x" * (3 << 20)
    say("3 MiB", lambda: (a.set("big", big), b.get("big") == big.encode())[1])
    say("delete 3 MiB", lambda: a.delete_key("big"))
    say("a key of umlauts", lambda: (a.set("ä ö\t", "ü"), b.get("ä ö\t")))
    say("get of a key that comes", lambda: (later(lambda: a.set("later", "1")), b.get("later"))[1])

    say("add", lambda: a.add("n", 5))
    say("add less", lambda: b.add("n", -7))
    say("add nothing", lambda: b.add("n", 0))
    say("a counter read", lambda: a.get("n"))
    say("a counter set", lambda: (a.set("n", "40"), a.add("n", 2)))
    say("a large counter", lambda: (a.add("large", 1 << 40), a.add("large", 1 << 40)))

    say("check", lambda: a.check(["k", "n"]))
    say("check absent", lambda: a.check(["k", "absent"]))
    say("check nothing", lambda: a.check([]))
    say("wait", lambda: b.wait(["k", "n"]))
    say("wait for absent", lambda: b.wait(["k", "absent"], timedelta(milliseconds=200)))
    say("after that", lambda: b.get("k"))
    say("wait for two that come", lambda: (later(lambda: (a.set("w1", ""), a.set("w2", ""))), b.wait(["w1", "w2"]))[1])
    say("wait for a counter", lambda: (later(lambda: a.add("wn", 1)), b.wait(["wn"]))[1])

    say("compare_set, absent and empty", lambda: a.compare_set("c", "", "1"))
    say("compare_set, another", lambda: a.compare_set("c", "x", "2"))
    say("compare_set, equal", lambda: b.compare_set("c", "1", "3"))
    say("compare_set, absent", lambda: a.compare_set("none", "y", "4"))
    say("which stays absent", lambda: a.check(["none"]))

    say("has_extended_api", lambda: a.has_extended_api())
    say("append to nothing", lambda: (a.append("p", "ab"), b.get("p")))
    say("append", lambda: (b.append("p", "cd"), a.get("p")))
    say("multi_set", lambda: a.multi_set(["m1", "m2"], ["1", "22"]))
    say("multi_get", lambda: b.multi_get(["m2", "m1", "k"]))
    say("multi_get absent", lambda: client(host, int(port), 0.2).multi_get(["k", "absent"]))

    say("list_keys", lambda: sorted(a.list_keys()))
    say("num_keys", lambda: a.num_keys())
    say("delete", lambda: (a.delete_key("m1"), b.check(["m1"])))
    say("delete absent", lambda: a.delete_key("m1"))
    say("num_keys after", lambda: b.num_keys())

    say("queue_len, none", lambda: a.queue_len("q"))
    say("queue_push", lambda: (a.queue_push("q", "1"), a.queue_push("q", "2"), a.queue_len("q"), b.queue_push("q", "")))  # a push is not answered: queue_len waits for it
    say("queue_len", lambda: b.queue_len("q"))
    say("queue_pop", lambda: (b.queue_pop("q"), a.queue_pop("q"), b.queue_pop("q")))
    say("queue_len, empty", lambda: b.queue_len("q"))
    say("queue_pop, empty, no block", lambda: b.queue_pop("q", False))
    say("queue_pop, never, no block", lambda: b.queue_pop("q2", False))
    say("queue_pop that waits", lambda: (later(lambda: a.queue_push("q", "3")), b.queue_pop("q"))[1])
    say("queue_pop that waits in vain", lambda: client(host, int(port), 0.2).queue_pop("q3"))
    say("a queue is a key", lambda: (a.queue_push("q4", "1"), a.check(["q4"]), a.num_keys())[1:])

    prefixed = PrefixStore("a/b", a)
    say("a prefix", lambda: (prefixed.set("k", "p"), prefixed.get("k"), a.get("a/b/k"), a.get("k")))
    say("keys of a prefix", lambda: prefixed.num_keys())
    clone = a.clone()
    say("a clone", lambda: (clone.set("clone", "1"), a.get("clone")))
    del clone
    say("after the clone", lambda: a.get("k"))

    many = [f"many{i}" for i in range(1000)]
    say("a thousand", lambda: (a.multi_set(many, many), [v.decode() for v in b.multi_get(many)] == many)[1])
    say("delete while another waits", lambda: (later(lambda: (a.delete_key("k"), a.set("z", "1"))), b.wait(["z"]))[1])
    if hasattr(a, "barrier"):
        threads = [threading.Thread(target=lambda s=s: s.barrier("round", 2)) for s in (a, b)]
        say("barrier", lambda: ([t.start() for t in threads], [t.join() for t in threads], sorted(k for k in a.list_keys() if "round" in k))[2])
        say("barrier without the others", lambda: client(host, int(port), 0.2).barrier("alone", 2))


if sys.argv[1] == "--serve":
    serve()
else:
    main(sys.argv[1])
