"""Who lives and who dies: start, titles, replaced workers, more and fewer of them, reload, logs, ends."""

import os
import signal
import socket
import stat
import threading
import time

import scene

MOCK = {"providers": [{"name": "mock", "kind": "mock"}]}


def slow_stream(go):
    """A stream whose second half waits for the test."""
    def script(a):
        a.sse()
        a.event(scene.chat_chunk("first"))
        a.wait(go)
        a.event(scene.chat_chunk("second"))
        a.event(scene.chat_chunk(finish="stop"))
        a.event("[DONE]")
        a.end()
    return script


class Load:
    """Requests, one connection each, from a few threads until told to stop; every failure is kept."""

    def __init__(self, gw, threads=4, path="/livez"):
        self.gw, self.path = gw, path
        self.failures, self.done = [], 0
        self.ending = False
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for t in self.threads:
            t.start()

    def _run(self):
        while not self.ending:
            try:
                status = self.gw.get(self.path).status
                if status != 200:
                    self.failures.append(status)
                self.done += 1
            except Exception as e:
                self.failures.append(repr(e))

    def wait(self, more):
        upto = self.done + more
        scene.wait_for(lambda: self.done >= upto, f"{more} more requests", 30)

    def end(self):
        self.ending = True
        for t in self.threads:
            t.join(20)
        assert not self.failures, f"{len(self.failures)} of {self.done} failed: {self.failures[:5]}"


def test_start_titles_and_pid_file():
    gw = scene.Gateway(MOCK, workers=2)
    assert gw.get("/livez").status == 200
    assert [w.number for w in gw.workers(generation=1)] == [0, 1]
    assert gw.scribe()
    with open(f"/proc/{gw.pid}/cmdline", "rb") as f:
        assert f.read().startswith(b"penstock: master " + gw.conf_path.encode())
    assert open(f"/proc/{gw.pid}/comm").read().startswith("penstock")
    assert open(gw.pid_path).read() == f"{gw.pid}\n"
    assert stat.S_IMODE(os.stat(gw.pid_path).st_mode) == 0o644
    gw.signal(signal.SIGTERM)
    assert gw.wait_exit() == 0
    assert not os.path.exists(gw.pid_path)
    assert gw.processes() == []


def test_killed_worker_is_replaced_and_others_are_undisturbed():
    go = threading.Event()
    up = scene.Upstream(slow_stream(go))
    gw = scene.Gateway({"providers": [up.provider()]}, workers=2)
    c = gw.chat_stream()
    assert c.status == 200 and "first" in c.event()[1]

    def busy():
        rows = gw.admin("/workers").json()["workers"]
        return [w["pid"] for w in rows if w["in_flight"]]
    owner = scene.wait_for(lambda: len(p := busy()) == 1 and p, "the owner of the stream to show")[0]
    victim = next(p for p in gw.worker_pids() if p != owner)
    gw.signal(signal.SIGKILL, victim)
    scene.wait_for(lambda: victim not in gw.worker_pids() and len(gw.workers()) == 2, "a new worker")
    assert gw.admin("/workers").status == 200
    for _ in range(20):
        assert gw.get("/livez").status == 200
    go.set()
    assert "second" in c.event()[1]
    gw.wait_log("killed by signal 9", "worker")


def test_connections_wait_for_the_replacement():
    gw = scene.Gateway(MOCK, workers=1)
    for _ in range(3):
        old = gw.worker_pids()[0]
        gw.signal(signal.SIGKILL, old)
        assert gw.get("/livez").status == 200  # waited in the socket, which is the master's
        assert gw.wait_workers(1)[0].pid != old


def test_crash_loop_backs_off_and_recovers():
    gw = scene.Gateway(MOCK, workers=1)
    seen = set()
    end = time.monotonic() + 3
    while time.monotonic() < end:
        for pid in gw.worker_pids():
            seen.add(pid)
            try:
                gw.signal(signal.SIGKILL, pid)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
    assert 2 <= len(seen) <= 12, f"{len(seen)} workers in 3 s"
    assert gw.get("/livez").status == 200


def test_more_and_fewer_workers_lose_nothing():
    gw = scene.Gateway(MOCK, workers=2)
    load = Load(gw)
    load.wait(20)
    gw.signal(signal.SIGTTIN)
    assert [w.number for w in gw.wait_workers(3)] == [0, 1, 2]
    gw.signal(signal.SIGTTIN)
    gw.wait_workers(4)
    load.wait(200)
    for n in (3, 2, 1):
        gw.signal(signal.SIGTTOU)
        gw.wait_workers(n)
        load.wait(100)
    gw.signal(signal.SIGTTOU)
    gw.wait_log("the last one stays", "workers")
    gw.signal(signal.SIGTTIN)
    gw.wait_workers(2)
    load.wait(100)
    load.end()


