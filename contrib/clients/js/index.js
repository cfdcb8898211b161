/**
 * A client of the enterprise surface, /api/v1/llm, of a penstock gateway, in the shape that its users know as a
 * library: createLLMGateway({...}), initialize(), complete(messages, {maxTokens, temperature}). No dependencies;
 * Node 18.17 or newer, Deno, Bun and browsers. Types: index.d.ts.
 */

const BASE = '/api/v1/llm';
const environment = globalThis.process?.env ?? {};

/** What the gateway refused, or why it could not be asked. */
export class LLMGatewayError extends Error {
  constructor(type, message, more = {}) {
    super(message, more.cause === undefined ? undefined : {cause: more.cause});
    this.name = 'LLMGatewayError';
    this.type = type;
    this.status = more.status ?? 0; // 0: no answer came
    this.retryable = more.retryable ?? false;
    this.provider = more.provider;
    this.requestId = more.requestId;
    this.retryAfterMs = more.retryAfterMs;
  }
}

export function createLLMGateway(options = {}) {
  return new LLMGateway(options);
}

export class LLMGateway {
  #url;
  #key;
  #headers;
  #fetch;
  #timeoutMs;
  #retries;
  #defaults;

  /** Other members, such as the providers' keys that the library took, are the gateway's business now. */
  constructor({url, baseUrl, baseURL, apiKey, token, headers, timeoutMs, retries, fetch, model, provider, maxTokens, temperature} = {}) {
    this.#url = String(url ?? baseUrl ?? baseURL ?? environment.PENSTOCK_URL ?? 'http://127.0.0.1:8080').replace(/\/+$/, '');
    if (this.#url.endsWith(BASE)) this.#url = this.#url.slice(0, -BASE.length);
    this.#key = apiKey ?? token ?? environment.PENSTOCK_KEY ?? ''; // a gateway key or a JSON Web Token
    this.#headers = headers ?? {};
    this.#fetch = fetch ?? ((...a) => globalThis.fetch(...a));
    this.#timeoutMs = timeoutMs ?? 600_000;
    this.#retries = retries ?? 0; // the gateway itself tries again and elsewhere: more of it only adds load
    this.#defaults = {model, provider, maxTokens, temperature};
  }

  /** Is it there, and does it know us? Throws an LLMGatewayError. Gives the client itself. */
  async initialize() {
    await this.status();
    return this;
  }

  /** The answer: id, content, model, provider, finishReason, usage, cost, latency, cached, requestId. */
  async complete(messages, options = {}) {
    return this.#json('POST', '/chat/completions', this.#question(messages, options), options);
  }

  /** Its pieces as they come; what the generator returns at its end is the same object as of complete(). */
  async *stream(messages, options = {}) {
    const response = await this.#ask('POST', '/chat/completions', {...this.#question(messages, options), stream: true}, options);
    let done;
    for await (const data of events(response)) {
      if (data === '[DONE]') break;
      const event = parse(data, response);
      if (event.type === 'error') throw refusal(event.error, response);
      if (event.type === 'chunk') yield event.content;
      else if (event.type === 'done') ({type: done, ...done} = event);
    }
    if (!done) throw new LLMGatewayError('service_unavailable', 'The stream broke off.', {status: response.status, retryable: true});
    return done;
  }

  health(options) {
    return this.#json('GET', '/health', undefined, options);
  }

  status(options) {
    return this.#json('GET', '/status', undefined, options);
  }

  /** provider: all without one; period: hour, day, week or month. */
  metrics({provider, period, ...options} = {}) {
    return this.#json('GET', '/metrics' + query({provider, period}), undefined, options);
  }

  /** For administrators: a small message through each provider, or one. */
  test({provider, ...options} = {}) {
    return this.#json('POST', '/test', {provider}, options);
  }

  /** For administrators; {cleared}. */
  clearCache(options) {
    return this.#json('POST', '/cache/clear', {}, options);
  }

  /** For administrators: a page of the log. */
  logs({startTime, endTime, type, limit, cursor, ...options} = {}) {
    const time = t => (t instanceof Date ? t.toISOString() : t);
    return this.#json('GET', '/logs' + query({startTime: time(startTime), endTime: time(endTime), type, limit, cursor}), undefined, options);
  }

  #question(messages, {signal, timeoutMs, headers, ...options}) {
    const list = typeof messages === 'string' ? [{role: 'user', content: messages}] : messages;
    return {...this.#defaults, ...options, messages: list};
  }

  async #json(method, path, body, options) {
    const response = await this.#ask(method, path, body, options);
    const answer = parse(await guarded(response.text()), response);
    if (answer.success !== true) throw refusal(answer.error, response);
    return answer.data;
  }

