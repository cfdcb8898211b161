// The running configuration as the gateway tells it, without secrets; and a reload with what it says.

import {append, ask, h, int, moment, notice, show as put, table, bytes, duration, badge, tile} from './dom.js';
import {ApiError, get, post} from './api.js';

const plain = /^[A-Za-z0-9_./[][A-Za-z0-9_./:*@%+\[\]-]*$/, other = /^(true|false|null|yes|no|on|off|[0-9.]+)$/i;
const scalar = (v) => (typeof v === 'string' && (!plain.test(v) || other.test(v)) ? JSON.stringify(v) : String(v));
const isEmpty = (v) => v === null || v === '' || (typeof v === 'object' && Object.keys(v).length === 0);

// Written the way the file is. Arrays of plain values stay on a line.
function yaml(value, indent = '') {
    if (Array.isArray(value))
        return value.map((v) => (v !== null && typeof v === 'object'
            ? `${indent}- ${yaml(v, `${indent}  `).trimStart()}` : `${indent}- ${scalar(v)}`)).join('\n');
    return Object.entries(value).map(([k, v]) => {
        if (v === null || typeof v !== 'object')
            return `${indent}${k}: ${v === '' ? '""' : scalar(v)}`;
        if (isEmpty(v))
            return `${indent}${k}: ${Array.isArray(v) ? '[]' : '{}'}`;
        if (Array.isArray(v) && v.every((x) => typeof x !== 'object'))
            return `${indent}${k}: [${v.map(scalar).join(', ')}]`;
        return `${indent}${k}:\n${yaml(v, `${indent}  `)}`;
    }).join('\n');
}

// Without what is not set.
function set(v) {
    if (Array.isArray(v))
        return v.map(set);
    if (v === null || typeof v !== 'object')
        return v;
    return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, set(x)]).filter(([, x]) => !isEmpty(x)));
}

function sections(config, words) {
    const wanted = (text) => words.every((w) => text.toLowerCase().includes(w));
    return Object.entries(config).map(([name, v]) => ({name, text: yaml({[name]: v}), small: v === null || typeof v !== 'object'}))
        .filter((s) => wanted(s.text));
}

export function show({head, body}) {
    const problem = h('div', {role: 'status'}), result = h('div'), about = h('dl', {class: 'tiles'}), text = h('div', {class: 'stack config'}), processes = h('section', {class: 'card'});
    let config = {};
    const find = h('input', {type: 'search', autocomplete: 'off', 'aria-label': 'Find an option', placeholder: 'Find an option', oninput: () => draw()});
    const all = h('input', {type: 'checkbox', onchange: () => draw()});
    const draw = () => {
        const found = sections(all.checked ? config : set(config), find.value.toLowerCase().split(/\s+/).filter(Boolean)), small = found.filter((s) => s.small), open = find.value !== '';
        const part = (name, lines) => h('details', {open: open || name === 'The process'}, h('summary', {}, name), h('pre', {class: 'mono', tabindex: 0}, lines));
        put(text, small.length > 0 && part('The process', small.map((s) => s.text).join('\n')),
            found.filter((s) => !s.small).map((s) => part(s.name.replaceAll('_', ' '), s.text)), !found.length && h('p', {class: 'empty'}, 'No option has these words.'));
    };
    const refresh = async () => {
        const [c, w] = await Promise.all([get('/admin/v1/config'), get('/admin/v1/workers')]);
        config = c.config;
        put(problem);
        put(about, tile('File', h('code', {}, c.file || 'none')), tile('Generation', int(c.generation)), tile('Loaded', moment(c.loaded_at)));
        put(processes, h('header', {}, h('h2', {}, 'Processes')), table('Processes', [
            {name: 'Process', cell: (p) => `${p.role} ${p.role === 'worker' ? p.number : ''}`}, {name: 'Pid', number: true, cell: (p) => p.pid},
            {name: 'Generation', number: true, cell: (p) => int(p.generation)}, {name: 'State', cell: (p) => badge(p.state === 'ready' ? 'good' : 'warn', p.state)},
            {name: 'Up', cell: (p) => duration(p.uptime_seconds)}, {name: 'Connections', number: true, cell: (p) => int(p.connections)},
            {name: 'Requests', number: true, cell: (p) => int(p.requests)}, {name: 'Memory', number: true, cell: (p) => bytes(p.resident_bytes)},
        ], [...w.workers, ...w.scribe]));
        draw();
    };
    const failed = (e) => put(problem, notice('bad', 'The configuration could not be read.', e.message));
    const reload = async () => {
        if (!await ask('Read the configuration again?', {text: 'What SIGHUP does: a file that is wrong changes nothing, a good one comes into force without a request lost.', confirm: 'Reload'}))
            return;
        button.disabled = true;
        put(result);
        try {
            const r = await post('/admin/v1/reload');
            put(result, notice('good', `Generation ${r.generation} is running.`));
            await refresh();
        } catch (e) {
            const refused = e instanceof ApiError && e.status === 422;
            put(result, notice('bad', refused ? 'Refused; the old configuration goes on.' : 'No reload.', h('pre', {class: 'mono', tabindex: 0}, e.message)));
        }
        button.disabled = false;
    };
    const button = h('button', {type: 'button', class: 'primary', onclick: reload}, 'Reload');
    append(head, h('div', {class: 'actions'}, button));
    put(body, problem, result, about, h('section', {class: 'card'}, h('header', {}, h('h2', {}, 'What is in force'), h('span', {class: 'note'}, 'Secrets are left out.')),
        h('div', {class: 'row'}, h('div', {class: 'field'}, find), h('label', {class: 'check'}, all, 'Also what is not set')), text), processes);
    refresh().catch(failed);
}
