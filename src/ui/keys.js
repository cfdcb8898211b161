// Gateway keys: made, rotated, revoked. A secret is shown once, when it was made.

import {append, ask, badge, copy, field, h, int, moment, newId, notice, select, show as put, table, toast, usd} from './dom.js';
import {get, post, remove} from './api.js';

const path = (id) => `/admin/v1/keys/${encodeURIComponent(id)}`;
const list = (text) => text.split(/[\s,]+/).filter(Boolean);

function state(k) {
    if (k.shadowed)
        return badge('warn', 'shadowed by the configuration');
    if (k.expired)
        return badge('bad', 'expired');
    return badge('good', 'good');
}

function limits(l) {
    const told = Object.entries(l ?? {}).filter(([, v]) => v !== null && v !== undefined);
    return told.length ? told.map(([name, v]) => h('span', {class: 'sub'}, `${name.replaceAll('_', ' ')}: ${typeof v === 'number' ? int(v) : v}`)) : 'none';
}

function reveal(k, what) {
    const id = newId('d');
    return new Promise((resolve) => {
        const dialog = h('dialog', {'aria-labelledby': id, onclose: () => { dialog.remove(); resolve(); }},
            h('form', {method: 'dialog', onsubmit: (e) => { e.preventDefault(); dialog.close(); }},
                h('h2', {id}, what),
                h('p', {}, `The secret of ${k.id} is shown this once: the gateway keeps only its hash.`),
                h('div', {class: 'secret'}, h('code', {'data-secret': true}, k.key), h('button', {type: 'button', onclick: () => copy(k.key, 'Key copied')}, 'Copy')),
                k.old_key_until && h('p', {class: 'hint'}, 'The one before stays good until ', moment(k.old_key_until), '.'),
                h('div', {class: 'actions'}, h('button', {type: 'submit', class: 'primary'}, 'I have it'))));
        document.body.append(dialog);
        dialog.showModal();
    });
}

function keyForm() {
    const text = (props) => h('input', {autocomplete: 'off', spellcheck: 'false', ...props});
    const number = () => h('input', {type: 'number', min: 1, step: 1, placeholder: 'as configured'});
    const c = {
        id: text({pattern: '[A-Za-z0-9._\\-]{1,64}', placeholder: 'a random one'}), owner: text(), tenant: text(), models: text({placeholder: 'all'}), expires: h('input', {type: 'date'}),
        requests: number(), tokens: number(), usd: h('input', {type: 'number', min: 0, step: 'any', inputmode: 'decimal', placeholder: 'none'}),
        period: select(['day', 'week', 'month', 'total'], 'month'),
    };
    const may = ['completion', 'embedding', 'admin'].map((p) => [p, h('input', {type: 'checkbox', name: p, checked: p !== 'admin'})]);
    const fields = [
        h('div', {class: 'row'}, field('Id', c.id), field('Owner', c.owner), field('Tenant', c.tenant)),
        h('fieldset', {}, h('legend', {}, 'Permissions'), may.map(([p, box]) => h('label', {class: 'check'}, box, p))),
        field('Models', c.models, 'Names or patterns such as gpt-*, with commas between them'),
        h('div', {class: 'row'}, field('Requests a minute', c.requests), field('Tokens a minute', c.tokens), field('Expires', c.expires)),
        h('div', {class: 'row'}, field('Budget in dollars', c.usd), field('for each', c.period)),
    ];
    const read = () => {
        const body = {permissions: may.filter(([, box]) => box.checked).map(([p]) => p)}, rates = {};
        for (const name of ['id', 'owner', 'tenant', 'expires'])
            if (c[name].value.trim())
                body[name] = c[name].value.trim();
        if (list(c.models.value).length)
            body.models = list(c.models.value);
        if (c.requests.value)
            rates.requests_per_minute = Number(c.requests.value);
        if (c.tokens.value)
            rates.tokens_per_minute = Number(c.tokens.value);
        if (Object.keys(rates).length)
            body.limits = rates;
        if (c.usd.value)
            body.budget = {usd: Number(c.usd.value), period: c.period.value};
        return body;
    };
    return {fields, read};
}

export function show({head, body}) {
    const place = h('section', {class: 'card'}), problem = h('div');
    const tell = (e) => put(problem, notice('bad', 'Nothing was changed.', e.message));
    const doing = (fn) => async () => {
        put(problem);
        try {
            await fn();
        } catch (e) {
            tell(e);
        }
        await refresh().catch(tell);
    };
    const create = doing(async () => {
        const form = keyForm(), body2 = await ask('New key', {...form, confirm: 'Create'});
        if (body2)
            await reveal(await post('/admin/v1/keys', body2), 'A new key');
    });
    const rotate = (k) => doing(async () => {
        const grace = select([['0s', 'ends at once'], ['15m', '15 minutes'], ['1h', 'an hour'], ['24h', 'a day'], ['7d', 'a week'], ['30d', '30 days']], '24h');
        const g = await ask(`Rotate ${k.id}?`, {text: 'It gets a new secret.', fields: [field('The old one stays good for', grace)], read: () => grace.value, confirm: 'Rotate'});
        if (g)
            await reveal(await post(`${path(k.id)}/rotate`, {grace: g}), 'A new secret');
    });
    const revoke = (k) => doing(async () => {
        if (!await ask(`Revoke ${k.id}?`, {text: 'It is good no more, at once, on all workers. Requests under way end as they would.', confirm: 'Revoke', danger: true}))
            return;
        await remove(path(k.id));
        toast(`${k.id} is revoked.`);
    });
    const button = (label, k, fn, danger) => h('button', {type: 'button', class: `small${danger ? ' danger' : ''}`, onclick: fn}, label, h('span', {class: 'hidden'}, ` ${k.id}`));
    const refresh = async () => {
        const {keys} = await get('/admin/v1/keys');
        put(place, h('header', {}, h('h2', {}, `${keys.length} keys`), h('span', {class: 'note'}, 'Those of the configuration are changed there.')), table('Gateway keys', [
            {name: 'Key', cell: (k) => [h('code', {}, k.id), k.owner && h('span', {class: 'sub'}, k.owner)]},
            {name: 'State', cell: (k) => [state(k), k.old_key_until && h('span', {class: 'sub'}, 'old secret until ', moment(k.old_key_until))]},
            {name: 'Tenant', cell: (k) => k.tenant || '–'},
            {name: 'May', cell: (k) => (k.permissions ?? []).join(', ') || 'nothing'},
            {name: 'Models', wide: true, cell: (k) => (k.models?.length ? k.models.join(', ') : 'all')},
            {name: 'Limits', cell: (k) => limits(k.limits)},
            {name: 'Budget', cell: (k) => (k.budget ? [usd(k.budget.usd), h('span', {class: 'sub'}, k.budget.period === 'total' ? 'in total' : `a ${k.budget.period}`)] : 'none')},
            {name: 'Expires', cell: (k) => (k.expires ? moment(k.expires) : 'never')},
            {name: 'From', cell: (k) => (k.source === 'stored' ? 'made here' : 'configuration')},
            {name: h('span', {class: 'hidden'}, 'Actions'), cell: (k) => k.source === 'stored' && h('div', {class: 'actions'}, button('Rotate', k, rotate(k)), button('Revoke', k, revoke(k), true))},
        ], keys));
    };
    append(head, h('div', {class: 'actions'}, h('button', {type: 'button', class: 'primary', onclick: create}, 'New key')));
    put(body, problem, place);
    refresh().catch((e) => put(problem, notice('bad', 'The keys could not be read.', e.message)));
}
