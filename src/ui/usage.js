// Requests, tokens and money from the ledger, grouped; as a chart, a table, and CSV.

import {brief, field, h, int, moment, notice, percent, select, show as put, table, tile, usd} from './dom.js';
import {get, getText} from './api.js';
import {bars, share} from './chart.js';

const groups = [['model', 'Model'], ['provider', 'Provider'], ['key', 'Key'], ['tenant', 'Tenant'], ['day', 'Day']];
const values = {cost_usd: ['Cost', usd], requests: ['Requests', brief], tokens: ['Tokens', brief], errors: ['Errors', brief]};
const valueOf = (row, what) => (what === 'tokens' ? row.input_tokens + row.output_tokens : row[what] ?? 0);

function save(text, name) {
    const a = h('a', {href: URL.createObjectURL(new Blob([text], {type: 'text/csv'})), download: name});
    document.body.append(a);
    a.click();
    a.remove();
    setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}

function days(from, to) {
    const list = [];
    for (let at = Date.parse(`${from}T00:00:00Z`); at <= Date.parse(`${to}T00:00:00Z`) && list.length < 400; at += 86400e3)
        list.push(new Date(at).toISOString().slice(0, 10));
    return list;
}

export function show({body}) {
    const today = new Date(), ago = (n) => new Date(today - n * 86400e3).toISOString().slice(0, 10);
    const c = {
        from: h('input', {type: 'date', value: ago(6), required: true}), to: h('input', {type: 'date', value: ago(0), required: true}),
        by: select(groups, 'model'), what: select(Object.entries(values).map(([k, [label]]) => [k, label]), 'cost_usd'),
    };
    const chart = bars({label: 'Usage by day', format: (v) => values[c.what.value][1](v)});
    const chartCard = h('section', {class: 'card'}, h('header', {}, h('h2', {}, 'By day')), chart.node);
    const total = h('dl', {class: 'tiles'}), rows = h('section', {class: 'card'}), problem = h('div', {role: 'status'});
    const csv = h('button', {type: 'button', onclick: async () => {
        try {
            save(await getText(`/admin/v1/usage?${query(c.by.value)}&format=csv`), `usage-${c.from.value}-${c.to.value}.csv`);
        } catch (e) {
            put(problem, notice('bad', 'No CSV.', e.message));
        }
    }}, 'CSV');
    const query = (by) => `from=${c.from.value}&to=${c.to.value}&group_by=${by}`;
    const budgets = h('section', {class: 'card', hidden: true});
    const readBudgets = async () => {
        const list = (await get('/admin/v1/budgets')).budgets;
        budgets.hidden = !list.length;
        put(budgets, h('header', {}, h('h2', {}, 'Budgets')), table('Budgets', [
            {name: 'Of', cell: (b) => [`${b.scope} `, h('code', {}, b.id)]}, {name: 'For', cell: (b) => (b.period === 'total' ? 'ever' : `a ${b.period}`)},
            {name: 'Dollars', number: true, cell: (b) => usd(b.usd)}, {name: 'Spent', number: true, cell: (b) => usd(b.spent_usd)},
            {name: 'Share', cell: (b) => [percent(b.spent_usd / b.usd), share(b.spent_usd / b.usd, b.spent_usd / b.usd > 0.9 ? 's4' : 's1')]},
            {name: 'Reserved', number: true, cell: (b) => usd(b.reserved_usd)}, {name: 'Anew', cell: (b) => (b.resets_at ? moment(b.resets_at) : 'never')},
        ], list));
    };
    let serial = 0;
    const read = async () => {
        const mine = ++serial, by = c.by.value;
        if (!c.from.value || !c.to.value)
            return;
        try {
            const [grouped, daily] = await Promise.all([get(`/admin/v1/usage?${query(by)}`), get(`/admin/v1/usage?${query(by === 'day' ? 'day' : `day,${by}`)}`)]);
            if (mine === serial)
                draw(grouped, daily, by);
        } catch (e) {
            put(problem, notice('bad', 'Usage could not be read.', e.message));
        }
    };
    const draw = (grouped, daily, by) => {
        const t = grouped.total, what = c.what.value, name = (r) => r[by] || 'none';
        put(problem, grouped.truncated && notice('warn', 'Not all rows are shown.'));
        put(total, tile('Cost', usd(t.cost_usd), t.unpriced_requests ? `${int(t.unpriced_requests)} requests without a price` : null), tile('Requests', int(t.requests)),
            tile('Errors', int(t.errors)), tile('Tokens in', brief(t.input_tokens), `${brief(t.cached_tokens)} cached`), tile('Tokens out', brief(t.output_tokens), `${brief(t.reasoning_tokens)} reasoning`));
        const columns = new Map(days(c.from.value, c.to.value).map((d) => [d, {name: d.slice(5), parts: {}}]));
        for (const r of daily.rows)
            if (columns.has(r.day))
                columns.get(r.day).parts[by === 'day' ? 'all' : name(r)] = valueOf(r, what);
        chart.update([...columns.values()]);
        const sorted = by === 'day' ? grouped.rows : [...grouped.rows].sort((a, b) => valueOf(b, what) - valueOf(a, what));
        put(rows, h('header', {}, h('h2', {}, `By ${by}`), h('span', {class: 'note'}, 'Days are of UTC.'), h('div', {class: 'actions'}, csv)), table(`Usage by ${by}`, [
            {name: groups.find(([k]) => k === by)[1], cell: name},
            {name: 'Requests', number: true, cell: (r) => int(r.requests)}, {name: 'Errors', number: true, cell: (r) => int(r.errors)},
            {name: 'Tokens in', number: true, cell: (r) => int(r.input_tokens)}, {name: 'Cached', number: true, cell: (r) => int(r.cached_tokens)},
            {name: 'Tokens out', number: true, cell: (r) => int(r.output_tokens)}, {name: 'Cost', number: true, cell: (r) => usd(r.cost_usd)},
        ], sorted, 'Nothing was used in these days.'));
    };
    const past = (n) => h('button', {type: 'button', class: 'small', onclick: () => {
        c.from.value = ago(n - 1);
        c.to.value = ago(0);
        read();
    }}, `${n} days`);
    put(body, h('form', {class: 'card', onchange: read, onsubmit: (e) => { e.preventDefault(); read(); }},
        h('div', {class: 'row'}, field('From', c.from), field('To', c.to), field('By', c.by), field('Shown', c.what)),
        h('div', {class: 'actions'}, past(7), past(30), past(90))), problem, total, chartCard, rows, budgets);
    read();
    readBudgets().catch((e) => put(problem, notice('bad', 'Budgets could not be read.', e.message)));
    return chart.stop;
}
