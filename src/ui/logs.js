// The log store: filtered, followed, and each request with its attempts.

import {append, badge, bytes, copy, field, h, int, moment, ms, newId, notice, select, show as put, svg, usd} from './dom.js';
import {get, poll} from './api.js';

const types = [['response,error', 'Requests'], ['error', 'Errors'], ['audit', 'Audit'], ['alert,breaker,reload', 'The gateway itself'], ['', 'All']];
const kind = (status) => (status >= 500 ? 'bad' : status >= 400 ? 'warn' : 'good');

// Members that the table or the timeline has already.
const told = new Set(['time', 'level', 'event', 'attempts', 'prompt', 'answer']);

// Attempts one behind the other; what is left of the time is the gateway's own, and waiting.
function timeline(r) {
    const whole = Math.max(1, r.latency_ms ?? 0, r.attempts.reduce((n, a) => n + (a.ms ?? 0), 0));
    let from = Math.max(0, whole - r.attempts.reduce((n, a) => n + (a.ms ?? 0), 0)) * (r.attempts.length > 1 ? 0 : 1);
    const bar = (left, width, cls) => svg('svg', {viewBox: '0 0 1000 18', preserveAspectRatio: 'none', 'aria-hidden': 'true'},
        svg('rect', {class: 'bar-own', x: 0, y: 8, width: 1000, height: 2, opacity: 0.3}), svg('rect', {class: cls, x: left, y: 2, width: Math.max(4, width), height: 14, rx: 2}));
    return h('ol', {class: 'stack', 'aria-label': 'Attempts'}, r.attempts.map((a) => {
        const left = (1000 * from) / whole, width = (1000 * (a.ms ?? 0)) / whole, ok = a.reason === 'ok';
        from += a.ms ?? 0;
        return h('li', {class: 'lane'}, h('span', {}, h('code', {}, `${a.provider}/${a.model}`), h('span', {class: 'hint'}, ` ${a.key ?? ''}`)),
            bar(left, width, ok ? 'bar-ok' : 'bar-bad'), h('span', {class: 'took'}, ms(a.ms)),
            h('span', {}, badge(ok ? 'good' : 'bad', ok ? `ok ${a.status || ''}` : `${a.reason.replaceAll('_', ' ')} ${a.status || ''}`)));
    }));
}

function value(name, v) {
    if (name === 'cost_usd')
        return v === null ? 'unknown' : usd(v);
    if (name.endsWith('_ms'))
        return ms(v);
    if (name.startsWith('bytes_'))
        return bytes(v);
    if (typeof v === 'boolean')
        return v ? 'yes' : 'no';
    return v !== null && typeof v === 'object' ? JSON.stringify(v) : String(v);
}

async function details(record) {
    let all = [record];
    if (record.request_id)
        all = (await get(`/admin/v1/logs?request_id=${encodeURIComponent(record.request_id)}&limit=20`)).data;
    const id = newId('d'), r = all.find((x) => x.attempts) ?? record, merged = Object.assign({}, ...all.filter((x) => x.event === 'request'), r);
    const dialog = h('dialog', {class: 'large', 'aria-labelledby': id, onclose: () => dialog.remove()},
        h('div', {class: 'stack'},
            h('h2', {id}, r.request_id ? `Request ${r.request_id}` : `${r.event} at ${r.time}`),
            r.message && h('p', {}, r.message),
            r.attempts?.length > 0 && [h('h3', {}, 'Attempts'), timeline(r)],
            h('dl', {class: 'pairs'}, Object.entries(merged).filter(([name, v]) => !told.has(name) && v !== '' && name !== 'message').map(([name, v]) =>
                h('div', {}, h('dt', {}, name.replace(/_(ms|usd)$/, '').replaceAll('_', ' ')), h('dd', {}, value(name, v))))),
            ['prompt', 'answer'].filter((name) => merged[name]).map((name) => [h('h3', {}, name), h('pre', {class: 'mono', tabindex: 0}, merged[name])]),
            h('div', {class: 'actions'}, h('button', {type: 'button', onclick: () => copy(JSON.stringify(all, null, 2), 'JSON copied')}, 'Copy JSON'),
                h('button', {type: 'button', class: 'primary', onclick: () => dialog.close()}, 'Close'))));
    document.body.append(dialog);
    dialog.showModal();
}

const key = (r) => `${r.time} ${r.event} ${r.request_id ?? ''} ${r.message ?? ''}`;

