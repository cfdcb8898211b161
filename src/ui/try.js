// Ask a model, or two side by side, by one of the surfaces that programs use.

import {append, copy, field, h, int, ms, newId, notice, select, show as put, tile, usd} from './dom.js';
import {curl, events, failure, get, send} from './api.js';

// --- surfaces: how a question is put to each, and what its answer tells ---

const maybe = (o) => Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined && v !== ''));
const usageOf = (input, output, cached, reasoning) => (input === undefined && output === undefined ? null : {input, output, cached: cached ?? 0, reasoning: reasoning ?? 0});
const chatUsage = (u) => u && usageOf(u.prompt_tokens, u.completion_tokens, u.prompt_tokens_details?.cached_tokens, u.completion_tokens_details?.reasoning_tokens);
const messagesUsage = (u) => u && usageOf(
    u.input_tokens === undefined ? undefined : u.input_tokens + (u.cache_read_input_tokens ?? 0) + (u.cache_creation_input_tokens ?? 0),
    u.output_tokens, u.cache_read_input_tokens);
const responsesUsage = (u) => u && usageOf(u.input_tokens, u.output_tokens, u.input_tokens_details?.cached_tokens, u.output_tokens_details?.reasoning_tokens);
const geminiUsage = (u) => u && usageOf(u.promptTokenCount, (u.candidatesTokenCount ?? 0) + (u.thoughtsTokenCount ?? 0), u.cachedContentTokenCount, u.thoughtsTokenCount);

