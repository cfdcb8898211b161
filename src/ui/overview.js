// What goes on now, from two readings of /metrics; and, for administrators, what it cost lately and what is wrong.

import {ask, badge, decimal, duration, h, int, brief, ms, moment, notice, percent, show as put, table, tile, toast, usd} from './dom.js';
import {get, getText, poll, remove} from './api.js';
import {bars, lines} from './chart.js';

const EVERY = 2000, SPAN = 5 * 60 * 1000;

// {name: [{labels, value}]}
export function readMetrics(text) {
    const all = new Map();
    for (const line of text.split('\n')) {
        if (!line || line.startsWith('#'))
            continue;
        const brace = line.indexOf('{'), end = line.lastIndexOf(' ');
        const name = line.slice(0, brace < 0 || brace > end ? end : brace), labels = {};
        if (brace >= 0 && brace < end)
            for (const [, key, value] of line.slice(brace, end).matchAll(/([A-Za-z_]+)="((?:[^"\\]|\\.)*)"/g))
                labels[key] = value.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
        if (!all.has(name))
            all.set(name, []);
        all.get(name).push({labels, value: Number(line.slice(end + 1))});
    }
    return all;
}

const sum = (m, name, keep = () => true) => (m.get(name) ?? []).filter((s) => keep(s.labels)).reduce((n, s) => n + s.value, 0);

function histogram(m, name) {
    return (m.get(`${name}_bucket`) ?? []).map((s) => ({le: s.labels.le === '+Inf' ? Infinity : Number(s.labels.le), n: s.value}));
}

// Of what came between two readings; in ms.
function quantile(before, now, q) {
    const grown = now.map((b, i) => ({le: b.le, n: b.n - (before[i]?.n ?? 0)})), total = grown.at(-1)?.n ?? 0;
    if (total <= 0)
        return NaN;
    const want = q * total, i = grown.findIndex((b) => b.n >= want), low = i ? grown[i - 1] : {le: 0, n: 0};
    if (!Number.isFinite(grown[i].le))
        return low.le * 1000;
    return 1000 * (low.le + (grown[i].le - low.le) * ((want - low.n) / (grown[i].n - low.n || 1)));
}

function reading(text) {
    const m = readMetrics(text), code = (c) => sum(m, 'penstock_requests_total', (l) => l.code === c);
    return {
        at: Date.now(), all: sum(m, 'penstock_requests_total'), failed: code('4xx') + code('5xx'), broken: code('5xx'),
        hits: sum(m, 'penstock_cache_hits_total') + sum(m, 'penstock_cache_semantic_hits_total'), misses: sum(m, 'penstock_cache_misses_total'),
        cost: sum(m, 'penstock_provider_cost_usd_total'), tokens: sum(m, 'penstock_provider_input_tokens_total') + sum(m, 'penstock_provider_output_tokens_total'),
        flight: sum(m, 'penstock_in_flight'), queue: sum(m, 'penstock_queue_depth'), workers: sum(m, 'penstock_workers'),
        connections: sum(m, 'penstock_connections'), uptime: sum(m, 'penstock_uptime_seconds'), generation: sum(m, 'penstock_config_generation'),
        saved: sum(m, 'penstock_cache_saved_usd_total'), took: histogram(m, 'penstock_request_duration_seconds'),
        providers: (m.get('penstock_provider_requests_total') ?? []).map((s) => ({
            name: s.labels.provider, requests: s.value,
            errors: sum(m, 'penstock_provider_errors_total', (l) => l.provider === s.labels.provider),
            flight: sum(m, 'penstock_provider_in_flight', (l) => l.provider === s.labels.provider),
        })),
    };
}

// Over the last ten seconds: a point of the charts.
function point(list) {
    const now = list.at(-1), before = list.findLast((r) => now.at - r.at >= 9500) ?? list[0];
    const s = (now.at - before.at) / 1000, calls = now.all - before.all, looked = now.hits + now.misses - before.hits - before.misses;
    if (s <= 0)
        return {at: now.at};
    return {
        at: now.at, rate: calls / s, errors: (now.failed - before.failed) / s, flight: now.flight,
        p50: quantile(before.took, now.took, 0.5), p95: quantile(before.took, now.took, 0.95), p99: quantile(before.took, now.took, 0.99),
        cost: (now.cost - before.cost) / s * 3600, hit: looked > 0 ? (now.hits - before.hits) / looked : NaN,
    };
}

const card = (title, chart, note, actions) => h('section', {class: 'card'},
    h('header', {}, h('h2', {}, title), note && h('span', {class: 'note'}, note), actions && h('div', {class: 'actions'}, actions)), chart.node);

async function clearCache() {
    if (!await ask('Clear the cache?', {text: 'Every stored answer goes, at once for all workers.', confirm: 'Clear', danger: true}))
        return;
    try {
        const {cleared} = await remove('/admin/v1/cache');
        toast(`${int(cleared)} answers are gone.`);
    } catch (e) {
        toast(e.message, 'bad');
    }
}

