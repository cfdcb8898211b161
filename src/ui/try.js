// Ask a model, or two side by side, by one of the surfaces that programs use.

import {append, badge, copy, field, h, int, ms, newId, notice, select, show as put, table, tile, usd} from './dom.js';
import {curl, events, failure, get, post, send} from './api.js';
import {request, surfaces} from './surfaces.js';

// --- one answer ---

// What it cost: a whole answer says it; of a stream it is reckoned from the price list.
async function costOf(headers, {usage, asked, cost}, prices) {
    if (cost !== undefined)
        return {usd: cost, exact: true};
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
        const of = (name) => r.headers.get(name) ?? '–', u = state.usage, cost = await costOf(r.headers, state, prices);
        put(numbers, h('dl', {class: 'tiles slim'},
            tile('Tokens in', u ? int(u.input) : '–', u && `${int((u.input ?? 0) + (u.output ?? 0))} in all`), tile('out', u ? int(u.output) : '–', u?.reasoning ? `${int(u.reasoning)} reasoning` : null), tile('cached', u ? int(u.cached) : '–'),
            tile('Cost', cost ? `${cost.exact ? '' : '≈ '}${usd(cost.usd)}` : 'unknown'),
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
            state.cost = o.cost ?? state.cost;
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

// --- where it would go ---

const reasons = {no_endpoint: 'has no such endpoint'};

async function explain(q) {
    const {path, options} = request(q), e = await post(`/admin/v1/explain?path=${encodeURIComponent(path.split('?')[0])}`, options.body);
    return h('section', {class: 'card', 'aria-label': 'Where it would go'},
        h('header', {}, h('h2', {}, 'Where it would go'), h('span', {class: 'note'}, `${e.strategy}, ${int(e.expected_output_tokens)} tokens of answer expected; nothing was sent`)),
        table('Targets in their order', [
            {name: 'Target', cell: (t) => [h('code', {}, `${t.provider}/${t.model}`), t.fallback && h('span', {class: 'sub'}, 'a fallback')]},
            {name: 'Asked?', cell: (t) => (t.eligible ? badge('good', t.warm ? 'yes, its prompt is warm' : 'yes') : badge('warn', reasons[t.reason] ?? t.reason.replaceAll('_', ' ')))},
            {name: 'Score', number: true, cell: (t) => int(t.health_score)}, {name: 'Under way', number: true, cell: (t) => int(t.in_flight)},
            {name: 'First byte', number: true, cell: (t) => (t.first_byte_ms ? ms(t.first_byte_ms) : '–')},
            {name: 'Tokens in', number: true, cell: (t) => int(t.input_tokens)}, {name: 'Expected cost', number: true, cell: (t) => usd(t.expected_cost_usd)},
        ], e.targets));
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
        surface: select(Object.entries(surfaces).filter(([, s]) => here.surfaces.includes(s.needs)).map(([k, s]) => [k, s.label]), 'chat'),
        model: model('the default'), other: model('another model'),
        task: select([['', 'none'], ...here.tasks], ''),
        system: h('textarea', {rows: 2}), prompt: h('textarea', {rows: 4, required: true}),
        temperature: number({min: 0, max: 2, step: 0.1}), top_p: number({min: 0, max: 1, step: 0.05}), max_tokens: number({min: 1, step: 1}),
        stream: h('input', {type: 'checkbox', checked: true}), fresh: h('input', {type: 'checkbox'}),
    };
    const prices = [], panes = [pane('Answer', prices), pane('Answer of the other', prices)];
    const compare = h('button', {type: 'button', 'aria-pressed': 'false', onclick: () => setCompare(compare.getAttribute('aria-pressed') !== 'true')}, 'Compare two');
    const go = h('button', {class: 'primary', type: 'submit'}, 'Ask'), stop = h('button', {type: 'button', disabled: true}, 'Stop');
    const answers = h('div', {class: 'answers'}, panes[0].node), plan = h('div');
    const otherField = field('Other model', c.other);
    const two = () => compare.getAttribute('aria-pressed') === 'true';
    const setCompare = (on) => {
        compare.setAttribute('aria-pressed', String(on));
        otherField.hidden = !on;
        answers.classList.toggle('two', on);
        put(answers, panes[0].node, on && panes[1].node);
        check();
    };
    const num = (input) => (input.value === '' ? undefined : Number(input.value));
    const question = (which) => ({
        surface: c.surface.value, model: which.value.trim(), task: c.task.value, system: c.system.value.trim(), prompt: c.prompt.value,
        temperature: num(c.temperature), top_p: num(c.top_p), max_tokens: num(c.max_tokens), stream: c.stream.checked, fresh: c.fresh.checked,
    });
    const check = () => {
        c.model.required = Boolean(surfaces[c.surface.value].needsModel);
        c.other.required = two();
    };
    let abort = null;
    const ask = async (e) => {
        e.preventDefault();
        panes[0].heading.textContent = c.model.value.trim() || 'Answer';
        panes[1].heading.textContent = c.other.value.trim() || 'Answer of the other';
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
    const where = here.surfaces.includes('admin') && here.caller.permissions.includes('admin')
        && h('button', {type: 'button', onclick: async () => {
            try {
                put(plan, await explain(question(c.model)));
            } catch (e) {
                put(plan, notice('bad', 'It would go nowhere.', e.message));
            }
        }}, 'Where to?');
    const form = h('form', {class: 'card', onsubmit: ask, oninput: check},
        known,
        h('div', {class: 'row'}, field('Surface', c.surface), field('Model', c.model), otherField, field('Task', c.task)),
        field('Prompt', c.prompt),
        h('details', {class: 'more'}, h('summary', {}, 'System prompt and parameters'),
            h('div', {class: 'stack'},
                field('System prompt', c.system),
                h('div', {class: 'row'}, field('Temperature', c.temperature), field('Top p', c.top_p), field('Most tokens', c.max_tokens)),
                h('div', {class: 'row'}, h('label', {class: 'check'}, c.stream, 'Stream'), h('label', {class: 'check'}, c.fresh, 'A fresh answer, not from the cache')))),
        h('div', {class: 'actions'}, go, stop, compare, h('button', {type: 'button', onclick: () => copy(asCurl(), 'curl copied')}, 'Copy curl'), where));
    c.prompt.addEventListener('keydown', (e) => {
        if (e.key === 'Enter' && (e.ctrlKey || e.metaKey) && !go.disabled)
            form.requestSubmit();
    });
    append(head, h('p', {class: 'lead keys'}, 'Ctrl+Enter asks.'));
    put(body, form, plan, answers);
    setCompare(false);
    get('/v1/models').then(({data}) => {
        prices.push(...data);
        put(known, data.map((m) => h('option', {value: m.id}, m.owned_by)));
        if (data.length && !c.model.value)
            c.model.placeholder = `the default, or one of ${data.length}`;
    }).catch((e) => append(body, notice('bad', 'The models could not be listed.', e.message)));
    return () => abort?.abort();
}
