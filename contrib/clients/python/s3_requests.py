"""S3, the microservice: models as provider.model."""

import os

import requests

URL = os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8080")

session = requests.Session()
session.headers["X-API-Key"] = os.environ.get("PENSTOCK_KEY", "none")

response = session.post(URL + "/api/v1/completion", timeout=600, json={
    "model": "openai.gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]})
response.raise_for_status()
print(response.json()["choices"][0]["message"]["content"])

for model in session.get(URL + "/api/v1/models", timeout=60).json()["models"]:
    print(model["id"], model["provider"], model["contextWindow"], ",".join(model["capabilities"]))
