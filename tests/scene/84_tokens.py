"""JSON Web Tokens: who comes with one, what they may, and that keys and tokens go side by side."""

import base64
import hashlib
import hmac
import json
import subprocess
import time

import scene

SECRET = "0123456789abcdef0123456789abcdef-scene"
KEYS = [{"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "admin"]}]
BOSS = {"x-api-key": "sk-boss"}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(secret=SECRET, alg="HS256", exp=600, **claims):
    claims = {"exp": int(time.time()) + exp, **claims}
    head = b64(json.dumps({"alg": alg, "typ": "JWT"}).encode()) + "." + b64(json.dumps(claims).encode())
    mac = hmac.new(secret.encode(), head.encode(), {"HS256": hashlib.sha256, "HS512": hashlib.sha512}.get(alg, "sha256"))
    return head + "." + b64(mac.digest())


def bearer(t):
    return {"authorization": "Bearer " + t}


def start(mode=None, jwt=None, keys=KEYS, workers=4, **more):
    up = scene.Upstream()
    auth = {"jwt": {"secret": {"value": SECRET}, "algorithms": ["HS256", "HS512", "RS256", "ES256", "EdDSA"], **(jwt or {})}}
    if mode:
        auth["mode"] = mode
    if keys:
        auth["keys"] = [dict(k) for k in keys]
    return scene.Gateway({"providers": [up.provider()], "auth": auth, **more}, workers=workers), up


def test_tokens_and_keys_side_by_side():
    gw, up = start(cache={"enabled": True})
    alice, eve = token(sub="alice", tenant="red"), token(sub="boss")
    for _ in range(24):
        assert gw.chat(headers=bearer(alice)).status == 200
    assert gw.chat(headers={"x-api-key": alice}).status == 200
    assert gw.chat(headers=BOSS).status == 200
    assert gw.chat(text="secret of the boss", headers=BOSS).headers["x-penstock-cache"] == "miss"
    r = gw.chat(text="secret of the boss", headers=bearer(eve))  # a subject is not the key of that name
    assert r.status == 200 and r.headers["x-penstock-cache"] == "miss", r.headers
    assert gw.get("/v1/models", headers=bearer(alice)).status == 200
    assert gw.admin("/workers", headers=bearer(alice)).status == 403
    assert gw.admin("/workers", headers=bearer(eve)).status == 403
    for role in ("admin", ["user", "admin"], "user admin"):
        assert gw.admin("/workers", headers=bearer(token(sub="x", role=role))).status == 200, role
    scene.wait_for(lambda: [r for r in gw.admin("/usage?group_by=key,tenant", headers=BOSS).json()["rows"]
                            if r["key"] == "jwt:alice" and r["tenant"] == "red" and r["requests"] == 25], "her account")
    made = gw.admin("/keys", "POST", {"id": "made"}, headers=bearer(token(sub="root", role="admin")))
    assert made.status == 201 and gw.chat(headers=bearer(made.json()["key"])).status == 200
    gw.stop()
    for path in (gw.log_path, gw.stderr_path):
        with open(path) as f:
            text = f.read()
        assert alice not in text and alice.split(".")[2] not in text and SECRET not in text, path


def test_what_is_no_token():
    gw, up = start()
    good = token(sub="alice")
    head, payload, sig = good.split(".")
    none = [b64(json.dumps({"alg": a}).encode()) + "." + payload + "." for a in ("none", "None", "nOnE", "NONE", "")]
    bad = none + [n + sig for n in none] + [
        token("wrong", sub="alice"), token(alg="HS384", sub="alice"), f"{head}.{payload}", f"{head}.{payload}.", good + ".x",
        good + "=", f"{head}.{b64(b'[]')}.{sig}", "..", "a.b.c", good[:-1], good + "A", good.upper(), "x" * 9000,
        ".".join([head, payload, sig] * 3)]
    for t in bad:
        r = gw.chat(headers=bearer(t))
        assert r.status == 401, (t, r)
        assert len(t) < 20 or t[:60] not in r.text
    assert "expired" in gw.chat(headers=bearer(token(exp=-100))).json()["error"]["message"]
    assert "not valid yet" in gw.chat(headers=bearer(token(nbf=time.time() + 500))).json()["error"]["message"]
    assert gw.chat(headers=bearer(token(exp=-30))).status == 200  # leeway
    assert gw.chat(headers=bearer(token(sub=5))).status == 401
    assert not [r for r in up.requests if "authorization" in r.headers and "eyJ" in r.headers["authorization"]]
    assert gw.chat(headers=bearer(good)).status == 200


def test_modes():
    gw, up = start("jwt")
    assert gw.chat(headers=bearer(token())).status == 200
    assert gw.chat(headers=BOSS).status == 401  # of a configured key
    gw.reconfigure({"auth": {"mode": "keys"}})
    gw.signal(1)
    scene.wait_for(lambda: gw.chat(headers=BOSS).status == 200, "keys to be taken")
    gw.wait_workers(4)
    scene.wait_for(lambda: len(gw.workers()) == 4, "the old ones to leave")
    assert gw.chat(headers=bearer(token())).status == 401
    env = scene.Gateway({"providers": [up.provider()]}, workers=1, env={"JWT_SECRET": SECRET})
    assert env.chat(headers=bearer(token())).status == 200
    assert env.chat().status == 401


def test_issuer_audience_and_claims_by_configuration():
    gw, up = start(jwt={"issuer": "https://id.example", "audience": "gw", "role_claim": "realm_access.roles",
                        "tenant_claim": "org", "permissions": [], "admin_roles": ["operator"], "leeway": "0s"})
    ok = {"iss": "https://id.example", "aud": ["other", "gw"]}
    roles = lambda *r: {"realm_access": {"roles": list(r)}}
    for claims in ({}, {"iss": "https://id.example"}, {"aud": "gw"}, {**ok, "iss": "https://id.example/"},
                   {**ok, "aud": "gw2"}):
        r = gw.chat(headers=bearer(token(**claims, **roles("completion"))))
        assert r.status == 401 and "not issued" in r.json()["error"]["message"], r
    assert gw.chat(headers=bearer(token(**ok))).status == 403
    assert gw.chat(headers=bearer(token(**ok, **roles("embedding")))).status == 403
    assert gw.chat(headers=bearer(token(**ok, **roles("completion")))).status == 200
    assert gw.admin("/workers", headers=bearer(token(**ok, **roles("admin")))).status == 403
    assert gw.admin("/workers", headers=bearer(token(**ok, **roles("x", "operator")))).status == 200
    assert gw.chat(headers=bearer(token(**ok, exp=-2, **roles("completion")))).status == 401


def test_limits_are_each_subjects_own_on_all_workers():
    gw, up = start(auth={"mode": "keys+jwt", "keys": KEYS, "jwt": {"secret": {"value": SECRET}},
                         "default_limits": {"requests_per_minute": 4}})
    for sub in ("alice", "bob"):
        got = sorted(gw.chat(headers=bearer(token(sub=sub))).status for _ in range(9))
        assert got == [200] * 4 + [429] * 5, got


def openssl(gw, *args, data=None):
    return subprocess.run(["openssl", *args], cwd=gw.dir, input=data, capture_output=True, check=True).stdout


def test_public_keys_from_files_read_again_at_a_reload():
    gw, up = start()
    try:
        openssl(gw, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "rsa.pem")
        openssl(gw, "pkey", "-in", "rsa.pem", "-pubout", "-out", "rsa.pub")
    except (OSError, subprocess.CalledProcessError):
        scene.skip("there is no openssl to sign with")

    def rs256(**claims):
        claims = {"exp": int(time.time()) + 60, **claims}
        head = b64(b'{"alg":"RS256","kid":"../../dev/null"}') + "." + b64(json.dumps(claims).encode())
        return head + "." + b64(openssl(gw, "dgst", "-sha256", "-sign", "rsa.pem", data=head.encode()))
    assert gw.chat(headers=bearer(rs256())).status == 401
    gw.reconfigure({"auth": {"jwt": {"public_keys": ["rsa.pub"]}}})
    r = gw.admin("/reload", "POST", headers=BOSS)
    assert r.status == 200, r
    gw.wait_workers(4, generation=r.json()["generation"])
    for _ in range(12):
        assert gw.chat(headers=bearer(rs256(sub="alice"))).status == 200
    with open(gw.path("rsa.pub")) as f:
        pem = f.read()
    for secret in (pem, pem.strip(), ""):  # the public key as a secret
        assert gw.chat(headers=bearer(token(secret))).status == 401
    with open(gw.path("rsa.pub"), "w") as f:
        f.write("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    r = gw.admin("/reload", "POST", headers=BOSS, timeout=30)
    assert r.status == 422 and "public_keys" in r.json()["error"]["message"], r
    assert gw.chat(headers=bearer(rs256())).status == 200  # the old configuration goes on
    n, e = (openssl(gw, "rsa", "-in", "rsa.pem", "-noout", "-modulus").strip().split(b"=")[1], b"AQAB")
    jwks = {"keys": [{"kty": "RSA", "kid": "k1", "use": "sig", "n": b64(bytes.fromhex(n.decode())), "e": e.decode()}]}
    with open(gw.path("jwks.json"), "w") as f:
        json.dump(jwks, f)
    gw.conf["auth"]["jwt"].pop("public_keys")
    gw.reconfigure({"auth": {"jwt": {"jwks_file": "jwks.json"}}})
    r = gw.admin("/reload", "POST", headers=BOSS)
    gw.wait_workers(4, generation=r.json()["generation"])
    assert gw.chat(headers=bearer(rs256())).status == 401  # a kid that the set does not have

    def named():
        head = b64(b'{"alg":"RS256","kid":"k1"}') + "." + b64(json.dumps({"exp": int(time.time()) + 60}).encode())
        return head + "." + b64(openssl(gw, "dgst", "-sha256", "-sign", "rsa.pem", data=head.encode()))
    for _ in range(12):
        assert gw.chat(headers=bearer(named())).status == 200
    text = gw.admin("/config", headers=BOSS).text
    assert SECRET not in text and '"jwks_file"' in text


if __name__ == "__main__":
    scene.main()