export function show({head, body, query}) {
    const c = {
        type: select(types, query.get('type') ?? types[0][0]),
        ...Object.fromEntries([['key', 'Key'], ['model', 'Model'], ['provider', 'Provider'], ['status', 'Status'], ['request_id', 'Request id']]
            .map(([name, label]) => [name, h('input', {autocomplete: 'off', spellcheck: 'false', value: query.get(name) ?? '', placeholder: name === 'status' ? '429 or 5xx' : null, 'data-label': label})])),
    };
    const problem = h('div', {role: 'status'}), place = h('section', {class: 'card'}), more = h('button', {type: 'button', hidden: true}, 'Older');
    const open = (r) => details(r).catch((e) => put(problem, notice('bad', 'The request could not be read.', e.message)));
    const row = (r) => h('tr', {}, h('td', {}, moment(r.time)),
        h('td', {}, r.status ? badge(kind(r.status), r.status) : badge(r.level === 'info' ? 'plain' : 'warn', r.event)),
        h('td', {class: 'wide'}, h('button', {type: 'button', class: 'link', onclick: () => open(r)}, r.model || r.message || r.event),
            h('span', {class: 'sub'}, [r.provider && `${r.provider}/${r.provider_model ?? ''}`, r.fault?.replaceAll('_', ' '), r.cache && !['off', 'miss'].includes(r.cache) && `cache ${r.cache}`].filter(Boolean).join(' · '))),
        h('td', {}, r.key || '–', r.tenant && h('span', {class: 'sub'}, r.tenant)), h('td', {class: 'number'}, r.latency_ms === undefined ? '' : ms(r.latency_ms)),
        h('td', {class: 'number'}, r.input_tokens === undefined ? '' : `${int(r.input_tokens)} / ${int(r.output_tokens)}`), h('td', {class: 'number'}, r.cost_usd === undefined ? '' : usd(r.cost_usd)));
    const rows = h('tbody');
    put(place, h('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Log'}, h('table', {}, h('caption', {class: 'hidden'}, 'Log, newest first'), h('thead', {}, h('tr', {},
        ['Time', 'Status', 'Model, or what happened', 'Key'].map((t) => h('th', {scope: 'col'}, t)), ['Latency', 'Tokens in / out', 'Cost'].map((t) => h('th', {scope: 'col', class: 'number'}, t)))), rows)));
    const filter = () => {
        const q = new URLSearchParams();
        for (const [name, input] of Object.entries(c))
            if (input.value.trim())
                q.set(name, input.value.trim());
        return q;
    };
    let seen = new Set(), cursor = null, serial = 0;
    const said = (page, q) => {
        cursor = page.has_more ? page.next_cursor : null;
        more.hidden = !cursor;
        put(problem, !rows.firstChild && h('p', {class: 'empty'}, q.size > 1 || !c.type.value ? 'No record has all of this.' : 'Nothing is logged yet.'));
    };
    const fresh = (data) => data.filter((r) => !seen.has(key(r)) && seen.add(key(r)));
    const read = async () => {
        const mine = ++serial, q = filter();
        try {
            const page = await get(`/admin/v1/logs?${q}&limit=100`);
            if (mine !== serial)
                return;
            seen = new Set();
            put(rows, fresh(page.data).map(row));
            said(page, q);
        } catch (e) {
            put(problem, notice('bad', 'The log could not be read.', e.message));
        }
    };
    more.addEventListener('click', async () => {
        const mine = serial, q = filter();
        try {
            const page = await get(`/admin/v1/logs?${q}&limit=100&cursor=${encodeURIComponent(cursor)}`);
            if (mine === serial) {
                append(rows, fresh(page.data).map(row));
                said(page, q);
            }
        } catch (e) {
            put(problem, notice('bad', 'The log could not be read.', e.message));
        }
    });
    const follow = h('button', {type: 'button', 'aria-pressed': 'true', onclick: () => follow.setAttribute('aria-pressed', String(follow.getAttribute('aria-pressed') !== 'true'))}, 'Follow');
    append(head, h('div', {class: 'actions'}, follow));
    put(body, h('form', {class: 'card', onchange: read, onsubmit: (e) => { e.preventDefault(); read(); }},
        h('div', {class: 'row'}, field('Shown', c.type), ['key', 'model', 'provider', 'status', 'request_id'].map((name) => field(c[name].dataset.label, c[name]))),
        h('button', {class: 'hidden', type: 'submit', tabindex: -1}, 'Filter')), problem, place, h('div', {class: 'actions'}, more));
    read();
    return poll(2000, async () => {
        if (follow.getAttribute('aria-pressed') !== 'true' || !rows.isConnected)
            return;
        const mine = serial, page = await get(`/admin/v1/logs?${filter()}&limit=50`);
        if (mine !== serial)
            return;
        const added = fresh(page.data);
        if (added.length) {
            rows.prepend(...added.map(row));
            if (rows.querySelector('tr'))
                put(problem);
        }
    }, (e) => put(problem, notice('bad', 'The log could not be followed.', e.message)));
}
