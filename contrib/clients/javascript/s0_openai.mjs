// S0, the OpenRouter service, with OpenAI's SDK (npm install openai): ids as OpenRouter has them.
import OpenAI from 'openai';

const url = process.env.PENSTOCK_URL ?? 'http://127.0.0.1:8080';
const key = process.env.PENSTOCK_KEY ?? 'none';

const client = new OpenAI({baseURL: url, apiKey: key, defaultHeaders: {'HTTP-Referer': 'https://example.com', 'X-Title': 'Example'}});
const answer = await client.chat.completions.create({model: 'openai/gpt-4o-mini', messages: [{role: 'user', content: 'Say hello.'}]});
console.log(answer.choices[0].message.content);
