"""The native surface with OpenAI's SDK: a chat, whole and streamed."""

import os

import openai

URL = os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8080")

client = openai.OpenAI(base_url=URL + "/v1", api_key=os.environ.get("PENSTOCK_KEY", "none"))
messages = [{"role": "user", "content": "Say hello."}]

answer = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
print(answer.choices[0].message.content, answer.usage.total_tokens)

for chunk in client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True):
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
