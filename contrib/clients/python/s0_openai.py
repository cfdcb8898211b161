"""S0, the OpenRouter service, with OpenAI's SDK: ids as OpenRouter has them."""

import os

import openai

URL = os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8080")

client = openai.OpenAI(base_url=URL, api_key=os.environ.get("PENSTOCK_KEY", "none"),
                       default_headers={"HTTP-Referer": "https://example.com", "X-Title": "Example"})
answer = client.chat.completions.create(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": "Say hello."}])
print(answer.choices[0].message.content)
