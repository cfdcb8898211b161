// S1, the enterprise gateway, by the client in ../js, and without it. The key may be a JSON Web Token.
import {createLLMGateway} from '../js/index.js';

const url = process.env.PENSTOCK_URL ?? 'http://127.0.0.1:8080';
const key = process.env.PENSTOCK_KEY ?? 'none';

const gateway = await createLLMGateway({url, apiKey: key}).initialize();
const answer = await gateway.complete([{role: 'user', content: 'Say hello.'}], {maxTokens: 64, temperature: 0.7});
console.log(answer.content, answer.provider, answer.usage.totalTokens, answer.cost.totalCost);

const response = await fetch(url + '/api/v1/llm/chat/completions', {
  method: 'POST',
  headers: {'content-type': 'application/json', authorization: `Bearer ${key}`},
  body: JSON.stringify({messages: [{role: 'user', content: 'Say hello.'}]}),
});
const {success, data, error} = await response.json();
if (!success) throw new Error(`${error.type}: ${error.message}`);
console.log(data.content);