function dayOfHours(rows) {
    const byHour = new Map();
    for (const r of rows)
        byHour.set(r.hour, {...byHour.get(r.hour), [r.provider || 'none']: r.cost_usd ?? 0});
    const columns = [], last = Math.floor(Date.now() / 3600e3) * 3600e3;
    for (let i = 23; i >= 0; i--) {
        const hour = new Date(last - i * 3600e3);
        columns.push({name: `${String(hour.getHours()).padStart(2, '0')}:00`, parts: byHour.get(hour.toISOString().replace('.000Z', 'Z')) ?? {}});
    }
    return columns;
}

export function show({head, body, here}) {
    const admin = here.surfaces.includes('admin') && here.caller.permissions.includes('admin');
    const readings = [], points = [];
    const charts = {
        rate: lines({label: 'Requests per second', span: SPAN, format: (v) => decimal(v, v < 10 ? 1 : 0), series: [{name: 'requests', of: (p) => p.rate}, {name: 'errors', of: (p) => p.errors}]}),
        took: lines({label: 'Latency', span: SPAN, format: ms, series: [{name: 'p50', of: (p) => p.p50}, {name: 'p95', of: (p) => p.p95}, {name: 'p99', of: (p) => p.p99}]}),
        cost: lines({label: 'Cost per hour', span: SPAN, format: usd, series: [{name: 'dollars an hour, at this pace', of: (p) => p.cost}]}),
        hit: lines({label: 'Cache hit rate', span: SPAN, format: percent, series: [{name: 'hits', of: (p) => p.hit}]}),
    };
    const spent = admin && bars({label: 'Cost of the last 24 hours', format: usd});
    const tiles = h('dl', {class: 'tiles'}), alerts = h('div', {class: 'stack'}), providers = h('section', {class: 'card'}), problem = h('div');
    const live = h('span', {class: 'lead', role: 'status'}, 'Reading.');
    head.append(live);
    put(body, problem, alerts, tiles,
        h('div', {class: 'cards'}, card('Requests per second', charts.rate), card('Latency', charts.took), card('Cost per hour', charts.cost), card('Cache hit rate', charts.hit, null, admin && h('button', {type: 'button', class: 'small', onclick: clearCache}, 'Clear cache'))),
        spent && card('Cost, last 24 hours', spent, 'by provider, from the ledger'), providers);

    const draw = () => {
        const now = readings.at(-1), p = points.at(-1), looked = now.hits + now.misses;
        put(problem);
        live.textContent = `Every ${EVERY / 1000} s · up ${duration(now.uptime)} · configuration ${now.generation}`;
        put(tiles, tile('Requests / s', p.rate === undefined ? '–' : decimal(p.rate, 1), `${int(now.all)} since the start`),
            tile('Errors', now.all ? percent(now.failed / now.all) : '–', `${int(now.broken)} of them 5xx`),
            tile('Under way', int(now.flight), now.queue ? `${int(now.queue)} wait` : `${int(now.connections)} connections`),
            tile('Latency p95', ms(quantile([], now.took, 0.95)), `p50 ${ms(quantile([], now.took, 0.5))}`),
            tile('Cost', usd(now.cost), `${brief(now.tokens)} tokens`),
            tile('Cache', looked ? percent(now.hits / looked) : '–', now.saved ? `${usd(now.saved)} saved` : 'hits'),
            tile('Workers', int(now.workers)));
        for (const chart of Object.values(charts))
            chart.update(points);
        put(providers, h('header', {}, h('h2', {}, 'Providers')), table('Providers', [
            {name: 'Provider', cell: (r) => r.name}, {name: 'Attempts', number: true, cell: (r) => int(r.requests)},
            {name: 'Failed', number: true, cell: (r) => (r.requests ? percent(r.errors / r.requests) : '–')}, {name: 'Under way', number: true, cell: (r) => int(r.flight)},
        ], now.providers));
    };
    const stops = [poll(EVERY, async () => {
        readings.push(reading(await getText('/metrics')));
        points.push(point(readings));
        while (readings[0].at < Date.now() - SPAN)
            readings.shift();
        while (points[0].at < Date.now() - SPAN)
            points.shift();
        draw();
    }, (e) => {
        live.textContent = 'Not up to date.';
        put(problem, notice('bad', 'The metrics could not be read.', e.message));
    })];
    if (admin)
        stops.push(poll(15000, async () => {
            const [usage, list] = await Promise.all([
                get(`/admin/v1/usage?group_by=hour,provider&from=${new Date(Date.now() - 23 * 3600e3).toISOString().slice(0, 19)}Z`), get('/admin/v1/alerts')]);
            spent.update(dayOfHours(usage.rows));
            put(alerts, list.active.map((a) => h('div', {class: 'notice warn'}, h('span', {}, badge('warn', a.alert.replaceAll('_', ' ')), ' ', h('strong', {}, a.subject)),
                h('span', {}, `${a.unit}: ${Number(a.value.toPrecision(3))}, threshold ${Number(a.threshold.toPrecision(3))}, since `, moment(a.raised_at)))));
        }, (e) => put(alerts, notice('bad', 'Usage and alerts could not be read.', e.message))));
    return () => [...stops, ...Object.values(charts).map((c) => c.stop), ...(spent ? [spent.stop] : [])].forEach((stop) => stop());
}
