"""Several hosts that share a Redis: the link, whom it speaks to, and what is told of it."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time

import scene
from layers import admin_and_keys, bearer
from redis import Redis, needed, redis_cluster

ADMIN = bearer("admin")


def host(up, url, **more):
    cluster = {"redis": url, **more.pop("cluster", {})}
    return scene.Gateway({"providers": [up.provider()], "auth": admin_and_keys("one"), "cluster": cluster, **more})


def health(gw):
    return gw.get("/health", headers=ADMIN).json()


def wait_cluster(gw, status, seconds=20):
    return scene.wait_for(lambda: health(gw)["cluster"]["status"] == status and health(gw)["cluster"],
                          f"a cluster that is {status}", seconds)


def test_hosts_find_each_other_and_come_back():
    up, redis = scene.Upstream(), Redis()
    one, two = host(up, redis.url), host(up, redis.url)
    for gw in (one, two):
        wait_cluster(gw, "connected")
        scene.wait_for(lambda: health(gw)["cluster"]["hosts"] == 2, "two hosts")
        m = {k: v for line in gw.get("/metrics", headers=ADMIN).text.splitlines() if line.startswith("penstock_cluster")
             for k, v in [line.rsplit(" ", 1)]}
        assert m["penstock_cluster_hosts"] == "2" and m["penstock_cluster_links"] == "3", m
    redis.kill()
    wait_cluster(one, "away")
    assert health(one)["status"] == "degraded"
    assert one.chat(headers=bearer("one")).status == 200
    one.wait_log("is away", "cluster")
    redis.start()
    for gw in (one, two):
        wait_cluster(gw, "connected")
    assert health(one)["status"] == "healthy"
    # its id and the number of hosts survive a start without the server
    redis.kill()
    with open(one.path("state/host")) as f:
        kept = f.read()
    assert kept.split()[1] == "2", kept
    one.stop()
    one.start()
    wait_cluster(one, "away")
    assert health(one)["cluster"]["hosts"] == 2
    with open(one.path("state/host")) as f:
        assert f.read() == kept


def test_a_password_is_needed_and_never_shown():
    up, redis = scene.Upstream(), Redis(password="s3cret-of-redis")
    good = host(up, redis.url)
    wait_cluster(good, "connected")
    bad = host(up, redis.url.replace("s3cret-of-redis", "wr0ng-of-redis"))
    wait_cluster(bad, "away")
    bad.wait_log("does not take user and password", "cluster")
    assert bad.chat(headers=bearer("one")).status == 200
    none = host(up, f"127.0.0.1:{redis.port}")
    none.wait_log("password", "cluster")
    for gw in (good, bad):
        text = gw.run("-T").stdout + gw.run("-t").stderr + "".join(t for _, t in gw.log_text())
        assert "s3cret" not in text and "wr0ng" not in text
        assert f"redis://127.0.0.1:{redis.port}" in text


def test_the_password_apart_and_a_database():
    up, redis = scene.Upstream(), Redis(password="a b@c/d")
    gw = scene.Gateway({"providers": [up.provider()], "auth": admin_and_keys("one"), "cluster": {
        "redis": {"url": f"redis://127.0.0.1:{redis.port}/3", "password": {"env": "REDIS_PASSWORD"}}}},
        env={"REDIS_PASSWORD": "a b@c/d"})
    wait_cluster(gw, "connected")
    encoded = host(up, f"redis://:a%20b%40c%2Fd@127.0.0.1:{redis.port}/3")
    wait_cluster(encoded, "connected")
    with_env = scene.Gateway({"providers": [up.provider()], "auth": admin_and_keys("one")},
                             env={"REDIS_URL": f"redis://:a%20b%40c%2Fd@localhost:{redis.port}/3"})
    wait_cluster(with_env, "connected")
    scene.wait_for(lambda: health(with_env)["cluster"]["hosts"] == 3, "three hosts")


def test_no_url_is_no_cluster_and_a_wrong_one_an_error():
    needed()
    gw = scene.Gateway({"cluster": {"redis": {"url": ""}}})
    assert "cluster" not in gw.get("/health").json()
    for url in ("http://h", "redis://", "redis://:pw-of-redis@h:0", "redis://h/x", "redis://h:1/2/3"):
        gw.reconfigure({"cluster": {"redis": {"url": url}}})
        done = gw.run("-t")
        assert done.returncode == 1 and "cluster.redis" in done.stderr and "pw-of-redis" not in done.stderr, done


def certificate(directory):
    path = os.path.join(directory, "redis")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                    path + ".key", "-out", path + ".crt"], check=True, capture_output=True)
    return path + ".crt", path + ".key"


def test_tls():
    up = scene.Upstream()
    needed()
    port = scene.free_port()
    redis = Redis(port=port, start=False, options=[f"tls-port {port}", "tls-auth-clients no"])
    crt, key = certificate(redis.dir)
    redis.options += [f"tls-cert-file {crt}", f"tls-key-file {key}"]
    redis.start()
    url = f"rediss://127.0.0.1:{port}"
    good = host(up, {"url": url, "tls": {"ca": crt}})
    wait_cluster(good, "connected")
    stranger = host(up, url)
    stranger.wait_log("certificate", "cluster")
    wait_cluster(stranger, "away")
    trusting = host(up, {"url": url, "tls": {"verify": False}})
    wait_cluster(trusting, "connected")
    plain = host(up, f"redis://127.0.0.1:{port}")
    wait_cluster(plain, "away")
    # as Redis has it by default: who has no certificate is sent away
    for gw in (good, stranger, trusting, plain):
        gw.stop()
    redis.kill()
    redis.options[redis.options.index(f"tls-port {port}") + 1] = "tls-auth-clients yes"
    redis.options.append(f"tls-ca-cert-file {crt}")
    redis.start()
    wait_cluster(host(up, {"url": url, "tls": {"ca": crt}}), "away")
    wait_cluster(host(up, {"url": url, "tls": {"ca": crt, "client_certificate": crt, "client_key": key}}), "connected")


def test_a_replica_names_its_primary():
    up, redis = scene.Upstream(), Redis()
    replica = Redis(options=[f"replicaof 127.0.0.1 {redis.port}"])
    gw = host(up, replica.url)
    wait_cluster(gw, "connected")
    scene.wait_for(lambda: redis.ask("ZCARD", "penstock:{c}:hosts") == 1, "the host at the primary")
    # the primary dies, the replica takes over: by the further address
    two = host(up, {"url": redis.url, "addresses": [f"127.0.0.1:{replica.port}"]})
    scene.wait_for(lambda: "state=online" in redis.ask("INFO", "replication"), "the replica")
    three = host(up, redis.url)  # knows the replica from its primary
    for one in (two, three):
        wait_cluster(one, "connected")
    redis.kill()
    replica.ask("REPLICAOF", "NO", "ONE")
    for one in (gw, two, three):
        wait_cluster(one, "connected")
        scene.wait_for(lambda: health(one)["cluster"]["hosts"] == 3, "three hosts")


def test_a_paused_server_is_away_until_it_goes_on():
    up, redis = scene.Upstream(), Redis()
    gw = host(up, redis.url)
    wait_cluster(gw, "connected")
    redis.signal(signal.SIGSTOP)
    wait_cluster(gw, "away")
    assert gw.chat(headers=bearer("one")).status == 200
    redis.signal(signal.SIGCONT)
    wait_cluster(gw, "connected")


def test_a_redis_cluster_of_three():
    up, nodes = scene.Upstream(), redis_cluster()
    auth = admin_and_keys("one", limits={"requests_per_hour": 30})
    gws = [scene.Gateway({"providers": [up.provider()], "auth": auth, "cluster": {
        "redis": {"url": node.url, "addresses": [f"127.0.0.1:{n.port}" for n in nodes]}, "exact": True}})
        for node in nodes]  # each begins at another node, one of them has the slot
    for gw in gws:
        wait_cluster(gw, "connected")
        scene.wait_for(lambda: health(gw)["cluster"]["hosts"] == 3, "three hosts")
    got = [gws[i % 3].chat(headers=bearer("one")).status for i in range(45)]
    assert got.count(200) == 30, got
    # keys by pub/sub reach all, wherever they listen
    made = gws[1].admin("/keys", "POST", {"id": "k"}, headers=ADMIN).json()["key"]
    for gw in gws:
        scene.wait_for(lambda: gw.chat(headers={"authorization": f"Bearer {made}"}).status == 200, "the key")


def test_a_sentinel_names_the_primary():
    up, redis = scene.Upstream(), Redis()
    sentinel = Redis(options=[f"sentinel monitor mine 127.0.0.1 {redis.port} 1"], sentinel=True)
    gw = host(up, sentinel.url)
    wait_cluster(gw, "connected")
    scene.wait_for(lambda: redis.ask("ZCARD", "penstock:{c}:hosts") == 1, "the host at the primary")


def test_a_sentinel_that_does_not_know_the_user_of_its_primary():
    up, redis = scene.Upstream(), Redis(options=["user app on >pw-of-app ~* &* +@all"])
    sentinel = Redis(options=[f"sentinel monitor mine 127.0.0.1 {redis.port} 1"], sentinel=True)
    good = host(up, f"redis://app:pw-of-app@127.0.0.1:{sentinel.port}/0")
    wait_cluster(good, "connected")
    scene.wait_for(lambda: redis.ask("ZCARD", "penstock:{c}:hosts") == 1, "the host at the primary")
    assert "user=app" in redis.ask("CLIENT", "LIST")
    # whom the primary does not know does not get in as nobody, although nobody may do all there
    bad = host(up, f"redis://app:wr0ng-of-app@127.0.0.1:{sentinel.port}")
    bad.wait_log("does not take user and password", "cluster")
    wait_cluster(bad, "away")


def test_a_server_that_repeats_what_it_was_told():
    up = scene.Upstream()
    needed()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(s):
        f = s.makefile("rwb")
        with contextlib.suppress(OSError, EOFError, ValueError):
            while True:
                words = Redis._reply(f)
                f.write(f"-ERR unknown command `{words[0]}`, with args beginning with: {words[1:]}\r\n".encode())
                f.flush()

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    gw = host(up, f"redis://app:s3cret-of-app@127.0.0.1:{listening.getsockname()[1]}/1", log={"level": "debug"})
    gw.wait_log("does not take user and password", "cluster")
    wait_cluster(gw, "away")
    scene.wait_for(lambda: len(gw.log("cluster")) > 5, "some tries")
    assert "s3cret" not in "".join(t for _, t in gw.log_text())
    listening.close()


def test_who_is_sent_away_after_each_greeting_comes_back_more_slowly():
    up = scene.Upstream()
    needed()
    listening = socket.create_server(("127.0.0.1", 0))
    came = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                s = listening.accept()[0]
                came.append(time.monotonic())
                with contextlib.suppress(OSError, EOFError):
                    f = s.makefile("rwb")
                    while Redis._reply(f)[0] != "EXISTS":
                        pass
                    f.write(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n:0\r\n")
                    f.close()
                s.close()
    threading.Thread(target=accept, daemon=True).start()
    gw = host(up, f"redis://127.0.0.1:{listening.getsockname()[1]}")
    time.sleep(max(0, came[0] + 8 - time.monotonic()))  # what is counted is what comes in this time
    assert 8 <= len(came) <= 4 * 11, len(came)  # four connections: after 50, 100, 200 ... ms
    assert gw.chat(headers=bearer("one")).status == 200


scene.main()
