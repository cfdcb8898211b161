"""contrib/docker without Docker.

    check_docker.py              rules for the Dockerfile and compose.yaml, in the manner of hadolint
    check_docker.py exercise     the Dockerfile's own commands in chroots made by debootstrap; needs root

exercise: each stage is a fresh Debian; RUN, COPY, ENV and USER do there what they say. What the last stage starts is
then started, as its user, without a shell in its chroot, and asked by its health check and by a client.
"""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.realpath(os.path.join(os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "..")), "."))
DIRECTORY = os.path.join(TOP, "contrib", "docker")
KNOWN = {"FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def read(name):
    with open(os.path.join(DIRECTORY, name)) as f:
        return f.read()


def instructions(text):
    """[(NAME, the rest as one line)]"""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def stages(text):
    """[{"name", "base", "steps": [...]}]"""
    out = []
    for name, rest in instructions(text):
        if name == "FROM":
            words = rest.split()
            out.append({"base": words[0], "name": words[2] if len(words) == 3 else str(len(out)), "steps": []})
        else:
            out[-1]["steps"].append((name, rest))
    return out


def last(stage, name):
    found = [rest for n, rest in stage["steps"] if n == name]
    return found[-1] if found else None


# --- rules ---


def dockerfile_problems(text):
    all_stages = stages(text)
    final = all_stages[-1]
    for name, _ in instructions(text):
        if name not in KNOWN:
            yield f"{name}: not one of {', '.join(sorted(KNOWN))}"
    for stage in all_stages:
        if not re.fullmatch(r"debian:[a-z]+-slim", stage["base"]):
            yield f"FROM {stage['base']}: Debian slim with a tag"
        for name, rest in stage["steps"]:
            if name == "RUN" and "apt-get install" in rest:
                if "apt-get update &&" not in rest or "--no-install-recommends" not in rest or " -y" not in rest:
                    yield f"RUN {rest[:60]}: update, -y and --no-install-recommends in one step"
                if not rest.rstrip().endswith("rm -rf /var/lib/apt/lists/*"):
                    yield f"RUN {rest[:60]}: the lists stay in the layer"
            if name == "RUN" and re.search(r"\b(sudo|curl|wget|apt|ssh)\b(?!-)", re.sub(r"lib\S+|\S*-dev", "", rest)):
                yield f"RUN {rest[:60]}: nothing is fetched but packages"
            if name == "WORKDIR" and not rest.startswith("/"):
                yield "WORKDIR: absolute"
            if name == "ENV" and re.search(r"(KEY|SECRET|PASSWORD|TOKEN)", rest):
                yield f"ENV {rest[:40]}: no secrets in an image"
    if len(all_stages) < 2:
        yield "one stage: the compiler stays in the image"
    for name in ("ENTRYPOINT", "CMD"):
        if not (last(final, name) or "").startswith("["):
            yield f"{name}: without a shell, as a JSON list"
    if not re.search(r'CMD \[', last(final, "HEALTHCHECK") or ""):
        yield "HEALTHCHECK: without a shell, as a JSON list"
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(final, "USER") or ""):
        yield "USER: a number that is not root's, with a group"
    if any(name == "RUN" for name, _ in final["steps"][[n for n, _ in final["steps"]].index("USER"):]):
        yield "RUN behind USER"
    for name, rest in final["steps"]:
        if name == "COPY" and "--from=" not in rest:
            yield f"COPY {rest}: only what was built comes into the image"


def compose_problems(text):
    services = {}
    current = None
    for line in text.split("services:", 1)[1].split("\nvolumes:", 1)[0].splitlines():
        found = re.fullmatch(r"  (\w+):", line)
        if found:
            current = services.setdefault(found.group(1), [])
        elif current is not None:
            current.append(line)
    if set(services) != {"penstock", "valkey"}:
        yield f"services: {sorted(services)}"
    for name, lines in services.items():
        body = "\n".join(lines)
        for want in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", "restart:"):
            if want not in body:
                yield f"{name}: {want} is missing"
        for image in re.findall(r"image: (\S+)", body):
            if ":" not in image and "build:" not in body or image.endswith(":latest"):
                yield f"{name}: {image} without a version"
    if "profiles: [valkey]" not in "\n".join(services.get("valkey", [])) or "profiles" in "\n".join(services.get("penstock", [])):
        yield "valkey comes by its profile, penstock without one"
    for line in text.splitlines():
        if "\t" in line:
            yield "a tab"
        found = re.match(r"\s+(\w*(KEY|SECRET|PASSWORD|TOKEN)): (?!\$\{)", line)
        if found:
            yield f"{found.group(1)}: a secret in the file"


def unknown_variables():
    """What the files set that the daemon does not know."""
    manual = ""
    for name in ("doc/penstock.yaml.5", "src/upstream/provider.c", "src/conf/env.c"):
        with open(os.path.join(TOP, name)) as f:
            manual += f.read()
    text = read("Dockerfile").split("FROM")[-1] + read("compose.yaml").split("environment:")[1].split("volumes:")[0]
    for name in sorted(set(re.findall(r"\b([A-Z][A-Z_]{3,})(?:=|: )", text))):
        path = name.removeprefix("PENSTOCK_").lower()
        if name not in manual and not (name.startswith("PENSTOCK_") and f"Ic {path}" in manual):
            yield f"{name}: the daemon does not know it"


def check():
    problems = [*dockerfile_problems(read("Dockerfile")), *compose_problems(read("compose.yaml")), *unknown_variables()]
    for p in problems:
        print(p)
    return 1 if problems else 0


# --- exercise ---


def run(*command, **more):
    print("+", " ".join(shlex.quote(c) for c in command)[:160], flush=True)
    return subprocess.run(command, check=True, **more)


