// Elements, and how numbers and times are written. Text is always a text node: nothing here makes HTML of a string.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, props, children) {
    for (const [name, value] of Object.entries(props ?? {})) {
        if (value === undefined || value === null || value === false)
            continue;
        if (name.startsWith('on'))
            node.addEventListener(name.slice(2), value);
        else if (name === 'value' || name === 'checked' || name === 'selected')
            node[name] = value;
        else
            node.setAttribute(name, value === true ? '' : value);
    }
    append(node, children);
    return node;
}

export function append(node, children) {
    for (const child of [children].flat(Infinity))
        if (child !== undefined && child !== null && child !== false)
            node.append(child instanceof Node ? child : String(child));
}

// h('a', {href: '#', onclick: fn}, 'text', other)
export function h(tag, props, ...children) {
    return fill(document.createElement(tag), props, children);
}

export function svg(tag, props, ...children) {
    return fill(document.createElementNS(SVG, tag), props, children);
}

export function show(node, ...children) {
    node.replaceChildren();
    append(node, children);
}

let serial = 0;
export const newId = (name) => `${name}-${++serial}`;

// `code` between backticks.
export const prose = (text) => text.split('`').map((part, i) => (i % 2 ? h('code', {}, part) : part));

// A label and its control, one above the other.
export function field(label, control, hint) {
    control.id ||= newId('f');
    const note = hint && h('span', {class: 'hint', id: `${control.id}-hint`}, hint);
    if (note)
        control.setAttribute('aria-describedby', note.id);
    return h('div', {class: 'field'}, h('label', {for: control.id}, label), control, note);
}

export function select(options, chosen, props) {
    return h('select', props, options.map((o) => {
        const [value, text] = Array.isArray(o) ? o : [o, o];
        return h('option', {value, selected: value === chosen}, text);
    }));
}

// columns: [{name, cell(row), number, wide}]
export function table(caption, columns, rows, empty = 'Nothing here yet.') {
    if (!rows.length)
        return h('p', {class: 'empty'}, empty);
    return h('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption},
        h('table', {},
            h('caption', {class: 'hidden'}, caption),
            h('thead', {}, h('tr', {}, columns.map((c) => h('th', {scope: 'col', class: c.number && 'number'}, c.name)))),
            h('tbody', {}, rows.map((row) => h('tr', {}, columns.map((c) =>
                h('td', {class: [c.number && 'number', c.wide && 'wide'].filter(Boolean).join(' ') || null}, c.cell(row))))))));
}

// One of: good, warn, bad, plain. The word says it, the colour only helps.
export const badge = (kind, text) => h('span', {class: `badge ${kind}`}, text);

export function tile(label, value, note) {
    return h('div', {class: 'tile'}, h('dt', {}, label), h('dd', {}, value), note && h('dd', {class: 'note'}, note));
}

export function notice(kind, title, ...text) {
    return h('div', {class: `notice ${kind}`, role: kind === 'bad' ? 'alert' : 'status'}, h('strong', {}, title), text.length > 0 && h('div', {}, text));
}

export function toast(text, kind = 'plain') {
    const place = document.getElementById('toasts');
    const one = h('div', {class: `toast ${kind}`}, text);
    place.append(one);
    setTimeout(() => one.remove(), 6000);
}

export async function copy(text, what = 'Copied') {
    try {
        await navigator.clipboard.writeText(text);
    } catch { // not a secure context
        const area = h('textarea', {class: 'hidden'});
        area.value = text;
        (document.querySelector('dialog[open]') ?? document.body).append(area);
        area.select();
        document.execCommand('copy');
        area.remove();
    }
    toast(what);
}

// Asks in a dialog. Resolves to what `fields` gives when it is confirmed, else to null.
export function ask(title, {text, fields = [], read = () => true, confirm = 'OK', danger = false} = {}) {
    return new Promise((resolve) => {
        const id = newId('d');
        let answer = null;
        const dialog = h('dialog', {'aria-labelledby': id, onclose: () => { dialog.remove(); resolve(answer); }},
            h('form', {onsubmit: (e) => {
                e.preventDefault();
                answer = read();
                dialog.close();
            }},
                h('h2', {id}, title),
                text && h('p', {}, text),
                fields,
                h('div', {class: 'actions'},
                    h('button', {type: 'button', onclick: () => dialog.close()}, 'Cancel'),
                    h('button', {type: 'submit', class: danger ? 'danger' : 'primary'}, confirm))));
        document.body.append(dialog);
        dialog.showModal();
    });
}

// --- how things are written ---

const whole = new Intl.NumberFormat('en', {maximumFractionDigits: 0});
const short = new Intl.NumberFormat('en', {notation: 'compact', maximumFractionDigits: 1});
export const int = (n) => (n === undefined || n === null ? '–' : whole.format(n));
export const brief = (n) => (n === undefined || n === null ? '–' : n < 10000 ? decimal(n, n < 10 && n % 1 ? 1 : 0) : short.format(n));
export const decimal = (n, digits = 1) => n.toLocaleString('en', {minimumFractionDigits: digits, maximumFractionDigits: digits});
export const percent = (x) => (Number.isFinite(x) ? `${decimal(100 * x, x > 0 && x < 0.1 ? 1 : 0)} %` : '–');

export function usd(n) {
    if (n === undefined || n === null)
        return 'unknown';
    if (n === 0)
        return '$0';
    const digits = n >= 1 ? 2 : n >= 0.01 ? 3 : Math.min(9, 1 - Math.floor(Math.log10(n)));
    return `$${n.toLocaleString('en', {minimumFractionDigits: n >= 1 ? 2 : 0, maximumFractionDigits: digits})}`;
}

export function ms(n) {
    if (!Number.isFinite(n) || n === null)
        return '–';
    return n < 1 ? '<1 ms' : n < 1000 ? `${Math.round(n)} ms` : n < 60000 ? `${decimal(n / 1000, n < 10000 ? 2 : 1)} s` : duration(n / 1000);
}

export function duration(s) {
    const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
    const at = parts.findIndex(([n]) => s >= n);
    if (at < 0)
        return '0 s';
    const [n, unit] = parts[at], next = parts[at + 1];
    const rest = next ? Math.floor((s % n) / next[0]) : 0;
    return `${Math.floor(s / n)} ${unit}${rest ? ` ${rest} ${next[1]}` : ''}`;
}

export function bytes(n) {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let i = 0;
    while (n >= 1024 && i < units.length - 1) {
        n /= 1024;
        i++;
    }
    return `${decimal(n, n < 10 && i ? 1 : 0)} ${units[i]}`;
}

const two = (n) => String(n).padStart(2, '0');
export function clock(at) {
    const d = new Date(at);
    return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}
export const day = (at) => {
    const d = new Date(at);
    return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
};
export const moment = (at) => h('time', {datetime: at, title: at}, h('span', {class: 'date'}, `${day(at)} `), clock(at));
