// S4, the cost-aware gateway: what a question would cost, then its answer and what it did cost.
const url = process.env.PENSTOCK_URL ?? 'http://127.0.0.1:8080';
const key = process.env.PENSTOCK_KEY ?? 'none';

async function ask(path, body) {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: {'content-type': 'application/json', 'x-api-key': key},
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error); // a sentence
  return answer;
}

const question = {query: 'Say hello.', task_type: 'text_generation'};
const forecast = await ask('/v1/gateway/cost-estimate', {...question, expected_response_tokens: 100});
for (const row of [forecast, ...forecast.alternatives]) console.log(row.provider, row.model, row.num_tokens, row.cost.estimated_usd);

const answer = await ask('/v1/gateway/query', {...question, max_cost_usd: 0.01});
console.log(answer.response, answer.model, answer.num_tokens, answer.cost_usd);
