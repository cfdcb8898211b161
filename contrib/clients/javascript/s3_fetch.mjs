// S3, the microservice: models as provider.model.
const url = process.env.PENSTOCK_URL ?? 'http://127.0.0.1:8080';
const key = process.env.PENSTOCK_KEY ?? 'none';
const headers = {'content-type': 'application/json', 'x-api-key': key};

const response = await fetch(url + '/api/v1/completion', {
  method: 'POST',
  headers,
  body: JSON.stringify({model: 'openai.gpt-4o-mini', messages: [{role: 'user', content: 'Say hello.'}]}),
});
const answer = await response.json();
if (!response.ok) throw new Error(answer.error.message);
console.log(answer.choices[0].message.content);

const {models} = await (await fetch(url + '/api/v1/models', {headers})).json();
for (const m of models) console.log(m.id, m.provider, m.contextWindow, m.capabilities.join());
