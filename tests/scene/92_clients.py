"""What lies in contrib/clients, as it is, against the daemon and its mock: examples in each language that is there, and the
module for JavaScript with its own tests. CLIENTS_DIR: a copy with node_modules; CLIENTS_PYTHON: one that has the SDKs."""

import glob
import os
import re
import shutil
import subprocess
import sys

import scene

CLIENTS = os.environ.get("CLIENTS_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "contrib", "clients")
PYTHON = os.environ.get("CLIENTS_PYTHON") or sys.executable
SAID = "You said: Say hello."


def start(**more):
    return scene.Gateway({"providers": [{"name": "mock", "kind": "mock", "retry": {"max": 0}}], "auth": {"keys": [
        {"id": "all", "key": {"value": "k-all"}, "permissions": ["completion", "embedding", "admin"]}]}, **more})


def run(gw, *command, key="k-all", seconds=60):
    env = {**os.environ, "PENSTOCK_URL": f"http://127.0.0.1:{gw.port}", "PENSTOCK_KEY": key, "NO_PROXY": "*", "no_proxy": "*"}
    return subprocess.run(command, env=env, cwd=CLIENTS, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)


def answers(gw, *command):
    done = run(gw, *command)
    assert done.returncode == 0 and SAID in done.stdout, (command, done)
    refused = run(gw, *command, key="wrong")
    assert refused.returncode != 0 and SAID not in refused.stdout, (command, refused)


def node():
    path = shutil.which("node")
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout if path else ""
    numbers = [int(n) for n in re.findall(r"\d+", version)[:2]]
    if numbers < [18, 17]:
        scene.skip("no node of 18.17 or newer")
    return path


def test_every_surface_has_its_examples():
    for directory in ("curl", "python", "javascript"):
        names = sorted(re.split(r"[._]", n)[0] for n in os.listdir(os.path.join(CLIENTS, directory)) if n.endswith((".sh", ".py", ".mjs")))
        assert names == ["native", "s0", "s1", "s2", "s3", "s4"], (directory, names)
    with open(os.path.join(CLIENTS, "README.md")) as f:
        told = f.read()
    for path in glob.glob(CLIENTS + "/*/*.sh") + glob.glob(CLIENTS + "/*/*.py") + glob.glob(CLIENTS + "/*/*.mjs"):
        assert os.path.relpath(path, CLIENTS) in told, path


def test_curl():
    if not shutil.which("curl"):
        scene.skip("no curl")
    gw = start()
    for path in sorted(glob.glob(CLIENTS + "/curl/*.sh")):
        answers(gw, "sh", path)
    # a gateway that asks for no key gets none
    assert SAID in run(start(auth=None), "sh", CLIENTS + "/curl/s4.sh", key="").stdout


def python(module):
    if subprocess.run([PYTHON, "-c", "import " + module], capture_output=True).returncode != 0:
        scene.skip("no " + module + " for " + PYTHON)
    gw = start()
    paths = sorted(glob.glob(CLIENTS + f"/python/*_{module}.py"))
    assert paths, module
    for path in paths:
        answers(gw, PYTHON, "-B", path)


def test_python_requests():
    python("requests")


def test_python_httpx():
    python("httpx")


def test_python_openai():
    python("openai")


def test_javascript():
    program, gw = node(), start()
    for path in sorted(glob.glob(CLIENTS + "/javascript/*.mjs")):
        if path.endswith("_fetch.mjs") or os.path.isdir(CLIENTS + "/javascript/node_modules/openai"):
            answers(gw, program, path)


def test_the_module():
    program, gw = node(), start(cache={"enabled": True})
    done = run(gw, program, "--test", "js/test/client.test.js", seconds=120)
    assert done.returncode == 0 and "# fail 0" in done.stdout, done.stdout + done.stderr
    gw.stop()
    assert "k-all" not in open(gw.log_path).read()


def test_its_types():
    tsc = os.environ.get("CLIENTS_TSC") or scene.skip("no CLIENTS_TSC")
    done = run(start(), *tsc.split(), "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "js/test/types.ts")
    assert done.returncode == 0, done.stdout


if __name__ == "__main__":
    scene.main()
