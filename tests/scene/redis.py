"""A real redis-server for the scenes of clusters, in a directory of its own, and a client that speaks its protocol."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile

import scene

BIN = os.environ.get("REDIS_BIN") or shutil.which("redis-server") or shutil.which("valkey-server")


def needed(build=True):
    """Skips the test where there is no server, or the gateway was built without hiredis."""
    if not BIN:
        scene.skip("there is no redis-server")
    if build and "hiredis no" in subprocess.run([scene.BIN, "-V"], capture_output=True, text=True).stdout:
        scene.skip("built without hiredis")


class Redis:
    """password: of the default user. options: further lines of its configuration."""

    def __init__(self, password=None, options=(), port=None, start=True, sentinel=False):
        needed()
        self.dir = tempfile.mkdtemp(prefix="penstock-redis-")
        self.port = port or scene.free_port()
        self.password = password
        self.tls = "tls-port" in " ".join(options)
        self.options = [f"port {0 if self.tls else self.port}", "bind 127.0.0.1", f"dir {self.dir}", 'save ""',
                        "appendonly no", "daemonize no", "loglevel warning", f"logfile {self.dir}/log", *options]
        if sentinel:
            self.options = [o for o in self.options if not o.startswith(("save", "appendonly"))]
        self.sentinel = ["--sentinel"] if sentinel else []
        if password:
            self.options.append(f'requirepass "{password}"')
        self.process = None
        self.errors = []
        scene._started.insert(0, self)  # ended after the gateways
        if start:
            self.start()

    @property
    def url(self):
        return f"redis://{':' + self.password + '@' if self.password else ''}127.0.0.1:{self.port}"

    def start(self):
        path = os.path.join(self.dir, "redis.conf")
        with open(path, "w") as f:
            f.write("\n".join(self.options) + "\n")
        self.process = subprocess.Popen([BIN, path, *self.sentinel], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        scene.wait_for(self.answers, "the redis-server to answer")
        return self

    def answers(self):
        try:
            if self.tls:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return True
            return self.ask("PING") == "PONG"
        except (OSError, EOFError, RuntimeError):
            return False

    def ask(self, *args):
        """One command on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            f = s.makefile("rwb")
            if self.password:
                self._say(f, "AUTH", self.password)
            return self._say(f, *args)

    @staticmethod
    def _say(f, *args):
        args = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        f.write(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
        f.flush()
        return Redis._reply(f)

    @staticmethod
    def _reply(f):
        line = f.readline()
        if not line:
            raise EOFError
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"-":
            raise RuntimeError(rest)
        if kind == b"$":
            if int(rest) < 0:
                return None
            return f.read(int(rest) + 2)[:-2].decode("latin-1")
        return [Redis._reply(f) for _ in range(int(rest))]

    def signal(self, sig):
        os.kill(self.process.pid, sig)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def redis_cluster(n=3):
    """n nodes of a Redis Cluster that share the slots."""
    nodes = [Redis(options=["cluster-enabled yes", "cluster-node-timeout 2000", f"cluster-config-file nodes-{i}.conf",
                            f"cluster-port {scene.free_port()}"]) for i in range(n)]
    for i, node in enumerate(nodes):
        node.ask("CLUSTER", "ADDSLOTS", *range(16384 * i // n, 16384 * (i + 1) // n))
        if i:
            bus = nodes[0].options[-1].split()[1]
            node.ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus)
    for node in nodes:
        scene.wait_for(lambda: "cluster_state:ok" in node.ask("CLUSTER", "INFO") and
                       f"cluster_known_nodes:{n}" in node.ask("CLUSTER", "INFO"), "the nodes to agree", 30)
    return nodes
