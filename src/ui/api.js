// The gateway, as this page talks to it. The key lives in sessionStorage: gone with the tab, and never in a URL.

const KEY = 'penstock.key';

export const getKey = () => sessionStorage.getItem(KEY) ?? '';
export const setKey = (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY));

export class ApiError extends Error {
    constructor(status, message, data, headers) {
        super(message);
        this.status = status;
        this.data = data;
        this.headers = headers;
    }
}

// The sentence in an error of whatever shape.
export function errorText(data, status) {
    const e = data?.error ?? data;
    return (typeof e === 'string' ? e : e?.message) ?? `The gateway answered ${status}.`;
}

// The answer, whatever its status; its body is still to be read. Throws when there is none.
export async function send(method, path, {body, headers = {}, signal} = {}) {
    const all = {...headers}, key = getKey();
    if (key)
        all.authorization = `Bearer ${key}`;
    if (body !== undefined && typeof body !== 'string' && !(body instanceof FormData))
        body = JSON.stringify(body);
    if (typeof body === 'string')
        all['content-type'] ??= 'application/json';
    try {
        const r = await fetch(path, {method, body, headers: all, signal, credentials: 'omit', redirect: 'error'});
        if (r.status === 401 && key) // it was good when the page began
            dispatchEvent(new Event('refused'));
        return r;
    } catch (e) {
        if (e.name === 'AbortError')
            throw e;
        throw new ApiError(0, 'The gateway cannot be reached.');
    }
}

export async function failure(response) {
    const text = await response.text();
    let data = null;
    try {
        data = JSON.parse(text);
    } catch { /* no JSON: the status says it */ }
    return new ApiError(response.status, errorText(data, response.status), data, response.headers);
}

async function good(method, path, options) {
    const r = await send(method, path, options);
    if (!r.ok)
        throw await failure(r);
    return r;
}

export const get = async (path, options) => (await good('GET', path, options)).json();
export const getText = async (path, options) => (await good('GET', path, options)).text();
export const post = async (path, body, options) => (await good('POST', path, {body, ...options})).json();
export const patch = async (path, body) => (await good('PATCH', path, {body})).json();
export const remove = async (path) => (await good('DELETE', path)).json();
export const session = () => get('/ui/session');

// Server-sent events of a body, as they come: fn({event, data}).
export async function events(response, fn) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '', event = '', data = [];
    const line = (text) => {
        if (text === '') {
            if (data.length)
                fn({event, data: data.join('\n')});
            event = '';
            data = [];
        } else if (text.startsWith('data:')) {
            data.push(text.slice(text[5] === ' ' ? 6 : 5));
        } else if (text.startsWith('event:')) {
            event = text.slice(6).trim();
        }
    };
    for (;;) {
        const {value, done} = await reader.read();
        if (done)
            break;
        const lines = (rest + value).split('\n');
        rest = lines.pop();
        for (const one of lines)
            line(one.endsWith('\r') ? one.slice(0, -1) : one);
    }
    line(rest);
    line('');
}

// Calls fn now and every `every` ms while the page is looked at; fn's errors go to `failed`. Returns what stops it.
export function poll(every, fn, failed) {
    let timer = null, over = false;
    const turn = async () => {
        timer = null;
        try {
            if (!document.hidden)
                await fn();
        } catch (e) {
            if (!over)
                failed(e);
        }
        if (!over)
            timer = setTimeout(turn, every);
    };
    turn();
    return () => {
        over = true;
        clearTimeout(timer);
    };
}

// What a shell takes for this request. The key is named, not shown.
export function curl(method, path, {body, headers = {}, stream = false} = {}) {
    const quote = (s) => `'${s.replaceAll("'", "'\\''")}'`;
    const lines = [`curl ${stream ? '-N ' : ''}${method === 'GET' ? '' : `-X ${method} `}${quote(location.origin + path)}`];
    if (getKey())
        lines.push('-H "Authorization: Bearer $PENSTOCK_KEY"');
    if (body !== undefined)
        lines.push("-H 'Content-Type: application/json'");
    for (const [name, value] of Object.entries(headers))
        lines.push(`-H ${quote(`${name}: ${value}`)}`);
    if (body !== undefined)
        lines.push(`-d ${quote(typeof body === 'string' ? body : JSON.stringify(body, null, 2))}`);
    return lines.join(' \\\n  ');
}