def test_reload_good():
    gw = scene.Gateway(MOCK, workers=2)
    old = gw.worker_pids()
    load = Load(gw)
    load.wait(20)
    gw.reconfigure({"workers": 3})
    gw.signal(signal.SIGHUP)
    gw.wait_workers(3, generation=2)
    scene.wait_for(lambda: not set(old) & set(gw.worker_pids(draining=None)), "the old generation to leave")
    load.wait(100)
    gw.reconfigure({"workers": 1})
    gw.signal(signal.SIGHUP)
    gw.wait_workers(1, generation=3)
    load.wait(100)
    scene.wait_for(lambda: len(gw.workers(draining=None)) == 1, "the old generation to leave")
    load.end()
    scene.wait_for(gw.scribe, "the new scribe")
    assert gw.admin("/workers").json()["generation"] == 3


def test_reload_bad_changes_nothing():
    gw = scene.Gateway(MOCK, workers=2)
    old = gw.worker_pids()
    good = open(gw.conf_path).read()
    gw.write_conf("listen: 127.0.0.1:1\nworkers: many\nnonsense: 1\n")
    r = gw.admin("/reload", "POST")
    assert r.status >= 400, r
    assert "workers" in r.text and "nonsense" in r.text, r.text
    gw.signal(signal.SIGHUP)
    gw.wait_log("nonsense", "reload")
    assert gw.worker_pids() == old
    assert gw.get("/livez").status == 200
    gw.write_conf(good)
    assert gw.admin("/reload", "POST").status == 200
    gw.wait_workers(2, generation=2)


def test_reload_refused_when_an_address_is_taken():
    gw = scene.Gateway(MOCK, workers=2)
    old = gw.worker_pids()
    with scene.socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gw.reconfigure({"listen": [gw.conf["listen"][0], {"address": f"127.0.0.1:{port}"}]})
        gw.signal(signal.SIGHUP)
        gw.wait_log("in use", "reload")
        assert gw.worker_pids() == old
    gw.signal(signal.SIGHUP)
    gw.wait_workers(2, generation=2)
    first, gw.port = gw.port, port
    assert gw.get("/livez").status == 200
    gw.reconfigure({"listen": [{"address": f"127.0.0.1:{port}"}]})
    gw.signal(signal.SIGHUP)
    gw.wait_workers(2, generation=3)
    scene.wait_for(lambda: refused(first), "the old address to be closed")


def refused(port):
    try:
        scene.Client(("127.0.0.1", port), 2).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it closed under the handshake; another of its kind may still be there: look again
        pass
    return False


def test_twenty_reloads():
    go = threading.Event()
    up = scene.Upstream(slow_stream(go))
    gw = scene.Gateway({"providers": [up.provider()]}, workers=2)
    c = gw.chat_stream()
    assert "first" in c.event()[1]
    load = Load(gw)
    for _ in range(20):
        gw.signal(signal.SIGHUP)
        load.wait(10)
    go.set()
    assert "second" in c.event()[1]
    load.end()
    scene.wait_for(lambda: len(gw.workers(draining=None)) == 2, "the old generations to leave", 30)
    assert gw.workers()[0].generation > 2


def test_reopen_logs():
    gw = scene.Gateway(MOCK, workers=2)
    old = gw.log_path + ".1"
    os.rename(gw.log_path, old)
    gw.signal(signal.SIGUSR1)
    scene.wait_for(lambda: os.path.exists(gw.log_path), "a new log file")
    gw.wait_log("reopened")
    gw.reconfigure({"workers": "many"})
    gw.signal(signal.SIGHUP)
    gw.wait_log("refused", "reload")


def test_quit_finishes_a_stream():
    go = threading.Event()
    up = scene.Upstream(slow_stream(go))
    gw = scene.Gateway({"providers": [up.provider()]}, workers=2)
    c = gw.chat_stream()
    assert "first" in c.event()[1]
    gw.signal(signal.SIGQUIT)
    scene.wait_for(lambda: refused(gw.port), "the listeners to be closed")
    assert gw.running()
    go.set()
    rest = []
    while (e := c.event()) is not None:
        rest.append(e[1])
    assert "second" in rest[0] and rest[-1] == "[DONE]", rest
    assert gw.wait_exit() == 0


