// Gateway keys: made, rotated, revoked. A secret is shown once, when it was made.

import {append, ask, badge, copy, field, h, int, moment, newId, notice, select, show as put, table, toast, usd} from './dom.js';
import {get, patch, post, remove} from './api.js';

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

// of: the key that is changed; without it a new one.
function keyForm(of) {
    const text = (props) => h('input', {autocomplete: 'off', spellcheck: 'false', ...props});
    const number = (value) => h('input', {type: 'number', min: 1, step: 1, placeholder: of ? 'no limit' : 'as configured', value: value ?? ''});
    const c = {
        id: text({pattern: '[A-Za-z0-9._\\-]{1,64}', placeholder: 'a random one', value: of?.id ?? '', disabled: Boolean(of)}), owner: text({value: of?.owner ?? ''}), tenant: text({value: of?.tenant ?? ''}),
        models: text({placeholder: 'all', value: (of?.models ?? []).join(', ')}), expires: h('input', {type: 'date', value: (of?.expires ?? '').slice(0, 10)}),
        requests: number(of?.limits?.requests_per_minute), tokens: number(of?.limits?.tokens_per_minute), usd: h('input', {type: 'number', min: 0, step: 'any', inputmode: 'decimal', placeholder: 'none', value: of?.budget?.usd ?? ''}),
        period: select(['hour', 'day', 'week', 'month', 'total'], of?.budget?.period ?? 'month'),
    };
    const may = ['completion', 'embedding', 'admin'].map((p) => [p, h('input', {type: 'checkbox', name: p, checked: of ? of.permissions.includes(p) : p !== 'admin'})]);
    const fields = [
        h('div', {class: 'row'}, field('Id', c.id), field('Owner', c.owner), field('Tenant', c.tenant)),
        h('fieldset', {}, h('legend', {}, 'Permissions'), may.map(([p, box]) => h('label', {class: 'check'}, box, p))),
        field('Models', c.models, 'Names or patterns such as gpt-*, with commas between them'),
        h('div', {class: 'row'}, field('Requests a minute', c.requests), field('Tokens a minute', c.tokens), field('Expires', c.expires)),
        h('div', {class: 'row'}, field('Budget in dollars', c.usd), field('for each', c.period)),
    ];
    const given = (o) => Object.fromEntries(Object.entries(o).filter(([, v]) => v !== null && v !== '' && v !== undefined));
    const num = (input) => (input.value ? Number(input.value) : null);
    const read = () => {
        const rates = given({...of?.limits, requests_per_minute: num(c.requests), tokens_per_minute: num(c.tokens)});
        const body = {
            id: c.id.value.trim(), owner: c.owner.value.trim(), tenant: c.tenant.value.trim(), expires: c.expires.value === (of?.expires ?? '').slice(0, 10) ? of?.expires : c.expires.value,
            permissions: may.filter(([, box]) => box.checked).map(([p]) => p), models: list(c.models.value),
            limits: Object.keys(rates).length ? rates : null, budget: c.usd.value ? {...of?.budget, usd: Number(c.usd.value), period: c.period.value} : null,
        };
        if (!of)
            return given(body);
        delete body.id;
        return {...body, expires: body.expires || null};
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
    const change = (k) => doing(async () => {
        const body2 = await ask(`Change ${k.id}`, {...keyForm(k), confirm: 'Change'});
        if (!body2)
            return;
        await patch(path(k.id), body2);
        toast(`${k.id} is changed.`);
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
            {name: h('span', {class: 'hidden'}, 'Actions'), cell: (k) => k.source === 'stored' && h('div', {class: 'actions'}, button('Change', k, change(k)), button('Rotate', k, rotate(k)), button('Revoke', k, revoke(k), true))},
        ], keys));
    };
    append(head, h('div', {class: 'actions'}, h('button', {type: 'button', class: 'primary', onclick: create}, 'New key')));
    put(body, problem, place);
    refresh().catch((e) => put(problem, notice('bad', 'The keys could not be read.', e.message)));
}
