"""S4, the cost-aware gateway: what a question would cost, then its answer and what it did cost."""

import os

import httpx

URL = os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8080")

client = httpx.Client(base_url=URL, headers={"X-API-Key": os.environ.get("PENSTOCK_KEY", "none")}, timeout=600)
question = {"query": "Say hello.", "task_type": "text_generation"}

forecast = client.post("/v1/gateway/cost-estimate", json={**question, "expected_response_tokens": 100}).json()
for row in [forecast, *forecast["alternatives"]]:
    print(row["provider"], row["model"], row["num_tokens"], row["cost"]["estimated_usd"])

response = client.post("/v1/gateway/query", json={**question, "max_cost_usd": 0.01})
answer = response.json()
if response.is_error:
    raise SystemExit(answer["error"])
print(answer["response"], answer["model"], answer["num_tokens"], answer["cost_usd"])
