"""S1, the enterprise gateway. The key may be a JSON Web Token."""

import os

import requests

URL = os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8080")

session = requests.Session()
session.headers["Authorization"] = "Bearer " + os.environ.get("PENSTOCK_KEY", "none")

body = session.post(URL + "/api/v1/llm/chat/completions", timeout=600, json={
    "messages": [{"role": "user", "content": "Say hello."}], "maxTokens": 64, "temperature": 0.7}).json()
if not body["success"]:
    raise SystemExit(f"{body['error']['type']}: {body['error']['message']}")
answer = body["data"]
print(answer["content"], answer["provider"], answer["usage"]["totalTokens"], answer["cost"]["totalCost"])
