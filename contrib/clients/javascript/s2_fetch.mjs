// S2, the routing gateway: a chat with hints where it may go, streamed.
const url = process.env.PENSTOCK_URL ?? 'http://127.0.0.1:8080';
const key = process.env.PENSTOCK_KEY ?? 'none';

const response = await fetch(url + '/v1/completions/stream', {
  method: 'POST',
  headers: {'content-type': 'application/json', authorization: `Bearer ${key}`},
  body: JSON.stringify({messages: [{role: 'user', content: 'Say hello.'}], routing: {strategy: 'cost'}}),
});
if (!response.ok) throw new Error((await response.json()).error.message);

let text = '';
for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (text + piece).split('\n');
  text = lines.pop();
  for (const line of lines) {
    if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
    process.stdout.write(JSON.parse(line.slice(6)).choices[0]?.delta?.content ?? '');
  }
}
console.log();