def test_term_bounds_the_grace_and_a_second_one_ends_it():
    up = scene.Upstream(slow_stream(threading.Event()))
    gw = scene.Gateway({"providers": [up.provider()], "stop_timeout": "1s"}, workers=2)
    c = gw.chat_stream()
    assert "first" in c.event()[1]
    begin = time.monotonic()
    gw.signal(signal.SIGTERM)
    assert gw.wait_exit() == 0
    assert 0.9 < time.monotonic() - begin < 10
    gw.reconfigure({"stop_timeout": "50s"})
    gw.start()
    c = gw.chat_stream()
    assert "first" in c.event()[1]
    begin = time.monotonic()
    gw.signal(signal.SIGTERM)
    gw.wait_log("50 s to finish", "stop")
    gw.signal(signal.SIGTERM)
    gw.wait_exit()
    assert time.monotonic() - begin < 20


def test_workers_outlive_a_killed_master_only_to_finish():
    go = threading.Event()
    up = scene.Upstream(slow_stream(go))
    gw = scene.Gateway({"providers": [up.provider()]}, workers=2)
    c = gw.chat_stream()
    assert "first" in c.event()[1]
    gw.signal(signal.SIGKILL)
    gw.process.wait()
    scene.wait_for(lambda: refused(gw.port), "the listeners to be closed")
    gw.start()  # the pid file is stale, the addresses are free
    assert gw.get("/livez").status == 200
    go.set()
    assert "second" in c.event()[1]
    c.rest()
    scene.wait_for(lambda: all(p.ppid == gw.pid for p in gw.processes() if p.role == "worker"),
                   "the orphans to leave")


def test_hanging_worker_is_replaced():
    gw = scene.Gateway(MOCK, workers=2, env={"PENSTOCK_WORKER_HANG_MS": "3000"})
    victim = gw.worker_pids()[0]
    gw.signal(signal.SIGSTOP, victim)
    scene.wait_for(lambda: victim not in gw.worker_pids() and len(gw.workers()) == 2, "a replacement", 20)
    gw.wait_log("hangs", "worker")
    assert gw.get("/livez").status == 200


def test_second_instance_is_refused():
    gw = scene.Gateway(MOCK, workers=1)
    r = gw.run("-f")
    assert r.returncode == 1 and "already running" in r.stderr, r
    other = scene.Gateway(MOCK, workers=1, start=False, port=gw.port)  # its own pid file, the same address
    r = other.run("-f")
    assert r.returncode == 1 and "in use" in r.stderr, r
    assert gw.get("/livez").status == 200


def test_stale_pid_file_is_taken_over():
    gw = scene.Gateway(MOCK, workers=1, start=False)
    with open(gw.pid_path, "w") as f:
        f.write("1\n")
    r = gw.run("-s", "stop")
    assert r.returncode == 1 and "no running penstock" in r.stderr, r
    gw.start()
    assert open(gw.pid_path).read() == f"{gw.pid}\n"


def test_command_line():
    gw = scene.Gateway(MOCK, workers=1)
    r = gw.run("-V")
    assert r.returncode == 0 and r.stdout.startswith("penstock ") and "libcurl" in r.stdout, r
    assert gw.run("-h").returncode == 0
    assert gw.run("-x").returncode == 2
    r = gw.run("-t")
    assert r.returncode == 0 and "good" in r.stdout, r
    r = gw.run("-T")
    assert r.returncode == 0 and "listen" in r.stdout, r
    assert gw.run("-s", "dance").returncode == 2
    assert gw.run("-s", "reload").returncode == 0
    gw.wait_workers(1, generation=2)
    good = open(gw.conf_path).read()
    gw.write_conf(f"pid_file: {gw.pid_path}\nworkers: many\nnonsense: 1\n")
    r = gw.run("-t")
    assert r.returncode == 1 and "workers" in r.stderr and "nonsense" in r.stderr, r
    r = gw.run("-s", "quit")  # also with a file that is broken meanwhile
    assert r.returncode == 0, r
    assert gw.wait_exit() == 0
    gw.write_conf(good)


