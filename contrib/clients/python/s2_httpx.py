"""S2, the routing gateway: a chat with hints where it may go, and the same streamed."""

import json
import os

import httpx

URL = os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8080")
client = httpx.Client(base_url=URL, headers={"Authorization": "Bearer " + os.environ.get("PENSTOCK_KEY", "none")}, timeout=600)
chat = {"messages": [{"role": "user", "content": "Say hello."}], "routing": {"strategy": "cost"}}

response = client.post("/v1/completions", json=chat)
response.raise_for_status()
print(response.json()["choices"][0]["message"]["content"])

with client.stream("POST", "/v1/completions/stream", json=chat) as stream:
    stream.raise_for_status()
    for line in map(str.rstrip, stream.iter_lines()):  # httpx before 0.24 keeps their ends
        if line.startswith("data: ") and line != "data: [DONE]":
            for choice in json.loads(line[6:])["choices"]:
                print(choice["delta"].get("content") or "", end="", flush=True)
print()