def mirror():
    for directory, _, names in os.walk("/etc/apt"):
        for name in names:
            if name.endswith((".list", ".sources")):
                with open(os.path.join(directory, name)) as f:
                    found = re.search(r"^(?:URIs:|deb(?: \[.*\])?)\s+(http\S+)", f.read(), re.M)
                if found:
                    return found.group(1)
    return "http://deb.debian.org/debian"


def copy_context(to):
    """What a clean checkout would have."""
    names = subprocess.run(["git", "-c", "safe.directory=*", "-C", TOP, "ls-files", "-coz", "--exclude-standard"], check=True, capture_output=True).stdout
    run("tar", "-C", TOP, "--null", "-T", "-", "-cf", to + ".tar", input=names)
    os.makedirs(to, exist_ok=True)
    run("tar", "-C", to, "-xf", to + ".tar", "--no-same-owner")
    os.unlink(to + ".tar")


def inside(root, env, directory, command):
    run("chroot", root, "/usr/bin/env", "-i", *[f"{k}={v}" for k, v in env.items()], "/bin/sh", "-ec", f"cd {shlex.quote(directory)} && {command}",
        stdout=subprocess.DEVNULL)


def environment(rest):
    return dict(word.split("=", 1) for word in shlex.split(rest))


def build(stage, root, roots):
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    directory = "/"
    for name, rest in stage["steps"]:
        if name == "RUN":
            inside(root, env, directory, rest)
        elif name == "WORKDIR":
            directory = rest
            os.makedirs(root + rest, exist_ok=True)
        elif name == "ENV":
            env.update(environment(rest))
        elif name == "COPY":
            words = rest.split()
            options = dict(w[2:].split("=", 1) for w in words if w.startswith("--"))
            source, target = [w for w in words if not w.startswith("--")]
            if "from" in options:
                os.makedirs(os.path.dirname(root + target), exist_ok=True)
                run("cp", "-aT", roots[options["from"]] + source, root + target)
                run("chown", "-R", options.get("chown", "0:0"), root + target)
            else:
                copy_context(root + directory)
    return env


CONF = {
    "providers": [{"kind": "mock"}], "workers": 2,
    "auth": {"mode": "keys", "keys": [{"id": "one", "key": {"value": "sk-in-a-container"}}]},
}


def serve(root):
    """In a network of its own."""
    stage = stages(read("Dockerfile"))[-1]
    user = last(stage, "USER")
    env = {}
    for name, rest in stage["steps"]:
        if name == "ENV":
            env.update(environment(rest))
    probe = json.loads(re.search(r"CMD (\[.*\])", last(stage, "HEALTHCHECK")).group(1))
    command = json.loads(last(stage, "ENTRYPOINT")) + json.loads(last(stage, "CMD"))
    run("ip", "link", "set", "lo", "up")
    os.makedirs(root + "/etc/penstock", exist_ok=True)
    with open(root + "/etc/penstock/penstock.yaml", "w") as f:
        json.dump(CONF, f)
    for shell in ("sh", "dash", "bash"):
        for directory in ("bin", "usr/bin"):
            if os.path.lexists(os.path.join(root, directory, shell)):
                os.unlink(os.path.join(root, directory, shell))

    def start(*argv):
        uid, gid = map(int, user.split(":"))

        def enter():
            os.chroot(root)
            os.chdir("/")
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        return subprocess.Popen(argv, env=env, preexec_fn=enter, executable=argv[0])
    assert start(*probe).wait() == 1, "healthy before it was started"
    daemon = start(*command)
    try:
        for _ in range(100):
            assert daemon.poll() is None, "it ended"
            if start(*probe).wait() == 0:
                break
            time.sleep(0.2)
        else:
            raise AssertionError("it does not become healthy")
        c = http.client.HTTPConnection("127.0.0.1", 8080, timeout=20)
        c.request("POST", "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": "Are you in?"}]}),
                  {"authorization": "Bearer sk-in-a-container", "content-type": "application/json"})
        r = c.getresponse()
        body = r.read()
        assert r.status == 200 and b"You said: Are you in?" in body, (r.status, body)
        c.request("GET", "/")
        r = c.getresponse()
        assert r.status == 200 and b"<title>penstock" in r.read()
        with open(f"/proc/{daemon.pid}/status") as f:
            assert re.search(r"^Uid:\t(\d+)\t\1\t\1\t\1$", f.read(), re.M).group(1) == user.split(":")[0]
        assert os.listdir(root + env["PENSTOCK_STATE_DIR"]), "nothing is in the volume"
        daemon.send_signal(getattr(signal, last(stage, "STOPSIGNAL")))
        assert daemon.wait(60) == 0
    finally:
        if daemon.poll() is None:
            daemon.kill()
    print("it was built, started, healthy, asked, and stopped")


def exercise():
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        print("skipped: root and debootstrap are needed")
        return 77
    work = tempfile.mkdtemp(prefix="penstock-docker-")
    os.chmod(work, 0o755)
    try:
        suite = re.fullmatch(r"debian:([a-z]+)-slim", stages(read("Dockerfile"))[0]["base"]).group(1)
        base, roots = os.path.join(work, "base"), {}
        run("debootstrap", "--variant=minbase", suite, base, mirror(), stdout=subprocess.DEVNULL)
        for stage in stages(read("Dockerfile")):
            roots[stage["name"]] = root = os.path.join(work, stage["name"])
            run("cp", "-a", base, root)
            shutil.copy("/etc/resolv.conf", root + "/etc/resolv.conf")
            build(stage, root, roots)
        run("unshare", "-n", sys.executable, "-B", os.path.abspath(__file__), "serve", root)
        return 0
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "check"
    sys.exit({"check": check, "exercise": exercise, "serve": lambda: serve(sys.argv[2])}[what]() or 0)
