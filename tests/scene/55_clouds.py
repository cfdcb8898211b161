"""Azure, Bedrock and Vertex: who the gateway says it is, and where it goes. The other side is written from the vendors'
references: AWS's Signature Version 4, RFC 7515 and 7523 with openssl's eyes; nothing of the gateway's is used."""

import base64
import datetime
import hashlib
import hmac
import json
import os
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse
import zlib

import scene
from scene import Gateway, Upstream, wait_for

MESSAGES = [{"role": "user", "content": "Hi"}]
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


# --- AWS ---


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def check_signature(r, secret, key_id, region, service="bedrock"):
    """Signs the request as it came and compares."""
    scheme, rest = r.headers["authorization"].split(" ", 1)
    parts = dict(p.strip().split("=", 1) for p in rest.split(","))
    date = r.headers["x-amz-date"]
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    assert scheme == "AWS4-HMAC-SHA256" and parts["Credential"] == f"{key_id}/{scope}", r.headers["authorization"]
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.strptime(
        date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    assert abs(age.total_seconds()) < 60, date
    signed = parts["SignedHeaders"].split(";")
    assert signed == sorted(signed) and "host" in signed and "x-amz-date" in signed
    for name in r.headers:
        assert not name.startswith("x-amz-") or name in signed, f"{name} is not signed"
    payload = hashlib.sha256(r.body).hexdigest()
    assert r.headers["x-amz-content-sha256"] == payload
    path, _, query = r.path.partition("?")
    pairs = sorted(p if "=" in p else p + "=" for p in query.split("&") if p)
    canonical = "\n".join([r.method, urllib.parse.quote(path, safe="/-._~"), "&".join(pairs),
                           *(f"{n}:{r.headers[n].strip()}" for n in signed), "", ";".join(signed), payload])
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + secret.encode()
    for step in (date[:8], region, service, "aws4_request"):
        key = _hmac(key, step)
    assert parts["Signature"] == _hmac(key, text).hex(), canonical


def bedrock(up, **key):
    return {"name": "aws", "kind": "bedrock", "base_url": up.url, "region": "eu-west-1",
            "keys": [{"access_key_id": "AKIDEXAMPLE", "secret_access_key": {"env": "SECRET"}, **key}]}


def chat(gw, model, content="Hi", **more):
    return gw.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": content}], **more})


def test_bedrock_signs():
    up = Upstream()
    gw = Gateway({"providers": [bedrock(up)]}, env={"SECRET": SECRET})
    for content in ("Hi", "ü" * 40000, "x" * 300000):  # the larger ones are read in pieces by libcurl
        r = chat(gw, "aws/openai.gpt-oss-20b-1:0", content)
        assert r.status == 200, r
        check_signature(up.requests[-1], SECRET, "AKIDEXAMPLE", "eu-west-1")
        assert "x-amz-security-token" not in up.requests[-1].headers
    r = chat(gw, "aws/openai.gpt-oss-20b-1:0", stream=True)
    assert r.status == 200 and r.events()[-1][1] == "[DONE]"
    check_signature(up.requests[-1], SECRET, "AKIDEXAMPLE", "eu-west-1")
    assert SECRET not in open(gw.log_path).read()


def test_bedrock_session_token():
    up = Upstream()
    provider = bedrock(up, session_token="session/token+==")
    provider["headers"] = {"Authorization": "Bearer mine", "X-Amz-Date": "mine", "X-Other": "kept"}
    gw = Gateway({"providers": [provider]}, env={"SECRET": SECRET})
    assert chat(gw, "aws/openai.x:1").status == 200
    sent = up.requests[0]
    assert sent.headers["x-amz-security-token"] == "session/token+==" and sent.headers["x-other"] == "kept"
    assert len([n for n, _ in sent.headers.list if n.lower() in ("authorization", "x-amz-date")]) == 2
    check_signature(sent, SECRET, "AKIDEXAMPLE", "eu-west-1")


def test_bedrock_query_and_health():
    up = Upstream(default=lambda a: a.whole(200, {}))
    provider = bedrock(up)
    provider["health_check"] = {"every": "200ms", "path": "/model/a%3Ab/x?z=1&a=b%2Fc&flag"}
    Gateway({"providers": [provider]}, env={"SECRET": SECRET})
    sent = up.wait_requests(2)[0]
    assert sent.method == "GET" and sent.path == "/model/a%3Ab/x?z=1&a=b%2Fc&flag", sent.path
    check_signature(sent, SECRET, "AKIDEXAMPLE", "eu-west-1")


def aws_frame(payload, name="chunk", message="event"):
    def head(k, v):
        return bytes([len(k)]) + k.encode() + b"\x07" + struct.pack(">H", len(v)) + v.encode()
    heads = head(":event-type" if message == "event" else ":exception-type", name) + head(":message-type", message)
    body = json.dumps(payload).encode()
    first = struct.pack(">II", 16 + len(heads) + len(body), len(heads))
    frame = first + struct.pack(">I", zlib.crc32(first)) + heads + body
    return frame + struct.pack(">I", zlib.crc32(frame))


def invoke_chunk(event):
    return aws_frame({"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abc"})


def test_bedrock_claude_in_its_own_words():
    up = Upstream()
    gw = Gateway({"providers": [{**bedrock(up), "kind": "bedrock_invoke", "retry": {"max": 0}}]}, env={"SECRET": SECRET})
    claude = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    up.next(lambda a: a.whole(200, {"id": "msg_bdrk_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
                                    "content": [{"type": "text", "text": "Hello."}], "usage": {"input_tokens": 7, "output_tokens": 3}}))
    r = chat(gw, "aws/" + claude, tools=tools, tool_choice="none", max_tokens=9)
    assert r.status == 200 and r.json()["choices"][0]["message"]["content"] == "Hello.", r
    sent = up.requests[0]
    assert sent.path == f"/model/{urllib.parse.quote(claude, safe='')}/invoke", sent.path
    check_signature(sent, SECRET, "AKIDEXAMPLE", "eu-west-1")
    assert sent.json() == {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "tool_choice": {"type": "none"},
                           "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
                           "tools": [{"name": "f", "input_schema": {"type": "object"}}]}, sent.json()
    events = [{"type": "message_start", "message": {"id": "msg_bdrk_2", "role": "assistant", "model": "claude", "content": [],
                                                    "usage": {"input_tokens": 7, "output_tokens": 1}}},
              {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
              {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}},
              {"type": "content_block_stop", "index": 0},
              {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
              {"type": "message_stop"}]
    stream = {"Content-Type": "application/vnd.amazon.eventstream"}
    up.next(lambda a: a.whole(200, b"".join(map(invoke_chunk, events)), stream))
    r = chat(gw, "aws/" + claude, stream=True)
    assert r.status == 200 and r.events()[-1][1] == "[DONE]" and "Hello." in r.body.decode(), r
    assert up.requests[1].path.endswith("/invoke-with-response-stream") and "stream" not in up.requests[1].json()
    up.next(lambda a: a.whole(200, aws_frame({"message": "Too many requests"}, "throttlingException", "exception"), stream))
    assert chat(gw, "aws/" + claude, stream=True).status == 429
    up.next(lambda a: a.whole(200, {"output": {"message": {"role": "assistant", "content": [{"text": "Nova."}]}}, "stopReason": "end_turn",
                                    "usage": {"inputTokens": 1, "outputTokens": 1}}))
    r = chat(gw, "aws/amazon.nova-lite-v1:0")
    assert r.status == 200 and up.requests[-1].path.endswith("/converse"), up.requests[-1].path


def test_bedrock_claude_thinks():
    """By Converse: what each Claude takes together with thinking, and what not; nothing of it is lost in silence."""
    def script(a):
        a.whole(200, {"output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}}, "stopReason": "end_turn",
                      "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}})
    up = Upstream(script)
    gw = Gateway({"providers": [{"name": "aws", "kind": "bedrock", "base_url": up.url, "region": "eu-west-1",
                                 "keys": [{"value": "k"}]}]}, workers=2)
    old, new = "aws/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws/global.anthropic.claude-opus-4-7-20260401-v1:0"
    tool = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    loop = {"messages": [*MESSAGES, call, {"role": "tool", "tool_call_id": "c1", "content": "7"}]}
    for name, model, more, fields, config, dropped in (
            ("a budget", old, {"reasoning_effort": "low", "max_tokens": 5000},
             {"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"maxTokens": 5000}, None),
            ("room for it", old, {"reasoning_effort": "high"}, {"thinking": {"type": "enabled", "budget_tokens": 16384}},
             lambda c: c["maxTokens"] > 16384, None),
            ("no sampling", old, {"reasoning_effort": "low", "temperature": 0.5, "top_p": 0.5, "max_tokens": 5000},
             {"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"maxTokens": 5000}, "temperature,top_p"),
            ("a tool that must be called", old, {"reasoning_effort": "low", "max_tokens": 5000, **tool, "tool_choice": "required"},
             None, {"maxTokens": 5000}, "reasoning_effort"),
            ("a loop whose thinking is lost", old, {"reasoning_effort": "low", "max_tokens": 5000, **tool, **loop},
             None, {"maxTokens": 5000}, "reasoning_effort"),
            ("one of them", old, {"temperature": 0.5, "top_p": 0.5}, None, {"temperature": 0.5}, "top_p"),
            ("adaptive", new, {"reasoning_effort": "minimal", "max_tokens": 5000, **tool, "tool_choice": "required"},
             {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, {"maxTokens": 5000}, None),
            ("none at all", new, {"temperature": 0.5, "max_tokens": 50}, None, {"maxTokens": 50}, "temperature"),
            ("no Claude", "aws/amazon.nova-lite-v1:0", {"reasoning_effort": "low", "temperature": 0.5, "top_p": 0.5}, None,
             {"temperature": 0.5, "topP": 0.5}, "reasoning_effort")):
        r = gw.post("/v1/chat/completions", {"model": model, "messages": MESSAGES, **more})
        assert r.status == 200, (name, r)
        sent = up.requests[-1].json()
        assert sent.get("additionalModelRequestFields") == fields, (name, sent)
        got = sent["inferenceConfig"]
        assert config(got) if callable(config) else got == config, (name, got)
        assert r.headers.get("x-penstock-dropped", "").replace(" ", "") == (dropped or ""), (name, r.headers)


def test_bedrock_bearer_and_refused():
    up = Upstream()
    provider = bedrock(up)
    provider["keys"] = [{"value": "bedrock-api-key"}]
    gw = Gateway({"providers": [provider]})
    assert chat(gw, "aws/openai.x").status == 200
    assert up.requests[0].headers["authorization"] == "Bearer bedrock-api-key"
    assert not [n for n in up.requests[0].headers if n.startswith("x-amz-")]
    up.next(scene.status_script(403, {"message": "The security token included in the request is invalid."},
                                {"x-amzn-errortype": "UnrecognizedClientException"}))
    assert chat(gw, "aws/openai.x").status == 502


# --- Azure ---


def test_azure():
    up = Upstream()
    gw = Gateway({"providers": [{"name": "az", "kind": "azure", "base_url": up.url + "/openai/",
                                 "keys": [{"value": "az-key"}]},
                                {"name": "az2", "kind": "azure", "base_url": up.url, "keys": [{"value": "az-key"}],
                                 "api_version": "2025-04-01-preview", "health_check": {"every": "1h"}}]})
    assert chat(gw, "az/my gpt:4").status == 200
    sent = up.requests[0]
    assert sent.path == "/openai/deployments/my%20gpt%3A4/chat/completions?api-version=2024-10-21", sent.path
    assert sent.headers["api-key"] == "az-key" and "authorization" not in sent.headers
    assert chat(gw, "az2/d").status == 200
    assert up.requests[1].path == "/openai/deployments/d/chat/completions?api-version=2025-04-01-preview"
    up.next(lambda a: a.whole(200, {"id": "resp_1", "object": "response", "status": "completed", "model": "d", "output": [],
                                    "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}))
    r = gw.post("/v1/responses", {"model": "az/d", "input": "Hi"})
    assert up.requests[-1].path == "/openai/v1/responses" and up.requests[-1].json()["model"] == "d", r
    # more deployments than URLs are kept
    for i in range(40):
        assert chat(gw, f"az/d{i}").status == 200
    assert up.requests[-1].path == "/openai/deployments/d39/chat/completions?api-version=2024-10-21"


def test_azure_first_chunk_and_filter():
    def script(a):
        a.sse()
        a.event({"choices": [], "created": 0, "id": "", "model": "", "object": "",
                 "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]})
        a.event(scene.chat_chunk("Hi"))
        a.event({"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {"check_offset": 1}}],
                 "id": "", "model": "", "object": "", "created": 0})
        a.event(scene.chat_chunk(finish="stop"))
        a.event("[DONE]")
        a.end()
    up = Upstream(default=script)
    gw = Gateway({"providers": [{"name": "az", "kind": "azure", "base_url": up.url, "keys": [{"value": "k"}]}]})
    r = chat(gw, "az/d", stream=True)
    assert r.status == 200 and r.events()[-1][1] == "[DONE]", r
    up.next(scene.status_script(400, {"error": {"message": "filtered", "type": None, "param": "prompt",
                                                "code": "content_filter", "status": 400}}))
    r = chat(gw, "az/d")
    assert r.status == 400 and r.json()["error"]["code"] == "content_filter", r


# --- Google ---


class Google:
    """A token endpoint that looks at what it is given, and the API that wants its tokens."""

    def __init__(self, expires=3600):
        self.dir = tempfile.mkdtemp(prefix="penstock-google-")
        self.key, self.public = os.path.join(self.dir, "key.pem"), os.path.join(self.dir, "public.pem")
        subprocess.run(["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out",
                        self.key], check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["openssl", "pkey", "-in", self.key, "-pubout", "-out", self.public], check=True)
        self.expires, self.issued, self.go = expires, 0, None
        self.lock = threading.Lock()
        self.tokens = Upstream(default=self.token)
        self.api = Upstream(default=self.answer)
        self.claims = []

    def account(self, name="account.json", **more):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            json.dump({"type": "service_account", "project_id": "of-file", "private_key_id": "kid-1",
                       "private_key": open(self.key).read(), "client_email": "gw@p.iam.gserviceaccount.com",
                       "token_uri": self.tokens.url + "/token", **more}, f, indent=2)
        os.chmod(path, 0o644)
        return path

    def provider(self, **more):
        return {"name": "vx", "kind": "vertex", "base_url": self.api.url, "location": "us-east5",
                "keys": [{"service_account": self.account()}], **more}

    def token(self, a):
        form = urllib.parse.parse_qs(a.request.body.decode(), strict_parsing=True)
        assert a.request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"] and a.request.path == "/token"
        self.claims.append(self.verify(form["assertion"][0]))
        if self.go:
            a.wait(self.go)
        with self.lock:
            self.issued += 1
            n = self.issued
        a.whole(200, {"access_token": f"ya29.{n}", "expires_in": self.expires, "token_type": "Bearer"})

    def verify(self, jwt):
        def raw(part):
            assert "=" not in part
            return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        head, claims, signature = jwt.split(".")
        path = os.path.join(self.dir, f"sig{threading.get_ident()}")
        with open(path, "wb") as f:
            f.write(raw(signature))
        subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.public, "-signature", path], check=True,
                       input=f"{head}.{claims}".encode(), stdout=subprocess.DEVNULL)
        head, claims = json.loads(raw(head)), json.loads(raw(claims))
        assert head == {"alg": "RS256", "typ": "JWT", "kid": "kid-1"}, head
        assert claims["iss"] == "gw@p.iam.gserviceaccount.com" and claims["aud"] == self.tokens.url + "/token"
        assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        assert abs(claims["iat"] - time.time()) < 60 and claims["exp"] - claims["iat"] == 3600
        return claims

    def answer(self, a):
        if a.request.headers.get("authorization") != f"Bearer ya29.{self.issued}":
            a.whole(401, {"error": {"code": 401, "message": "bad token", "status": "UNAUTHENTICATED"}})
            return
        scene.chat_script()(a)


MODEL = "vx/meta/llama-4"
PATH = "/v1/projects/of-file/locations/us-east5/endpoints/openapi/chat/completions"


def test_vertex_one_token_for_all():
    g = Google()
    g.go = threading.Event()
    gw = Gateway({"providers": [g.provider()]}, workers=1)
    got = []
    threads = [threading.Thread(target=lambda: got.append(chat(gw, MODEL).status)) for _ in range(12)]
    for t in threads:
        t.start()
    g.tokens.wait_requests(1)
    assert not g.api.requests
    g.go.set()
    for t in threads:
        t.join(20)
    assert got == [200] * 12 and g.issued == 1, (got, g.issued)
    assert g.api.requests[0].path == PATH, g.api.requests[0].path
    assert chat(gw, MODEL, stream=True).events()[-1][1] == "[DONE]"
    assert g.issued == 1 and len(g.claims) == 1
    log = open(gw.log_path).read()
    assert "ya29" not in log and "PRIVATE KEY" not in log
    assert "PRIVATE KEY" not in gw.run("-T").stdout


def test_vertex_renews():
    g = Google(expires=4)
    gw = Gateway({"providers": [g.provider()]}, workers=1)
    wait_for(lambda: chat(gw, MODEL).status == 200 and g.issued >= 3, "a third token", 30, 0.2)
    assert not [r for r in g.api.requests if r.headers["authorization"] == "Bearer ya29.0"]
    assert g.issued <= len(g.api.requests)


def test_vertex_refused():
    g = Google()
    gw = Gateway({"providers": [g.provider()]}, workers=1)
    g.tokens.next(scene.status_script(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}))
    r = chat(gw, MODEL)
    assert r.status == 502 and "credentials" in r.text, r
    assert not g.api.requests and g.issued == 0
    assert chat(gw, MODEL).status == 502 and len(g.tokens.requests) == 1  # not by each request of a crowd
    wait_for(lambda: chat(gw, MODEL).status == 200, "another try", 10, 0.1)
    assert g.issued == 1


def test_vertex_endpoint_down_for_a_moment():
    g = Google()
    gw = Gateway({"providers": [g.provider(retry={"max": 2, "initial_backoff": "10ms"})]}, workers=1)
    g.tokens.next(scene.status_script(503, {}), lambda a: a.whole(200, b"{\"access_token\": 7}"))
    r = chat(gw, MODEL)
    assert r.status == 200 and g.issued == 1, r


def test_vertex_leaves_while_waiting():
    """The client goes while its call waits for a token, and so does the whole worker."""
    g = Google()
    g.go = threading.Event()
    gw = Gateway({"providers": [g.provider()]}, workers=1)
    c = gw.client()
    c.request("POST", "/v1/chat/completions", {"model": MODEL, "messages": MESSAGES})
    g.tokens.wait_requests(1)
    c.close()
    g.go.set()
    assert chat(gw, MODEL).status == 200 and g.issued == 1
    assert len(g.api.requests) == 1


def test_vertex_plain_token_and_bad_key():
    g = Google()
    g.issued = 9
    p = g.provider(keys=[{"value": "ya29.9"}], project="mine")
    gw = Gateway({"providers": [p]})
    assert chat(gw, MODEL).status == 200
    assert g.api.requests[0].path == PATH.replace("of-file", "mine")
    p = g.provider(keys=[{"service_account": g.account("bad.json", private_key="-----BEGIN PRIVATE KEY-----\nAAAA\n")}])
    gw = Gateway({"providers": [p]})
    r = chat(gw, MODEL)
    assert r.status == 502, r
    assert "cannot be used" in open(gw.log_path).read() and not g.tokens.requests


def test_vertex_token_not_taken():
    """A token that the API does not take any more is not used again."""
    g = Google()
    gw = Gateway({"providers": [g.provider()]}, workers=1)
    assert chat(gw, MODEL).status == 200
    g.api.next(scene.status_script(401, {"error": {"code": 401, "message": "revoked", "status": "UNAUTHENTICATED"}}))
    assert chat(gw, MODEL).status == 502 and g.issued == 1
    assert chat(gw, MODEL).status == 200 and g.issued == 2


def test_vertex_of_a_person():
    """What gcloud leaves for applications."""
    g = Google()

    def script(a):
        form = urllib.parse.parse_qs(a.request.body.decode(), strict_parsing=True)
        assert form == {"grant_type": ["refresh_token"], "client_id": ["id.apps"], "client_secret": ["s+/=&"],
                        "refresh_token": ["1//r"]}, form
        g.issued += 1
        a.whole(200, {"access_token": f"ya29.{g.issued}", "expires_in": 3599})
    g.tokens.default = script
    path = g.account("adc.json", type="authorized_user", client_id="id.apps", client_secret="s+/=&", refresh_token="1//r",
                     private_key=None)
    gw = Gateway({"providers": [{**g.provider(), "keys": [{"service_account": path}], "project": "p"}]}, workers=1)
    assert chat(gw, MODEL).status == 200 and chat(gw, MODEL).status == 200 and g.issued == 1


def test_header_of_the_key():
    """A known dialect behind another door: configuration alone."""
    up = Upstream()
    doors = {"bearer": ("authorization", "Bearer k"), "x-api-key": ("x-api-key", "k"), "api-key": ("api-key", "k"),
             "x-goog-api-key": ("x-goog-api-key", "k"), "none": None}
    gw = Gateway({"providers": [{**up.provider(name), "auth": name, "keys": [{"value": "k"}]} for name in doors]})
    for name, want in doors.items():
        assert chat(gw, f"{name}/m").status == 200
        got = [(n, v) for n, v in up.requests[-1].headers.items() if n == "authorization" or n.endswith("key")]
        assert got == ([want] if want else []), (name, got)


def test_vertex_claude():
    g = Google()
    gw = Gateway({"providers": [g.provider(location=None, retry={"max": 0})]}, workers=1)
    for path in ("/v1/chat/completions", "/v1/messages"):
        for stream, verb in ((False, "rawPredict"), (True, "streamRawPredict")):
            gw.post(path, {"model": "vx/claude-sonnet-4-5@20250929", "max_tokens": 9, "messages": MESSAGES, "stream": stream})
            sent = g.api.requests[-1]
            assert sent.path == ("/v1/projects/of-file/locations/global/publishers/anthropic/models/"
                                 f"claude-sonnet-4-5%4020250929:{verb}"), sent.path
            body = sent.json()
            assert "model" not in body and body["anthropic_version"] == "vertex-2023-10-16", body
            assert body["max_tokens"] == 9 and len(body["messages"]) == 1
    g.api.next(lambda a: a.whole(200, {"input_tokens": 4}))
    r = gw.post("/v1/messages/count_tokens", {"model": "vx/claude-sonnet-4-5", "messages": MESSAGES})
    assert r.status == 200 and r.json()["input_tokens"] == 4, r
    sent = g.api.requests[-1]
    assert sent.path.endswith("/publishers/anthropic/models/count-tokens:rawPredict"), sent.path
    assert sent.json()["model"] == "claude-sonnet-4-5"


def test_vertex_gemini():
    def answer(a):
        reply = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}],
                 "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
                 "modelVersion": "gemini-2.5-flash", "responseId": "r"}
        if ":countTokens" in a.request.path:
            a.whole(200, {"totalTokens": 3})
        elif "alt=sse" in a.request.path:
            a.sse()
            a.event(reply)
            a.end()
        else:
            a.whole(200, reply)
    g = Google()
    g.api.default = answer
    gw = Gateway({"providers": [g.provider()]}, workers=1)
    at = "/v1/projects/of-file/locations/us-east5/publishers/google/models/gemini-2.5-flash"
    r = chat(gw, "vx/gemini-2.5-flash")
    assert r.status == 200 and r.json()["choices"][0]["message"]["content"] == "Hello.", r
    assert g.api.requests[-1].path == at + ":generateContent", g.api.requests[-1].path
    assert g.api.requests[-1].headers["authorization"] == "Bearer ya29.1"
    r = chat(gw, "vx/gemini-2.5-flash", stream=True)
    assert r.events()[-1][1] == "[DONE]", r
    assert g.api.requests[-1].path == at + ":streamGenerateContent?alt=sse"
    r = gw.post("/v1beta/models/vx%2Fgemini-2.5-flash:countTokens", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]})
    assert r.status == 200 and r.json()["totalTokens"] == 3, r
    assert g.api.requests[-1].path == at + ":countTokens"


scene.main()