// piece(json, event) of a stream and whole(json): {text, thought, usage, stop, error}
const surfaces = {
    chat: {
        label: 'OpenAI chat',
        path: () => '/v1/chat/completions',
        body: (q) => ({...maybe({model: q.model}),
            messages: [...(q.system ? [{role: 'system', content: q.system}] : []), {role: 'user', content: q.prompt}],
            ...maybe({temperature: q.temperature, top_p: q.top_p, max_tokens: q.max_tokens, stream: q.stream || undefined, stream_options: q.stream ? {include_usage: true} : undefined})}),
        piece: (j) => ({text: j.choices?.[0]?.delta?.content, thought: j.choices?.[0]?.delta?.reasoning_content, stop: j.choices?.[0]?.finish_reason, usage: chatUsage(j.usage), error: j.error?.message}),
        whole: (j) => ({text: j.choices?.[0]?.message?.content, thought: j.choices?.[0]?.message?.reasoning_content, stop: j.choices?.[0]?.finish_reason, usage: chatUsage(j.usage)}),
    },
    responses: {
        label: 'OpenAI Responses',
        path: () => '/v1/responses',
        body: (q) => ({...maybe({model: q.model}), input: q.prompt, store: false,
            ...maybe({instructions: q.system, temperature: q.temperature, top_p: q.top_p, max_output_tokens: q.max_tokens, stream: q.stream || undefined})}),
        piece: (j) => ({
            text: j.type === 'response.output_text.delta' ? j.delta : undefined,
            thought: j.type === 'response.reasoning_summary_text.delta' ? j.delta : undefined,
            stop: j.response?.status === 'in_progress' ? undefined : j.response?.status,
            usage: responsesUsage(j.response?.usage),
            error: j.type === 'error' ? j.message ?? j.error?.message : j.response?.error?.message,
        }),
        whole: (j) => ({text: (j.output ?? []).flatMap((o) => o.content ?? []).map((c) => c.text ?? '').join(''), stop: j.status, usage: responsesUsage(j.usage)}),
    },
    messages: {
        label: 'Anthropic Messages',
        path: () => '/v1/messages',
        headers: {'anthropic-version': '2023-06-01'},
        needsModel: true,
        body: (q) => ({model: q.model, max_tokens: q.max_tokens ?? 1024,
            ...maybe({system: q.system}), messages: [{role: 'user', content: q.prompt}],
            ...maybe({temperature: q.temperature, top_p: q.top_p, stream: q.stream || undefined})}),
        piece: (j) => ({
            text: j.delta?.text, thought: j.delta?.thinking, stop: j.delta?.stop_reason,
            usage: messagesUsage(j.message?.usage ?? j.usage), error: j.type === 'error' ? j.error?.message : undefined,
        }),
        whole: (j) => ({text: (j.content ?? []).map((c) => c.text ?? '').join(''), thought: (j.content ?? []).map((c) => c.thinking ?? '').join(''), stop: j.stop_reason, usage: messagesUsage(j.usage)}),
    },
    gemini: {
        label: 'Gemini',
        path: (q) => `/v1beta/models/${q.model.split('/').map(encodeURIComponent).join('/')}:${q.stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
        body: (q) => ({contents: [{role: 'user', parts: [{text: q.prompt}]}],
            ...(q.system ? {systemInstruction: {parts: [{text: q.system}]}} : {}),
            generationConfig: maybe({temperature: q.temperature, topP: q.top_p, maxOutputTokens: q.max_tokens})}),
        piece: (j) => ({
            text: parts(j).filter((p) => !p.thought).map((p) => p.text ?? '').join(''),
            thought: parts(j).filter((p) => p.thought).map((p) => p.text ?? '').join(''),
            stop: j.candidates?.[0]?.finishReason, usage: geminiUsage(j.usageMetadata), error: j.error?.message,
        }),
        needsModel: true,
    },
};
const parts = (j) => j.candidates?.[0]?.content?.parts ?? [];
surfaces.gemini.whole = surfaces.gemini.piece;

function request(q) {
    const s = surfaces[q.surface], body = s.body(q), routing = maybe({task: q.task});
    if (Object.keys(routing).length)
        body.routing = routing;
    return {path: s.path(q), options: {body, headers: {...s.headers, ...(q.fresh ? {'cache-control': 'no-cache'} : {})}}};
}

// --- one answer ---

// What it cost: a whole answer says it; of a stream it is reckoned from the price list.
async function costOf(headers, usage, asked, prices) {
    const said = headers.get('x-penstock-cost-usd');
    if (said !== null)
        return {usd: Number(said), exact: true};
    if (['hit', 'semantic'].includes(headers.get('x-penstock-cache')))
        return {usd: 0, exact: true};
    const provider = headers.get('x-penstock-provider'), model = headers.get('x-penstock-model');
    if (!usage || !model)
        return null;
    try {
        const listed = prices.find((m) => m.id === asked && m.owned_by === provider);
        const price = (listed ?? await get(`/v1/models/${encodeURIComponent(`${provider}/${model}`)}`)).pricing;
        if (price?.input === undefined || price.output === undefined)
            return null;
        const fresh = (usage.input ?? 0) - usage.cached;
        return {usd: (fresh * price.input + usage.cached * (price.cached_input ?? price.input) + (usage.output ?? 0) * price.output) / 1e6, exact: false};
    } catch {
        return null;
    }
}

function pane(title, prices) {
    const id = newId('answer');
    const heading = h('h2', {id}, title), text = h('div', {class: 'output', tabindex: 0, role: 'log', 'aria-labelledby': id}, h('span', {class: 'empty'}, 'The answer will be here.'));
    const numbers = h('div'), status = h('span', {class: 'note'});
    const node = h('section', {class: 'card', 'aria-labelledby': id}, h('header', {}, heading, status), text, numbers);
    const tell = async (r, state) => {
        const of = (name) => r.headers.get(name) ?? '–', u = state.usage, cost = await costOf(r.headers, u, state.asked, prices);
        put(numbers, h('dl', {class: 'tiles slim'},
            tile('Tokens in', u ? int(u.input) : '–'), tile('out', u ? int(u.output) : '–', u?.reasoning ? `${int(u.reasoning)} reasoning` : null), tile('cached', u ? int(u.cached) : '–'),
            tile('Cost', cost ? `${cost.exact ? '' : '≈\u00a0'}${usd(cost.usd)}` : 'unknown'),
            tile('Latency', ms(state.total), state.first && `first ${ms(state.first)}`),
            tile('Provider', of('x-penstock-provider'), of('x-penstock-attempts') > 1 ? `${of('x-penstock-attempts')} attempts` : null),
            tile('Model', of('x-penstock-model')), tile('Cache', of('x-penstock-cache'))));
        status.textContent = [state.stopped ? 'stopped' : state.stop, r.headers.get('x-request-id')].filter(Boolean).join(' · ');
    };
    const run = async (q, signal) => {
        const begun = performance.now(), state = {asked: q.model}, s = surfaces[q.surface], {path, options} = request(q);
        let thought = null, words = null;
        const take = (o) => {
            if (o.thought) {
                thought ??= text.insertBefore(h('span', {class: 'thought'}), text.firstChild);
                thought.append(o.thought);
            }
            if (o.text) {
                words ??= text.appendChild(document.createTextNode(''));
                words.appendData(o.text);
            }
            if (o.thought || o.text)
                state.first ??= performance.now() - begun;
            if (o.usage)
                state.usage = {...state.usage, ...Object.fromEntries(Object.entries(o.usage).filter(([, v]) => v !== undefined))};
            state.stop = o.stop || state.stop;
            if (o.error)
                append(node, notice('bad', 'The answer broke off.', o.error));
        };
        node.querySelectorAll('.notice').forEach((n) => n.remove());
        put(numbers);
        put(text);
        status.textContent = '';
        text.classList.add('waiting');
        let r = null;
        try {
            r = await send('POST', path, {...options, signal});
            if (!r.ok)
                throw await failure(r);
            if (r.headers.get('content-type')?.startsWith('text/event-stream'))
                await events(r, (e) => e.data !== '[DONE]' && take(s.piece(JSON.parse(e.data))));
            else
                take(s.whole(await r.json()));
        } catch (e) {
            state.stopped = e.name === 'AbortError';
            if (!state.stopped)
                node.insertBefore(notice('bad', e.status ? `${e.status}` : 'No answer', e.message), numbers);
        }
        text.classList.remove('waiting');
        state.total = performance.now() - begun;
        if (r)
            await tell(r, state);
        else if (state.stopped)
            status.textContent = 'stopped';
    };
    return {node, heading, run};
}

// --- the view ---

export function show({head, body, here}) {
    const may = here.caller.permissions.includes('completion');
    if (!may) {
        put(body, notice('warn', 'This key may not ask models.', `${here.caller.key} lacks the permission completion.`));
        return undefined;
    }
    const known = h('datalist', {id: newId('models')});
    const number = (props) => h('input', {type: 'number', inputmode: 'decimal', placeholder: 'default', ...props});
    const model = (label) => h('input', {list: known.id, autocomplete: 'off', spellcheck: 'false', placeholder: label});
    const c = {
        surface: select(Object.entries(surfaces).map(([k, s]) => [k, s.label]), 'chat'),
        model: model('the default'), other: model('another model'),
        task: select([['', 'none'], ...here.tasks], ''),
        system: h('textarea', {rows: 2}), prompt: h('textarea', {rows: 4, required: true}),
        temperature: number({min: 0, max: 2, step: 0.1}), top_p: number({min: 0, max: 1, step: 0.05}), max_tokens: number({min: 1, step: 1}),
        stream: h('input', {type: 'checkbox', checked: true}), fresh: h('input', {type: 'checkbox'}),
    };
    const prices = [], panes = [pane('Answer', prices), pane('Answer of the other', prices)];
    const compare = h('button', {type: 'button', 'aria-pressed': 'false', onclick: () => setCompare(compare.getAttribute('aria-pressed') !== 'true')}, 'Compare two');
    const go = h('button', {class: 'primary', type: 'submit'}, 'Ask'), stop = h('button', {type: 'button', disabled: true}, 'Stop');
    const answers = h('div', {class: 'answers'}, panes[0].node);
    const otherField = field('Other model', c.other);
    const two = () => compare.getAttribute('aria-pressed') === 'true';
    const setCompare = (on) => {
        compare.setAttribute('aria-pressed', String(on));
        otherField.hidden = !on;
        answers.classList.toggle('two', on);
        put(answers, panes[0].node, on && panes[1].node);
        label();
    };
    const num = (input) => (input.value === '' ? undefined : Number(input.value));
    const question = (which) => ({
        surface: c.surface.value, model: which.value.trim(), task: c.task.value, system: c.system.value.trim(), prompt: c.prompt.value,
        temperature: num(c.temperature), top_p: num(c.top_p), max_tokens: num(c.max_tokens), stream: c.stream.checked, fresh: c.fresh.checked,
    });
    const label = () => {
        panes[0].heading.textContent = c.model.value.trim() || 'Answer';
        panes[1].heading.textContent = c.other.value.trim() || 'Answer of the other';
        c.model.required = Boolean(surfaces[c.surface.value].needsModel);
        c.other.required = two();
    };
    let abort = null;
    const ask = async (e) => {
        e.preventDefault();
        label();
        abort = new AbortController();
        go.disabled = true;
        stop.disabled = false;
        await Promise.all([panes[0].run(question(c.model), abort.signal), two() && panes[1].run(question(c.other), abort.signal)]);
        go.disabled = false;
        stop.disabled = true;
    };
    stop.addEventListener('click', () => abort?.abort());
    const asCurl = () => {
        const q = question(c.model), {path, options} = request(q);
        return curl('POST', path, {...options, stream: q.stream});
    };
    const form = h('form', {class: 'card', onsubmit: ask, oninput: label},
        known,
        h('div', {class: 'row'}, field('Surface', c.surface), field('Model', c.model), otherField, field('Task', c.task)),
        field('Prompt', c.prompt),
        h('details', {class: 'more'}, h('summary', {}, 'System prompt and parameters'),
            h('div', {class: 'stack'},
                field('System prompt', c.system),
                h('div', {class: 'row'}, field('Temperature', c.temperature), field('Top p', c.top_p), field('Most tokens', c.max_tokens)),
                h('div', {class: 'row'}, h('label', {class: 'check'}, c.stream, 'Stream'), h('label', {class: 'check'}, c.fresh, 'A fresh answer, not from the cache')))),
        h('div', {class: 'actions'}, go, stop, compare, h('button', {type: 'button', onclick: () => copy(asCurl(), 'curl copied')}, 'Copy curl')));
    c.prompt.addEventListener('keydown', (e) => {
        if (e.key === 'Enter' && (e.ctrlKey || e.metaKey) && !go.disabled)
            form.requestSubmit();
    });
    append(head, h('p', {class: 'lead keys'}, 'Ctrl+Enter asks.'));
    put(body, form, answers);
    setCompare(false);
    get('/v1/models').then(({data}) => {
        prices.push(...data);
        put(known, data.map((m) => h('option', {value: m.id}, m.owned_by)));
        if (data.length && !c.model.value)
            c.model.placeholder = `the default, or one of ${data.length}`;
    }).catch((e) => append(body, notice('bad', 'The models could not be listed.', e.message)));
    return () => abort?.abort();
}
