// The frame: which view is shown, who is looking, and what cannot be shown here.

import {field, h, notice, show} from './dom.js';
import {getKey, session, setKey} from './api.js';
import * as tryOut from './try.js';
import * as overview from './overview.js';
import * as providers from './providers.js';
import * as usage from './usage.js';
import * as keys from './keys.js';
import * as logs from './logs.js';
import * as config from './config.js';

// needs: a surface of the address, and the permission of the same name where there is one
const views = [
    {name: 'try', label: 'Try', needs: 'native', view: tryOut},
    {name: 'overview', label: 'Overview', needs: 'metrics', view: overview},
    {name: 'providers', label: 'Providers', needs: 'admin', view: providers},
    {name: 'usage', label: 'Usage', needs: 'admin', view: usage},
    {name: 'keys', label: 'Keys', needs: 'admin', view: keys},
    {name: 'logs', label: 'Logs', needs: 'admin', view: logs},
    {name: 'config', label: 'Config', needs: 'admin', view: config},
];

const main = document.getElementById('main');
let here = null; // what /ui/session said
let leave = () => {};

// --- the frame ---

function drawNav(current) {
    show(document.getElementById('nav'), h('ul', {}, views.map((v) =>
        h('li', {}, h('a', {href: `#/${v.name}`, 'aria-current': v === current && 'page'}, v.label))), h('li', {}, h('a', {href: '/docs'}, 'API'))));
    document.querySelector('#nav [aria-current]')?.scrollIntoView({inline: 'center', block: 'nearest'});
}

function toggleTheme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    localStorage.setItem('penstock.theme', root.dataset.theme);
}

function drawFoot() {
    show(document.getElementById('foot'),
        here?.caller && h('span', {class: 'who'}, 'Key ', h('b', {}, here.caller.key), here.version && ` · ${here.version}`),
        h('div', {class: 'actions'},
            h('button', {class: 'small', type: 'button', onclick: toggleTheme, 'aria-label': 'Theme: light or dark'}, 'Theme'),
            getKey() && h('button', {class: 'small', type: 'button', onclick: forget}, 'Forget key')));
}

function forget() {
    setKey('');
    start();
}

// --- what stands in the way of a view ---

function signIn() {
    const input = h('input', {type: 'password', name: 'key', autocomplete: 'current-password', required: true});
    const problem = h('div');
    const enter = async (e) => {
        e.preventDefault();
        setKey(input.value.trim());
        here = await session();
        if (here.caller)
            return void start();
        setKey('');
        show(problem, notice('bad', 'The gateway does not take this key here.'));
        input.select();
    };
    return h('form', {class: 'card narrow', onsubmit: enter},
        h('h2', {}, 'A key is needed'),
        h('p', {class: 'hint'}, 'One of the gateway’s keys. It is kept until this tab is closed, and sent to this address only.'),
        field('Key', input), problem,
        h('div', {class: 'actions'}, h('button', {class: 'primary', type: 'submit'}, 'Go on')));
}

const names = {native: 'model calls', admin: 'administration', metrics: 'metrics'};

// Who comes without a key where none is needed.
const anybody = {key: 'anonymous', permissions: ['completion', 'embedding']};

// Nothing when the view can be shown.
function obstacle(view) {
    if (!here.surfaces.includes(view.needs))
        return notice('warn', `No ${names[view.needs]} at this address.`,
            `This address of the gateway does not serve the surface ${view.needs} (listen[].surfaces). Open the page at one that does; admin_listen has the administration where it is set.`);
    if (!here.caller && !here.open.includes(view.needs))
        return signIn();
    if (view.needs === 'admin' && !here.caller.permissions.includes('admin'))
        return notice('warn', 'This key may not administer.',
            here.key_needed ? `${here.caller.key} has the permissions ${here.caller.permissions.join(', ') || 'of none'}. Use a key with admin.`
                : 'Without authentication the administration is for the gateway’s own machine only.');
    return null;
}

// --- views ---

function route() {
    const name = location.hash.replace(/^#\/?/, '').split('?')[0];
    const view = views.find((v) => v.name === name) ?? views.find((v) => here.surfaces.includes(v.needs)) ?? views[0];
    leave();
    leave = () => {};
    document.title = `${view.label} · penstock`;
    drawNav(view);
    const title = h('h1', {tabindex: -1}, view.label);
    const head = h('div', {class: 'head'}, title), body = h('div', {class: 'stack view'});
    show(main, head, body);
    const problem = obstacle(view);
    if (problem)
        show(body, problem);
    else
        leave = view.view.show({head, body, here: here.caller ? here : {...here, caller: anybody}, query: new URLSearchParams(location.hash.split('?')[1] ?? '')}) ?? leave;
    main.dataset.view = view.name;
    return title;
}

async function start() {
    try {
        here = await session();
    } catch (e) {
        show(main, notice('bad', e.message, h('button', {type: 'button', onclick: start}, 'Try again')));
        return;
    }
    if (!here.caller && getKey())
        setKey('');
    drawFoot();
    route();
}

addEventListener('refused', () => here?.caller && start());
addEventListener('hashchange', () => here && location.hash.startsWith('#/') && route().focus({preventScroll: true}));
start();
