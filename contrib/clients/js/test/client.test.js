// Against a gateway whose only provider is the mock: PENSTOCK_URL, PENSTOCK_KEY (with all permissions).
import assert from 'node:assert/strict';
import {createServer} from 'node:http';
import {test} from 'node:test';

import createDefault, {createLLMGateway, LLMGateway, LLMGatewayError} from '../index.js';

const url = process.env.PENSTOCK_URL;
const apiKey = process.env.PENSTOCK_KEY;
const misbehave = how => ({headers: {'x-penstock-mock': how}});

async function fails(promise, type, more = {}) {
  const e = await promise.then(() => assert.fail('it did not fail'), e => e);
  assert.ok(e instanceof LLMGatewayError, String(e));
  assert.equal(e.type, type, e.message);
  assert.ok(e.message.length > 5);
  for (const [k, v] of Object.entries(more)) assert.equal(e[k], v, `${k} of ${e.message}`);
  return e;
}

async function collect(generator) {
  const pieces = [];
  for (;;) {
    const {value, done} = await generator.next();
    if (done) return [pieces, value];
    pieces.push(value);
  }
}

/** A server of one kind of answer, for what a gateway never does. */
async function server(handler, fn) {
  const s = createServer(handler);
  await new Promise(resolve => s.listen(0, '127.0.0.1', resolve));
  try {
    await fn(`http://127.0.0.1:${s.address().port}`);
  } finally {
    s.closeAllConnections();
    s.close();
  }
}

test('complete', async () => {
  const gateway = createLLMGateway({url, apiKey});
  assert.ok(gateway instanceof LLMGateway && createDefault === createLLMGateway);
  assert.equal(await gateway.initialize(), gateway);
  const a = await gateway.complete([{role: 'user', content: 'Hi there'}], {maxTokens: 100, temperature: 0.7});
  assert.equal(a.content, 'You said: Hi there');
  assert.equal(a.provider, 'mock');
  assert.equal(a.finishReason, 'stop');
  assert.equal(a.usage.totalTokens, a.usage.promptTokens + a.usage.completionTokens);
  assert.ok(a.usage.totalTokens > 0);
  assert.ok('totalCost' in a.cost && a.cost.currency === 'USD');
  assert.ok(a.latency >= 0 && a.requestId && a.cached === false);
  assert.equal((await gateway.complete('a plain text')).content, 'You said: a plain text');
  assert.equal((await gateway.complete('one two three four', {maxTokens: 2})).finishReason, 'length');
  // defaults, an address as others write it, options of the library that are the gateway's now
  const other = createLLMGateway({baseUrl: url + '/api/v1/llm/', token: apiKey, maxTokens: 2, providers: {openai: {apiKey: 'x'}}});
  assert.equal((await other.complete('one two three four')).finishReason, 'length');
  assert.equal((await other.complete('one two', {maxTokens: 50})).finishReason, 'stop');
  assert.equal((await other.complete('Hi', {headers: {'x-request-id': 'mine-1'}})).requestId, 'mine-1');
});

test('stream', async () => {
  const gateway = createLLMGateway({url, apiKey});
  const [pieces, answer] = await collect(gateway.stream('Größe 😀 und mehr'));
  assert.ok(pieces.length > 1);
  assert.equal(pieces.join(''), 'You said: Größe 😀 und mehr');
  assert.equal(answer.content, pieces.join(''));
  assert.ok(answer.usage.totalTokens > 0 && !('type' in answer));
  for await (const piece of gateway.stream('left early')) {
    assert.ok(piece);
    break;
  }
  await fails(collect(gateway.stream('Hi', misbehave('error=2'))), 'service_unavailable', {retryable: true});
});

test('errors', async () => {
  const gateway = createLLMGateway({url, apiKey});
  await fails(createLLMGateway({url, apiKey: 'wrong'}).initialize(), 'authentication_error', {status: 401, retryable: false});
  await fails(createLLMGateway({url, apiKey: ''}).complete('Hi'), 'authentication_error', {status: 401});
  await fails(gateway.complete([]), 'invalid_request_error', {status: 400, retryable: false});
  await fails(gateway.complete('Hi', {maxTokens: 'many'}), 'invalid_request_error');
  await fails(gateway.complete('Hi', misbehave('code=context_length_exceeded')), 'context_length_error', {retryable: false});
  const limited = await fails(gateway.complete('Hi', misbehave('status=429;retry-after=7')), 'rate_limit_error', {status: 429, retryable: true});
  assert.ok(limited.requestId && limited.retryAfterMs === 7000, JSON.stringify(limited));
  await fails(collect(gateway.stream('Hi', misbehave('status=500'))), 'service_unavailable', {retryable: true});
  await fails(createLLMGateway({url: 'http://127.0.0.1:1', apiKey}).initialize(), 'service_unavailable', {status: 0, retryable: true});
});

test('who waits too long, and who leaves', async () => {
  const gateway = createLLMGateway({url, apiKey});
  await fails(gateway.complete('Hi', {...misbehave('delay=20s'), timeoutMs: 100}), 'timeout_error', {status: 0, retryable: true});
  const leave = new AbortController();
  setTimeout(() => leave.abort(), 50);
  await assert.rejects(gateway.complete('Hi', {...misbehave('delay=20s'), signal: leave.signal}), {name: 'AbortError'});
});

test('retries, where they are asked for', async () => {
  let n = 0;
  const refuse = (req, res) => {
    res.writeHead(++n < 3 ? 503 : 200, {'content-type': 'application/json', 'retry-after': '0'});
    res.end(JSON.stringify(n < 3 ? {success: false, error: {type: 'service_unavailable', message: 'Later, please.', retryable: true}}
      : {success: true, data: {content: 'Well.'}}));
  };
  await server(refuse, async at => {
    assert.equal((await createLLMGateway({url: at, retries: 2}).complete('Hi')).content, 'Well.');
    assert.equal(n, 3);
    n = 0;
    await fails(createLLMGateway({url: at}).complete('Hi'), 'service_unavailable', {status: 503});
    assert.equal(n, 1);
  });
});

test('what is no gateway', async () => {
  const page = (req, res) => res.writeHead(200, {'content-type': 'text/html'}).end('<html>');
  await server(page, at => fails(createLLMGateway({url: at}).initialize(), 'service_unavailable', {status: 200}));
  const cut = (req, res) => res.writeHead(200, {'content-type': 'text/event-stream'}).end('data: {"type":"chunk","content":"a"}\n\n');
  await server(cut, at => fails(collect(createLLMGateway({url: at}).stream('Hi')), 'service_unavailable', {retryable: true}));
});

test('what it tells of itself', async () => {
  const gateway = createLLMGateway({url, apiKey});
  assert.ok((await gateway.status()).version);
  assert.ok((await gateway.health()).providers.mock);
  assert.ok((await gateway.metrics({period: 'day'})).gateway.totalRequests >= 0);
  assert.deepEqual((await gateway.test({provider: 'mock'})).results.map(r => [r.provider, r.ok]), [['mock', true]]);
  assert.ok((await gateway.clearCache()).cleared >= 0);
  assert.ok(Array.isArray((await gateway.logs({startTime: new Date(Date.now() - 3600_000), limit: 5})).logs));
});
