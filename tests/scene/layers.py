"""What the scenes of limits, budgets, the queue and the cache share."""

import hashlib
import threading


def bearer(key):
    return {"authorization": f"Bearer sk-{key}"}


def admin_and_keys(*names, user_limits=None, **members):
    """auth: of keys sk-NAME, each with these members, and sk-admin."""
    auth = {"keys": [{"id": n, "hash": "sha256:" + hashlib.sha256(f"sk-{n}".encode()).hexdigest(), **members}
                     for n in names]}
    auth["keys"].append({"id": "admin", "key": {"value": "sk-admin"}, "permissions": ["completion", "admin"]})
    if user_limits:
        auth["user_limits"] = user_limits
    return auth


def at_once(n, fn):
    """fn(i) in n threads that start together; what each gave."""
    gate, out = threading.Barrier(n), [None] * n

    def run(i):
        gate.wait()
        try:
            out[i] = fn(i)
        except Exception as e:
            out[i] = e
    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(180)
    return out


def statuses(answers):
    count = {}
    for a in answers:
        k = getattr(a, "status", repr(a))
        count[k] = count.get(k, 0) + 1
    return count
