// Providers with their targets and keys, and what an operator does to them by hand.

import {ask, badge, brief, h, int, ms, notice, percent, show as put, table, tile, toast, usd} from './dom.js';
import {get, poll, post} from './api.js';
import {share} from './chart.js';

const kinds = {healthy: 'good', degraded: 'warn', unhealthy: 'bad', drained: 'plain', disabled: 'plain'};
const breakers = {closed: 'good', open: 'bad', half_open: 'warn', 'half-open': 'warn'};

const actions = {
    drain: {label: 'Drain', done: 'gets no new requests', sure: 'No new requests go there until it is enabled again; those under way end as they would.', danger: true},
    enable: {label: 'Enable', done: 'gets requests again'},
    reset: {label: 'Reset', done: 'was reset: breakers closed, keys rested', sure: 'Its breakers are closed and the rests of its keys end.'},
};

async function act(name, provider, refresh) {
    const a = actions[name];
    if (a.sure && !await ask(`${a.label} ${provider}?`, {text: a.sure, confirm: a.label, danger: a.danger}))
        return;
    try {
        await post(`/admin/v1/providers/${encodeURIComponent(provider)}/${name}`);
        toast(`${provider} ${a.done}.`);
    } catch (e) {
        toast(e.message, 'bad');
    }
    refresh();
}

const score = (n) => h('span', {}, int(n), share(n / 100, n >= 80 ? 's1' : n >= 50 ? 's2' : 's4'));

function rests(k) {
    if (!k.resting)
        return badge('good', 'in use');
    return k.rests_until ? badge('bad', 'refused: rests until a reload') : badge('warn', `rests ${ms(k.rests_ms)}`);
}

function card(p, refresh) {
    const can = p.status === 'disabled' ? [] : [p.status === 'drained' ? 'enable' : 'drain', 'reset'];
    return h('section', {class: 'card', 'aria-label': p.name},
        h('header', {}, h('h2', {}, p.name), badge(kinds[p.status] ?? 'plain', p.status), h('span', {class: 'note'}, p.kind),
            h('div', {class: 'actions'}, can.map((name) =>
                h('button', {type: 'button', class: 'small', 'data-action': name, onclick: () => act(name, p.name, refresh)}, actions[name].label, h('span', {class: 'hidden'}, ` ${p.name}`))))),
        p.status !== 'disabled' && h('dl', {class: 'tiles slim'}, tile('Score', score(p.health_score)), tile('Latency', p.requests ? ms(p.latency_ms) : '–', p.requests ? `first byte ${ms(p.first_byte_ms)}` : null),
            tile('Errors', percent(p.error_rate), p.failures_in_a_row ? `${p.failures_in_a_row} in a row` : null), tile('Under way', int(p.in_flight)),
            tile('Attempts', brief(p.requests)), tile('Cost', usd(p.cost_usd))),
        p.keys.length > 0 && table(`Keys of ${p.name}`, [
            {name: 'Key', cell: (k) => h('code', {}, k.id)}, {name: 'From', cell: (k) => k.source}, {name: 'Weight', number: true, cell: (k) => int(k.weight)}, {name: 'State', cell: rests},
        ], p.keys),
        p.targets.length > 0 && table(`Targets of ${p.name}`, [
            {name: 'Model', cell: (t) => h('code', {}, t.model)},
            {name: 'Breaker', cell: (t) => badge(breakers[t.breaker] ?? 'plain', t.breaker + (t.retry_in_ms ? `, again in ${ms(t.retry_in_ms)}` : ''))},
            {name: 'Score', cell: (t) => score(t.health_score)}, {name: 'Latency', number: true, cell: (t) => ms(t.latency_ms)},
            {name: 'Errors', number: true, cell: (t) => percent(t.error_rate)}, {name: 'Attempts', number: true, cell: (t) => brief(t.requests)}, {name: 'Cost', number: true, cell: (t) => usd(t.cost_usd)},
        ], p.targets));
}

export function show({head, body}) {
    const problem = h('div'), list = h('div', {class: 'stack'});
    const summary = h('span', {class: 'lead', role: 'status'}, 'Reading.');
    head.append(summary);
    put(body, problem, list);
    let last = '';
    const refresh = async () => {
        const {providers} = await get('/admin/v1/providers'), text = JSON.stringify(providers);
        const well = providers.filter((p) => p.status === 'healthy').length;
        summary.textContent = `${well} of ${providers.length} healthy · every 3 s`;
        put(problem);
        const held = list.contains(document.activeElement) || document.querySelector('dialog[open]') || String(getSelection()) !== '';
        if (text === last || (held && list.firstChild && !forced))
            return;
        forced = false;
        last = text;
        put(list, providers.length ? providers.map((p) => card(p, again)) : h('p', {class: 'empty'}, 'No provider is configured.'));
    };
    let forced = false;
    const failed = (e) => put(problem, notice('bad', 'The providers could not be read.', e.message));
    const again = () => {
        forced = true;
        refresh().catch(failed);
    };
    return poll(3000, refresh, failed);
}