  /** A response with a good status. */
  async #ask(method, path, body, options) {
    for (let tried = 0; ; tried++) {
      try {
        return await this.#once(method, path, body, options ?? {});
      } catch (e) {
        if (!(e instanceof LLMGatewayError) || !e.retryable || tried >= this.#retries) throw e;
        await pause(e.retryAfterMs ?? 500 * 2 ** tried, options?.signal);
      }
    }
  }

  async #once(method, path, body, {signal, timeoutMs, headers}) {
    const ms = timeoutMs ?? this.#timeoutMs;
    const response = await guarded(
      this.#fetch(this.#url + BASE + path, {
        method,
        headers: {
          accept: 'application/json, text/event-stream',
          ...(body === undefined ? {} : {'content-type': 'application/json'}),
          ...(this.#key ? {authorization: `Bearer ${this.#key}`} : {}),
          ...this.#headers,
          ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: either(signal, AbortSignal.timeout(ms)),
      }),
    );
    if (response.ok) return response;
    const answer = parse(await guarded(response.text()), response);
    throw refusal(answer.error, response);
  }
}

function query(values) {
  const given = Object.entries(values).filter(([, v]) => v !== undefined && v !== null);
  return given.length ? '?' + new URLSearchParams(given) : '';
}

/** Network failures and timeouts as errors of ours; who aborted himself gets his own reason. */
async function guarded(promise) {
  try {
    return await promise;
  } catch (e) {
    if (e?.name === 'AbortError') throw e;
    const late = e?.name === 'TimeoutError';
    throw new LLMGatewayError(late ? 'timeout_error' : 'service_unavailable',
      late ? 'The gateway did not answer in time.' : `The gateway could not be reached: ${e?.cause?.message ?? e?.message ?? e}`,
      {retryable: true, cause: e});
  }
}

function parse(text, response) {
  try {
    const value = JSON.parse(text);
    if (value && typeof value === 'object') return value;
  } catch {
    // told below
  }
  throw new LLMGatewayError('service_unavailable', `What answered is no gateway of this kind (status ${response.status}).`, {status: response.status});
}

function refusal(error, response) {
  const after = Number(response.headers.get('retry-after'));
  return new LLMGatewayError(error?.type ?? 'service_unavailable', error?.message ?? `The gateway answered with status ${response.status}.`, {
    status: response.status,
    retryable: error?.retryable ?? false,
    provider: error?.provider,
    requestId: error?.requestId ?? response.headers.get('x-request-id') ?? undefined,
    retryAfterMs: response.headers.has('retry-after') && after >= 0 ? after * 1000 : undefined,
  });
}

/** The data of server-sent events. Left early, it cancels the request. */
async function* events(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  try {
    for (;;) {
      const {value, done} = await guarded(reader.read());
      text += done ? decoder.decode() : decoder.decode(value, {stream: true});
      const lines = text.split(/\r\n|\n/);
      text = done ? '' : lines.pop();
      for (const line of lines) if (line.startsWith('data:')) yield line.slice(5).trimStart();
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function either(one, two) {
  if (!one) return two;
  if (AbortSignal.any) return AbortSignal.any([one, two]);
  const both = new AbortController();
  for (const signal of [one, two]) {
    if (signal.aborted) both.abort(signal.reason);
    signal.addEventListener('abort', () => both.abort(signal.reason), {once: true});
  }
  return both.signal;
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)), {once: true});
  });
}

export default createLLMGateway;
