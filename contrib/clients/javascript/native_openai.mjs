// The native surface with OpenAI's SDK (npm install openai): a chat, whole and streamed.
import OpenAI from 'openai';

const url = process.env.PENSTOCK_URL ?? 'http://127.0.0.1:8080';
const key = process.env.PENSTOCK_KEY ?? 'none';

const client = new OpenAI({baseURL: url + '/v1', apiKey: key});
const messages = [{role: 'user', content: 'Say hello.'}];

const answer = await client.chat.completions.create({model: 'gpt-4o-mini', messages});
console.log(answer.choices[0].message.content, answer.usage.total_tokens);

for await (const chunk of await client.chat.completions.create({model: 'gpt-4o-mini', messages, stream: true})) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? '');
}
console.log();