def test_is_one_there():
    """-H asks an address, and nothing of the configuration."""
    def ask(address):
        return gw.run("-H", address)
    gw = scene.Gateway()
    sock = gw.path("sock")
    gw.reconfigure({"admin_listen": f"unix:{sock}"})
    assert gw.admin("/reload", "POST").status == 200
    for address in (f"127.0.0.1:{gw.port}", f"*:{gw.port}", f"unix:{sock}"):
        scene.wait_for(lambda a=address: ask(a).returncode == 0, f"{address} to answer")
    gw.write_conf("this is: [broken")
    assert ask(f"127.0.0.1:{gw.port}").returncode == 0
    silent = socket.create_server(("127.0.0.1", 0))  # takes the connection, says nothing
    begun = time.monotonic()
    r = ask(f"127.0.0.1:{silent.getsockname()[1]}")
    assert r.returncode == 1 and "timed out" in r.stderr and 4 < time.monotonic() - begun < 20, r
    silent.close()
    up = scene.Upstream(lambda a: a.whole(503, {}))
    r = ask(f"127.0.0.1:{up.port}")
    assert r.returncode == 1 and "503" in r.stderr, r
    gw.stop()
    for address, says in ((f"127.0.0.1:{gw.port}", "refused"), (f"unix:{sock}", "unix:"), ("nowhere", "expected")):
        r = ask(address)
        assert r.returncode == 1 and says in r.stderr, r


def test_daemon():
    gw = scene.Gateway(MOCK, workers=1, foreground=False, start=False)
    gw.start(wait=False)
    assert gw.process.wait(30) == 0
    assert gw.get("/livez").status == 200  # ready when the command returned
    assert os.getsid(gw.pid) == gw.pid
    for p in gw.processes():
        for fd in (0, 1):
            assert os.readlink(f"/proc/{p.pid}/fd/{fd}") in ("/dev/null", gw.stderr_path)
    gw.stop()
    assert not gw.running()
    gw.reconfigure({"listen": [{"address": "192.0.2.1:80"}], "auth": {"mode": "none"}})
    r = gw.run()
    assert r.returncode == 1 and "192.0.2.1" in r.stderr, r


def test_unix_socket():
    gw = scene.Gateway(MOCK, workers=2, start=False)
    path = gw.path("s.sock")
    gw.reconfigure({"listen": [gw.conf["listen"][0], {"address": "unix:" + path, "mode": "0600"}]})
    with scene.socket.socket(scene.socket.AF_UNIX) as s:
        s.bind(path)  # and left behind: nobody answers
    gw.start()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    for _ in range(10):
        c = scene.Client(path)
        assert c.request("GET", "/livez").response().status == 200
        c.close()
    gw.signal(signal.SIGHUP)
    gw.wait_workers(2, generation=2)
    c = scene.Client(path)
    assert c.request("GET", "/livez").response().status == 200
    c.close()
    other = scene.Gateway({**MOCK, "listen": [{"address": "unix:" + path}]}, workers=1, start=False)
    r = other.run("-f")
    assert r.returncode == 1 and "in use" in r.stderr, r
    gw.stop()
    assert not os.path.exists(path)


def test_privileges_are_dropped():
    if os.geteuid() != 0:
        scene.skip("needs root")
    gw = scene.Gateway({**MOCK, "user": "nobody"}, workers=2)
    for p in gw.processes():
        status = dict(line.split(":\t", 1) for line in open(f"/proc/{p.pid}/status") if ":\t" in line)
        assert status["Uid"].split() == ["65534"] * 4, (p, status["Uid"])
        assert status["NoNewPrivs"].strip() == "1"
        assert int(status["CapEff"], 16) == 0
        with open(f"/proc/{p.pid}/limits") as f:
            limits = f.read()
        assert any(line.split()[4:6] == ["0", "0"] for line in limits.splitlines() if "core file" in line), limits
    assert os.stat(gw.path("state")).st_uid == 65534
    assert os.stat(gw.log_path).st_uid == 65534
    os.rename(gw.log_path, gw.log_path + ".1")
    gw.signal(signal.SIGUSR1)
    gw.wait_log("reopened")
    assert os.stat(gw.log_path).st_uid == 65534
    gw.signal(signal.SIGHUP)
    gw.wait_workers(2, generation=2)


def test_notify():
    with scene.socket.socket(scene.socket.AF_UNIX, scene.socket.SOCK_DGRAM) as s:
        name = f"penstock-scene-{os.getpid()}"
        s.bind("\0" + name)
        s.settimeout(20)
        gw = scene.Gateway(MOCK, workers=1, env={"NOTIFY_SOCKET": "@" + name, "WATCHDOG_USEC": "400000"})

        def heard(word):
            while True:
                text = s.recv(4096).decode()
                if word in text:
                    return text
        assert f"MAINPID={gw.pid}" in heard("READY=1")
        heard("WATCHDOG=1")
        gw.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in heard("RELOADING=1")
        assert "generation 2" in heard("READY=1")
        gw.signal(signal.SIGTERM)
        heard("STOPPING=1")
        assert gw.wait_exit() == 0


if __name__ == "__main__":
    scene.main()
