// /docs: the description of the API, to read and to try.

import {append, copy, field, h, ms, notice, prose, select, show} from './dom.js';
import {curl, getKey, send, setKey} from './api.js';

const main = document.getElementById('main');
let doc;

const resolve = (o) => (o?.$ref ? o.$ref.slice(2).split('/').reduce((at, name) => at[name], doc) : o);
const name = (ref) => ref.slice(ref.lastIndexOf('/') + 1);

// --- schemas ---

function typeOf(schema) {
    if (schema.$ref)
        return name(schema.$ref);
    if (schema.const !== undefined)
        return JSON.stringify(schema.const);
    if (schema.enum)
        return schema.enum.map((v) => JSON.stringify(v)).join(' | ');
    for (const word of ['oneOf', 'anyOf', 'allOf'])
        if (schema[word])
            return schema[word].map(typeOf).join(word === 'allOf' ? ' & ' : ' | ');
    const type = [schema.type ?? 'any'].flat().join(' | ');
    return schema.items ? `${type} of ${typeOf(schema.items)}` : type;
}

function properties(schema, depth = 0) {
    const own = resolve(schema);
    const parts = own.allOf ?? [own];
    return h('ul', {class: 'schema'}, parts.flatMap((part) => {
        const p = resolve(part);
        return Object.entries(p.properties ?? {}).map(([key, value]) => {
            const inner = resolve(value.items ?? value);
            return h('li', {},
                h('code', {}, key), ' ', h('span', {class: 'type'}, typeOf(value)),
                p.required?.includes(key) && h('span', {class: 'required'}, ' required'),
                (value.description ?? resolve(value).description) && h('span', {class: 'about'}, ' ', prose(value.description ?? resolve(value).description)),
                depth < 2 && inner.properties && properties(inner, depth + 1));
        });
    }));
}

function sample(schema, depth = 0) {
    const s = resolve(schema);
    if (s.examples)
        return s.examples[0];
    if (s.const !== undefined)
        return s.const;
    if (s.enum)
        return s.enum[0];
    if (s.oneOf)
        return sample(s.oneOf[0], depth);
    const type = [s.type].flat()[0];
    if (type === 'object')
        return Object.fromEntries(Object.entries(s.properties ?? {}).filter(([key]) => depth < 2 && s.required?.includes(key))
            .map(([key, value]) => [key, sample(value, depth + 1)]));
    return {array: [], string: '', integer: 0, number: 0, boolean: false}[type] ?? null;
}

// --- an operation ---

function content(map) {
    return Object.entries(map ?? {}).map(([type, media]) => h('div', {class: 'media'},
        h('p', {}, h('code', {}, type), ' ', h('span', {class: 'type'}, typeOf(media.schema)),
            media.schema.description && [' ', prose(media.schema.description)]),
        resolve(media.schema).properties && properties(media.schema)));
}

function parameters(op) {
    const list = (op.parameters ?? []).map(resolve);
    return list.length > 0 && [h('h3', {}, 'Parameters'), h('ul', {class: 'schema'}, list.map((p) => h('li', {},
        h('code', {}, p.name), ' ', h('span', {class: 'type'}, `${p.in}, ${p.schema ? typeOf(p.schema) : 'JSON'}`),
        p.required && h('span', {class: 'required'}, ' required'),
        p.description && h('span', {class: 'about'}, ' ', prose(p.description)))))];
}

function tryOut(method, path, op) {
    const list = (op.parameters ?? []).map(resolve);
    const inputs = list.map((p) => [p, p.schema?.enum ? select([...(p.required ? [] : [['', '']]), ...p.schema.enum]) : h('input', {autocomplete: 'off', spellcheck: 'false'})]);
    const media = op.requestBody?.content?.['application/json'];
    const body = media && h('textarea', {rows: 8, class: 'mono', spellcheck: 'false'});
    if (body)
        body.value = JSON.stringify(sample(media.schema), null, 2);
    const out = h('div', {class: 'answer', 'aria-live': 'polite'});
    const stop = h('button', {type: 'button', disabled: true}, 'Stop');
    const go = h('button', {type: 'submit', class: 'primary'}, 'Send');
    const request = () => {
        const query = new URLSearchParams(), headers = {};
        let to = path;
        for (const [p, input] of inputs) {
            const value = input.value;
            if (p.in === 'path')
                to = to.replace(`{${p.name}}`, () => value.split('/').map(encodeURIComponent).join('/'));
            else if (value && p.in === 'query')
                query.set(p.name, value);
            else if (value && p.in === 'header')
                headers[p.name] = value;
        }
        const search = query.toString();
        return [to + (search && `?${search}`), {body: body ? body.value : undefined, headers}];
    };
    const run = async (e) => {
        e.preventDefault();
        const [to, options] = request(), abort = new AbortController(), begun = performance.now();
        stop.disabled = false;
        go.disabled = true;
        stop.onclick = () => abort.abort();
        const text = h('pre', {class: 'mono', tabindex: 0});
        try {
            const r = await send(method.toUpperCase(), to, {...options, signal: abort.signal});
            show(out, h('p', {}, h('strong', {class: r.ok ? 'ok' : 'not'}, `${r.status} ${r.statusText}`), ` after ${ms(performance.now() - begun)}`),
                h('details', {}, h('summary', {}, 'Headers'), h('pre', {class: 'mono', tabindex: 0}, [...r.headers].map(([k, v]) => `${k}: ${v}\n`))), text);
            const json = r.headers.get('content-type')?.startsWith('application/json');
            const reader = r.body?.pipeThrough(new TextDecoderStream()).getReader();
            let whole = '';
            for (let piece; reader && !(piece = await reader.read()).done;) {
                whole += piece.value;
                if (!json)
                    text.append(piece.value);
            }
            if (json)
                text.textContent = pretty(whole);
        } catch (e2) {
            append(out, notice('bad', e2.name === 'AbortError' ? 'Stopped.' : e2.message));
        }
        stop.disabled = true;
        go.disabled = false;
    };
    const unfit = op.requestBody && !media;
    return h('form', {class: 'try', onsubmit: run},
        h('h3', {}, 'Try it'),
        inputs.length > 0 && h('div', {class: 'row'}, inputs.map(([p, input]) => field(p.name, fillIn(input, p)))),
        body && field('Body', body),
        unfit && h('p', {class: 'hint'}, 'It takes a form with a file: use a program for that.'),
        h('div', {class: 'actions'}, go, stop,
            h('button', {type: 'button', onclick: () => { const [to, o] = request(); copy(curl(method.toUpperCase(), to, o), 'curl copied'); }}, 'Copy curl')),
        out);
}

function fillIn(input, p) {
    if (p.required)
        input.required = true;
    if (p.schema?.examples && p.required)
        input.value = p.schema.examples[0];
    return input;
}

function pretty(text) {
    try {
        return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
        return text;
    }
}

function operation(method, path, op) {
    const inside = h('div', {class: 'inside'});
    const details = h('details', {class: 'operation', id: op.operationId, ontoggle: () => {
        if (!details.open || inside.firstChild)
            return;
        append(inside, [
            op.description && h('p', {}, prose(op.description)),
            h('p', {class: 'hint'}, op['x-permission'] ? `Permission: ${op['x-permission']}` : 'No key is needed.'),
            h('div', {class: 'sides'}, h('div', {class: 'stack'}, parameters(op),
                op.requestBody && [h('h3', {}, 'Body'), content(op.requestBody.content)],
                h('h3', {}, 'Answers'),
                Object.entries(op.responses).filter(([status]) => status !== 'default').map(([status, r]) => h('details', {class: 'response', open: status.startsWith('2')},
                h('summary', {}, h('code', {}, status), ' ', prose(r.description)), content(r.content)))),
            tryOut(method, path, op)),
        ]);
    }}, h('summary', {}, h('span', {class: `method ${method}`}, method.toUpperCase()), h('code', {}, path), h('span', {class: 'about'}, op.summary)), inside);
    return details;
}

// --- the page ---

const groups = new Map();
const search = h('input', {type: 'search', autocomplete: 'off', oninput: () => draw(search.value.toLowerCase().split(/\s+/).filter(Boolean))});

function gather() {
    for (const tag of doc.tags)
        groups.set(tag.name, {tag, list: []});
    for (const [path, item] of Object.entries(doc.paths))
        for (const [method, op] of Object.entries(item))
            groups.get(op.tags[0]).list.push({method, path, op, text: `${method} ${path} ${op.summary}`.toLowerCase()});
}

function draw(words) {
    const found = [...groups.values()].map(({tag, list}) => ({tag, list: list.filter((one) => words.every((w) => one.text.includes(w)))})).filter((g) => g.list.length);
    show(document.getElementById('groups'), found.length ? found.map(({tag, list}) => {
        const id = `tag-${tag.name.replaceAll(' ', '-')}`;
        return h('section', {'aria-labelledby': id}, h('h2', {id}, tag.name), h('p', {class: 'lead'}, prose(tag.description)), list.map(({method, path, op}) => operation(method, path, op)));
    }) : h('p', {class: 'empty'}, 'No endpoint has all of these words.'));
    show(document.getElementById('contents'), h('nav', {'aria-label': 'Surfaces'}, h('ul', {}, found.map(({tag, list}) =>
        h('li', {}, h('a', {href: `#tag-${tag.name.replaceAll(' ', '-')}`}, tag.name, h('span', {class: 'count'}, list.length)))))));
}

function openAt(hash) {
    const of = () => (hash ? document.getElementById(decodeURIComponent(hash.slice(1))) : null);
    if (!of()) { // filtered away
        search.value = '';
        draw([]);
    }
    const node = of();
    if (node?.tagName === 'DETAILS')
        node.open = true;
    node?.scrollIntoView();
}

async function start() {
    const r = await send('GET', '/openapi.json');
    doc = await r.json();
    gather();
    const key = h('input', {type: 'password', autocomplete: 'off', value: getKey(), oninput: () => setKey(key.value.trim())});
    show(main,
        h('h1', {}, 'API'),
        h('p', {class: 'lead'}, prose(doc.info.description), ' ', h('a', {href: '/openapi.json'}, 'OpenAPI 3.1')),
        h('div', {class: 'row'}, field('Find', search), field('Key', key, 'For trying; kept until this tab is closed')),
        h('div', {id: 'groups'}));
    draw([]);
    openAt(location.hash);
    addEventListener('hashchange', () => openAt(location.hash));
}

start().catch((e) => show(main, notice('bad', 'The description could not be read.', e.message)));
