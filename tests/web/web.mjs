// The page and the description of the API, in a real browser. node --test-concurrency=1 --test web.mjs

import assert from 'node:assert/strict';
import {once} from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import {after, before, test} from 'node:test';
import {Ajv2020 as Ajv} from 'ajv/dist/2020.js';
import {Validator} from '@seriousme/openapi-schema-validator';
import {Gateway, audit, close, closeBrowser, evil, keys, open, shot, shots, until} from './site.mjs';

let g;
before(async () => {
    g = await Gateway.start();
    for (const text of ['one', 'two', 'three'])
        await Promise.all(['fast', 'slow'].map((m) => g.chat(m, text)));
    await g.chat('fast', evil, keys.team);
    for (let i = 0; i < 4; i++)
        await g.chat('shaky', `again ${i}`);
    await until('the records', async () => (await (await g.call('GET', '/admin/v1/usage')).json()).total.requests === 11);
});
after(async () => {
    await closeBrowser();
    await g?.stop();
    console.log(`screenshots are in ${shots}`);
});

const views = ['try', 'overview', 'providers', 'usage', 'keys', 'logs', 'config'];
const at = (view) => `${g.url}/#/${view}`;
const heading = (page, name) => page.getByRole('heading', {name, level: 1}).waitFor();
const button = (page, name) => page.getByRole('button', {name, exact: true});
const box = (page, label) => page.getByLabel(label, {exact: true});
const see = (page, text) => page.getByText(text).first().waitFor();
// What each view shows once it has read what it needs.
const ready = {
    try: (p) => p.locator('datalist option').first().waitFor({state: 'attached'}), overview: (p) => see(p, 'since the start'), providers: (p) => see(p, 'healthy · every'),
    usage: (p) => p.locator('td').first().waitFor(), keys: (p) => p.locator('td').first().waitFor(), logs: (p) => p.locator('td').first().waitFor(), config: (p) => see(p, 'What is in force'),
};

async function show(page, view) {
    await page.goto(at(view));
    await ready[view](page);
}

// --- who is looking ---

test('a key is asked for, kept for the tab, and forgotten', async () => {
    const page = await open(g.url);
    await see(page, 'A key is needed');
    await shot(page, 'key');
    await audit(page, 'key');
    await box(page, 'Key').fill('sk-wrong');
    await button(page, 'Go on').click();
    await see(page, 'does not take this key');
    await box(page, 'Key').fill(keys.boss);
    await page.keyboard.press('Enter');
    await box(page, 'Prompt').waitFor();
    const stored = () => page.evaluate(() => [JSON.stringify({...sessionStorage}), JSON.stringify({...localStorage}), document.cookie, location.href]);
    let [tab, forever, cookie, url] = await stored();
    assert.ok(tab.includes(keys.boss));
    assert.ok(!`${forever}${cookie}${url}`.includes(keys.boss));
    await page.reload();
    await box(page, 'Prompt').waitFor();
    await button(page, 'Forget key').click();
    await see(page, 'A key is needed');
    [tab] = await stored();
    assert.ok(!tab.includes(keys.boss));
    await close(page);
});

test('a key that is revoked under way is asked for anew', async () => {
    const {key} = await (await g.call('POST', '/admin/v1/keys', {id: 'leaving', permissions: ['completion', 'admin']})).json();
    const page = await open(at('providers'), {key});
    await see(page, 'healthy · every');
    await g.call('DELETE', '/admin/v1/keys/leaving');
    await see(page, 'A key is needed');
    page.complaints = page.complaints.filter((c) => !c.includes('401'));
    await close(page);
});

test('a key that may not administer is told so', async () => {
    const page = await open(at('keys'), {key: keys.team});
    await see(page, 'This key may not administer.');
    await page.goto(at('overview'));
    await see(page, 'since the start');
    await close(page);
});

test('each address says what it does not serve', async () => {
    const other = await Gateway.start({}, [['native', 'ui'], ['admin']]);
    const native = await open(`${other.urls[0]}/#/providers`, {key: keys.boss});
    await see(native, 'No administration at this address.');
    await native.goto(`${other.urls[0]}/#/overview`);
    await see(native, 'No metrics at this address.');
    await shot(native, 'elsewhere');
    await native.goto(`${other.urls[0]}/#/try`);
    await native.locator('datalist option').first().waitFor({state: 'attached'});
    await close(native);
    const admin = await open(`${other.urls[1]}/#/try`, {key: keys.boss});
    await see(admin, 'No model calls at this address.');
    await admin.goto(`${other.urls[1]}/#/keys`);
    await see(admin, '2 keys');
    await close(admin);
    await other.stop();
});

test('without authentication a page of another site administers nothing', async () => {
    const free = await Gateway.start({auth: {mode: 'none'}});
    const site = http.createServer((_, r) => r.writeHead(200, {'content-type': 'text/html'}).end('<!doctype html><title>elsewhere</title>')).listen(0, '127.0.0.1');
    await once(site, 'listening');
    const status = async () => (await (await free.call('GET', '/admin/v1/providers')).json()).providers[0].status;
    const drain = (page) => page.evaluate((to) => fetch(to, {method: 'POST', mode: 'no-cors'}).then(() => 'sent', (e) => e.message), `${free.url}/admin/v1/providers/north/drain`);
    for (const host of ['127.0.0.1', 'localhost']) {
        const page = await open(`http://${host}:${site.address().port}/`);
        await drain(page);
        await page.context().close();
        assert.equal(await status(), 'healthy');
    }
    const own = await open(`${free.url}/#/config`);
    await see(own, 'What is in force');
    assert.equal(await drain(own), 'sent');
    assert.equal(await status(), 'drained');
    await close(own);
    site.close();
    await free.stop();
});

test('without authentication no key is asked for; where a surface is open, only for the rest', async () => {
    const free = await Gateway.start({auth: {mode: 'none'}});
    let page = await open(`${free.url}/#/providers`);
    await see(page, 'healthy · every');
    await close(page);
    await free.stop();
    const part = await Gateway.start({auth: {open_surfaces: ['native'], keys: [{id: 'boss', key: {value: keys.boss}, permissions: ['admin']}]}});
    page = await open(part.url);
    await box(page, 'Prompt').fill('Hello');
    await button(page, 'Ask').click();
    await see(page, 'You said: Hello');
    await page.goto(`${part.url}/#/keys`);
    await see(page, 'A key is needed');
    await close(page);
    await part.stop();
});

// --- try ---

for (const [surface, name] of [['chat', 'OpenAI chat'], ['responses', 'OpenAI Responses'], ['messages', 'Anthropic Messages'], ['gemini', 'Gemini'], ['enterprise', 'Enterprise gateway']])
    test(`try: ${name}, streamed and whole`, async () => {
        const page = await open(at('try'), {key: keys.boss});
        await box(page, 'Surface').selectOption(name);
        await box(page, 'Model').fill('fast');
        await page.getByText('System prompt and parameters').click();
        await box(page, 'System prompt').fill('Be brief.');
        await box(page, 'Temperature').fill('0.5');
        for (const stream of [true, false]) {
            await box(page, 'Stream').setChecked(stream);
            await box(page, 'Prompt').fill(`${evil} by ${surface}, ${stream}`);
            await button(page, 'Ask').click();
            await see(page, `You said: ${evil} by ${surface}, ${stream}`);
            const tiles = page.locator('.answers .tile');
            await until('the numbers', async () => (await tiles.count()) === 8);
            const told = (await tiles.allInnerTexts()).map((t) => t.replaceAll('\n', ' '));
            assert.match(told[0], /^Tokens in \d+ \d+ in all$/);
            assert.match(told[1], /^out \d+/);
            assert.match(told[3], /^Cost ≈?\s?\$0\.\d+$/);
            assert.match(told[4], /^Latency (<1|\d+) ms/);
            assert.equal(told[5], 'Provider north');
            assert.equal(told[6], 'Model mock');
        }
        assert.equal(await page.locator('main img').count(), 0); // it stayed text
        await button(page, 'Copy curl').click();
        const curl = await page.evaluate(() => navigator.clipboard.readText());
        assert.ok(curl.includes('$PENSTOCK_KEY') && !curl.includes(keys.boss) && curl.includes('Be brief.'), curl);
        await close(page);
    });

test('try: a question and its cost; where it would go', async () => {
    const page = await open(at('try'), {key: keys.boss});
    await box(page, 'Surface').selectOption('Question and cost');
    await box(page, 'Task').selectOption('question_answering');
    await box(page, 'Prompt').fill('How much?');
    await button(page, 'Ask').click();
    await see(page, 'You said: How much?');
    await until('the numbers', async () => (await page.locator('.answers .tile').count()) === 8);
    assert.match((await page.locator('.answers .tile').nth(3).innerText()).replaceAll('\n', ' '), /^Cost \$0\.\d+$/);
    await box(page, 'Surface').selectOption('Anthropic Messages');
    await box(page, 'Model').fill('shaky');
    await button(page, 'Where to?').click();
    const plan = page.getByRole('region', {name: 'Where it would go'});
    await plan.getByRole('cell', {name: 'south/mock-error-503'}).waitFor();
    await plan.getByRole('cell', {name: 'north/mock'}).waitFor();
    await shot(page, 'try-where');
    await audit(page, 'try, where to');
    await close(page);
});

test('try: stopped in the middle, broken off, a task, two side by side', async () => {
    const page = await open(at('try'), {key: keys.boss});
    await box(page, 'Model').fill('slow');
    await box(page, 'Prompt').fill('word '.repeat(400));
    await button(page, 'Ask').click();
    await until('words', async () => (await page.locator('.output').innerText()).length > 60);
    await button(page, 'Stop').click();
    await see(page, 'stopped');
    assert.ok((await page.locator('.output').innerText()).length < 2000);
    await box(page, 'Model').fill('torn');
    await button(page, 'Ask').click();
    await see(page, 'The answer broke off.');
    await box(page, 'Model').fill('');
    await box(page, 'Task').selectOption('question_answering');
    await box(page, 'Prompt').fill('Which way?');
    await page.keyboard.press('Control+Enter');
    await see(page, 'You said: Which way?');
    await button(page, 'Compare two').click();
    await box(page, 'Model').fill('fast');
    await box(page, 'Other model').fill('slow');
    await button(page, 'Ask').click();
    await until('both', async () => (await page.locator('.answers .tile').count()) === 16);
    await page.getByRole('heading', {name: 'slow'}).waitFor();
    await shot(page, 'try-two');
    await audit(page, 'try, two answers');
    await close(page);
});

// --- what goes on ---

test('overview: charts go on as requests come', async () => {
    const page = await open(at('overview'), {key: keys.boss});
    await see(page, 'since the start');
    await until('a rate', async () => {
        await g.chat('fast', `tick ${Date.now()}`);
        return (await page.locator('.chart').first().getAttribute('aria-label')).match(/requests (0\.[1-9]|[1-9])/);
    });
    for (const name of ['Requests per second', 'Latency', 'Cost per hour'])
        await until(name, () => page.locator(`.chart[aria-label^="${name}"] .line`).count());
    await until('the bars of the day', () => page.locator('.chart rect').count());
    await page.locator('.chart').first().hover();
    await page.locator('.chart .cursor').waitFor({state: 'attached'});
    await see(page, 'breaker open');
    await shot(page, 'overview-busy');
    await close(page);
});

test('providers: drained, enabled, reset', async () => {
    const page = await open(at('providers'), {key: keys.boss});
    const north = page.getByRole('region', {name: 'north', exact: true}), south = page.getByRole('region', {name: 'south', exact: true});
    await south.getByText(/^open, again in/).waitFor();
    await north.getByRole('button', {name: 'Drain north'}).click();
    await button(page, 'Cancel').click();
    await north.getByRole('button', {name: 'Drain north'}).click();
    await shot(page, 'providers-drain');
    await page.getByRole('dialog').getByRole('button', {name: 'Drain', exact: true}).click();
    await north.getByText('drained', {exact: true}).waitFor();
    assert.equal((await (await g.call('GET', '/admin/v1/providers')).json()).providers[0].status, 'drained');
    await north.getByRole('button', {name: 'Enable north'}).click();
    await north.getByText('healthy', {exact: true}).waitFor();
    await south.getByRole('button', {name: 'Reset south'}).click();
    await page.getByRole('dialog').getByRole('button', {name: 'Reset', exact: true}).click();
    await south.getByText('closed', {exact: true}).waitFor();
    await close(page);
});

test('usage: grouped, as CSV', async () => {
    const page = await open(at('usage'), {key: keys.boss});
    await page.getByRole('cell', {name: 'mock', exact: true}).waitFor();
    await box(page, 'By').selectOption('Key');
    await page.getByRole('cell', {name: 'team', exact: true}).waitFor();
    await box(page, 'Shown').selectOption('Requests');
    await until('bars', () => page.locator('.chart rect').count());
    const [download] = await Promise.all([page.waitForEvent('download'), button(page, 'CSV').click()]);
    const text = fs.readFileSync(await download.path(), 'utf8');
    assert.match(text, /^key,requests,errors/);
    assert.match(text, /"team",1,0/);
    await button(page, '90 days').click();
    await page.getByRole('cell', {name: 'boss', exact: true}).waitFor();
    await page.getByRole('heading', {name: 'Budgets'}).waitFor();
    await page.getByRole('cell', {name: 'tenant red'}).waitFor();
    await box(page, 'To').fill('2020-01-01');
    await see(page, 'must lie before');
    page.complaints.length = 0; // the browser tells of the 400 itself
    await close(page);
});

test('keys: made, used, rotated, revoked', async () => {
    const page = await open(at('keys'), {key: keys.boss});
    await see(page, evil); // the owner's name stayed text
    assert.equal(await page.locator('main img').count(), 0);
    await button(page, 'New key').click();
    await box(page, 'Id').fill('web-1');
    await box(page, 'Owner').fill('Team W');
    await box(page, 'Models').fill('fast, slow');
    await box(page, 'Requests a minute').fill('50');
    await box(page, 'Budget in dollars').fill('2.5');
    await shot(page, 'keys-new');
    await audit(page, 'a new key');
    await button(page, 'Create').click();
    const secret = () => page.locator('[data-secret]').innerText();
    const first = await secret();
    assert.match(first, /^sk-penstock-/);
    await shot(page, 'keys-secret');
    await button(page, 'I have it').click();
    await page.getByRole('cell', {name: /web-1/}).first().waitFor();
    assert.ok(!(await page.content()).includes(first));
    assert.equal((await g.chat('fast', 'by a new key', first)).status, 200);
    assert.equal((await g.chat('shaky', 'by a new key', first)).status, 403);
    await button(page, 'Change web-1').click();
    await box(page, 'Models').fill('');
    await box(page, 'Owner').fill('Team V');
    await box(page, 'Requests a minute').fill('');
    await page.getByRole('dialog').getByRole('button', {name: 'Change', exact: true}).click();
    await see(page, 'web-1 is changed.');
    await see(page, 'Team V');
    const changed = await (await g.call('GET', '/admin/v1/keys/web-1')).json();
    assert.deepEqual([changed.models, changed.limits?.requests_per_minute ?? null, changed.budget.usd, changed.owner], [[], null, 2.5, 'Team V']);
    assert.equal((await g.chat('shaky', 'by a changed key', first)).status, 200);
    await button(page, 'Rotate web-1').click();
    await page.getByRole('dialog').getByRole('combobox').selectOption('ends at once');
    await page.getByRole('dialog').getByRole('button', {name: 'Rotate', exact: true}).click();
    const second = await secret();
    await button(page, 'I have it').click();
    assert.equal((await g.chat('fast', 'by an old secret', first)).status, 401);
    assert.equal((await g.chat('fast', 'by a new secret', second)).status, 200);
    await button(page, 'New key').click();
    await box(page, 'Id').fill('web-1');
    await button(page, 'Create').click();
    await see(page, 'There is a key of this id.');
    await button(page, 'Revoke web-1').click();
    await page.getByRole('dialog').getByRole('button', {name: 'Revoke', exact: true}).click();
    await see(page, 'web-1 is revoked.');
    assert.equal((await g.chat('fast', 'by none', second)).status, 401);
    assert.equal(page.complaints.filter((c) => !c.includes('409')).length, 0);
    page.complaints.length = 0;
    await close(page);
});

test('logs: filtered, followed, one request with its attempts', async () => {
    const page = await open(at('logs'), {key: keys.boss});
    await page.locator('td').first().waitFor();
    await box(page, 'Model').fill('shaky');
    await page.keyboard.press('Enter');
    await until('only those', async () => {
        const names = await page.locator('tbody button').allInnerTexts();
        return names.length && names.every((n) => n === 'shaky');
    });
    await page.locator('tbody button').last().click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('heading', {name: /^Request req_/}).waitFor();
    await dialog.getByText('south/mock-error-503').waitFor();
    await dialog.getByText('north/mock', {exact: true}).waitFor();
    assert.equal(await dialog.locator('.lane').count(), 2);
    await shot(page, 'logs-request');
    await audit(page, 'a request of the log');
    await page.keyboard.press('Escape');
    await dialog.waitFor({state: 'detached'});
    const n = await page.locator('tbody tr').count();
    await g.call('POST', '/admin/v1/providers/south/reset');
    await g.chat('shaky', 'followed');
    await until('the new one on top', async () => (await page.locator('tbody tr').count()) === n + 1);
    await box(page, 'Status').fill('5xx');
    await page.keyboard.press('Enter');
    await see(page, 'No record has all of this.');
    await box(page, 'Status').fill('');
    await box(page, 'Model').fill('');
    await box(page, 'Shown').selectOption('Audit');
    await see(page, /reset/);
    await close(page);
});

test('config: no secrets; a reload, and one that is refused', async () => {
    const page = await open(at('config'), {key: keys.boss});
    await see(page, 'What is in force');
    await box(page, 'Find an option').fill('north');
    await see(page, 'name: north');
    await page.getByLabel('Also what is not set').check();
    for (const secret of [keys.boss, keys.team, 'secret-of-north'])
        assert.ok(!(await page.content()).includes(secret));
    const reload = async () => {
        await button(page, 'Reload').click();
        await page.getByRole('dialog').getByRole('button', {name: 'Reload', exact: true}).click();
    };
    await reload();
    await see(page, 'Generation 2 is running.');
    g.write('providers: [{kind: mock}]\nwrokers: 3\n');
    await reload();
    await see(page, 'Refused; the old configuration goes on.');
    await see(page, /penstock\.yaml:2:1: wrokers/);
    await shot(page, 'config-refused');
    await audit(page, 'a refused reload');
    g.write();
    await reload();
    await see(page, 'Generation 3 is running.');
    assert.equal(page.complaints.filter((c) => !c.includes('422')).length, 0);
    page.complaints.length = 0;
    await close(page);
});

// --- the description of the API ---

test('the description is OpenAPI 3.1', async () => {
    const validator = new Validator(), result = await validator.validate(await (await fetch(`${g.url}/openapi.json`)).json());
    assert.deepEqual(result.errors ?? [], []);
    assert.equal(validator.version, '3.1');
});

test('answers are what the description says', async () => {
    const doc = await (await fetch(`${g.url}/openapi.json`)).json(), ajv = new Ajv({strict: false, validateFormats: false, allErrors: true});
    ajv.addSchema(doc, 'doc');
    const escape = (s) => encodeURIComponent(s.replaceAll('~', '~0').replaceAll('/', '~1'));
    const wrong = [];
    let asked = 0;
    const ask = async (method, template, to = template, body = undefined, key = keys.boss, more = {}) => {
        const r = await g.call(method.toUpperCase(), to, body, key, more), type = r.headers.get('content-type').split(';')[0], text = await r.text();
        const status = doc.paths[template][method].responses[r.status] ? String(r.status) : 'default';
        const path = ['paths', template, method, 'responses', status, 'content', type, 'schema'];
        const schema = path.reduce((at, name) => at?.[name], doc);
        asked++;
        for (const [name] of new URL(to, g.url).searchParams)
            if (!['alt', 'key'].includes(name) && !doc.paths[template][method].parameters?.some((p) => (p.name ?? p.$ref.split('/').pop()) === name))
                wrong.push(`${method} ${to}: ${name} is not told of`);
        if (!schema)
            wrong.push(`${method} ${to}: ${r.status} ${type} is not told of`);
        else if (type === 'application/json' && !ajv.validate({$ref: `doc#/${path.map(escape).join('/')}`}, JSON.parse(text)))
            wrong.push(`${method} ${to}: ${r.status}: ${ajv.errorsText(ajv.errors.slice(0, 3))}: ${text.slice(0, 300)}`);
    };
    const fill = {'/v1/models/{id}': 'fast', '/v1beta/models/{id}': 'fast', '/admin/v1/keys/{id}': 'team', '/v1/providers/{id}/health': 'north', '/api/v1/models/{id}': 'fast', '/api/v1/models/provider/{name}': 'north', '/ui/{id}': 'app.js'};
    for (const [template, item] of Object.entries(doc.paths))
        if (item.get && (!template.includes('{') || fill[template]) && !/^\/v1\/(files|batches)/.test(template)) {
            await ask('get', template, template.replace(/\{\w+\}/, fill[template]));
            if (item.get['x-permission'] === 'admin')
                await ask('get', template, template.replace(/\{\w+\}/, fill[template]), undefined, keys.team);
            if (item.get['x-permission'])
                await ask('get', template, template.replace(/\{\w+\}/, fill[template]), undefined, 'sk-wrong');
        }
    const anthropic = {'anthropic-version': '2023-06-01'};
    await ask('get', '/v1/models', undefined, undefined, undefined, anthropic);
    for (const id of ['fast', 'nobody'])
        await ask('get', '/v1/models/{id}', `/v1/models/${id}`, undefined, undefined, anthropic);
    await ask('get', '/admin/v1/usage', '/admin/v1/usage?scope=host&group_by=day');
    await ask('get', '/admin/v1/usage', '/admin/v1/usage?format=csv');
    await ask('post', '/admin/v1/usage/reprice', '/admin/v1/usage/reprice?from=2026-01-01');
    g.write('wrokers: 3\n');
    await ask('post', '/admin/v1/reload');
    g.write();
    const user = (model) => ({model, messages: [{role: 'user', content: 'Hello'}]});
    for (const stream of [false, true]) {
        await ask('post', '/v1/chat/completions', undefined, {...user('fast'), stream});
        await ask('post', '/chat/completions', undefined, {...user('fast'), stream});
        await ask('post', '/v1/responses', undefined, {model: 'fast', input: 'Hello', stream});
        await ask('post', '/v1/messages', undefined, {...user('fast'), max_tokens: 9, stream});
        await ask('post', '/v1/completions', undefined, {model: 'fast', prompt: 'Hello', stream});
        await ask('post', '/v1/completions', undefined, {...user('fast'), stream});
        await ask('post', '/api/v1/llm/chat/completions', undefined, {...user('fast'), stream});
        await ask('post', '/api/v1/completion', undefined, {...user('fast'), stream});
    }
    await ask('post', '/api/v1/completion/stream', undefined, user('fast'));
    const contents = {contents: [{role: 'user', parts: [{text: 'Hello'}]}]};
    await ask('post', '/v1beta/models/{model}:generateContent', '/v1beta/models/fast:generateContent', contents);
    await ask('post', '/v1beta/models/{model}:streamGenerateContent', '/v1beta/models/fast:streamGenerateContent?alt=sse', contents);
    await ask('post', '/v1beta/models/{model}:streamGenerateContent', '/v1beta/models/fast:streamGenerateContent', contents);
    await ask('post', '/v1beta/models/{model}:countTokens', '/v1beta/models/fast:countTokens', contents);
    await ask('post', '/v1/messages/count_tokens', undefined, user('fast'));
    await ask('post', '/api/query', undefined, {query: 'Hello'});
    await ask('post', '/v1/gateway/query', undefined, {query: 'Hello'});
    await ask('post', '/v1/gateway/query', undefined, {query: 'Hello', dry_run: true});
    await ask('post', '/v1/gateway/cost-estimate', undefined, {query: 'Hello'});
    await ask('post', '/admin/v1/explain', undefined, user('fast'));
    await ask('post', '/admin/v1/keys', undefined, {id: 'described', budget: {usd: 1}});
    await ask('patch', '/admin/v1/keys/{id}', '/admin/v1/keys/described', {owner: 'x'});
    await ask('post', '/admin/v1/keys/{id}/rotate', '/admin/v1/keys/described/rotate', {grace: '1h'});
    await ask('delete', '/admin/v1/keys/{id}', '/admin/v1/keys/described');
    for (const what of ['drain', 'enable', 'reset'])
        await ask('post', `/admin/v1/providers/{id}/${what}`, `/admin/v1/providers/north/${what}`);
    await ask('delete', '/admin/v1/cache');
    await ask('post', '/api/v1/llm/test', undefined, {});
    await ask('post', '/api/v1/llm/cache/clear', undefined, {});
    for (const template of ['/v1/chat/completions', '/v1/responses', '/v1/messages', '/v1/completions', '/v1/embeddings', '/api/v1/llm/chat/completions', '/api/query', '/v1/gateway/query', '/v1/gateway/cost-estimate', '/admin/v1/keys', '/admin/v1/explain'])
        await ask('post', template, undefined, {nothing: 1}); // what is wrong with it, in the words of each
    console.log(`${asked} answers`);
    assert.deepEqual(wrong, []);
});

test('docs: found, read, tried', async () => {
    const page = await open(`${g.url}/docs`, {key: keys.boss});
    await box(page, 'Find').fill('chat completions v1/chat');
    const chat = page.locator('#postV1ChatCompletions');
    await chat.locator('summary').first().click();
    await chat.getByText('ChatRequest').first().waitFor();
    await box(chat, 'Body').fill(JSON.stringify({model: 'fast', messages: [{role: 'user', content: 'From the docs'}]}));
    await button(chat, 'Send').click();
    await chat.getByText('200 OK').waitFor();
    await chat.getByText('You said: From the docs').waitFor();
    await shot(page, 'docs-chat');
    await audit(page, 'docs, tried');
    await box(page, 'Find').fill('/v1/models/');
    const one = page.locator('#getV1ModelsId');
    await one.locator('summary').first().click();
    await box(one, 'id').fill('fast');
    await button(one, 'Send').click();
    await one.getByText('"owned_by": "north"').waitFor();
    await box(page, 'Find').fill('no such thing');
    await see(page, 'No endpoint has all of these words.');
    await page.goto(`${g.url}/docs#getAdminV1Keys`);
    await page.locator('#getAdminV1Keys[open]').waitFor();
    await close(page);
});

// --- everybody can use it ---

for (const [name, options] of [['light', {}], ['dark', {colorScheme: 'dark'}], ['phone', {viewport: {width: 360, height: 760}, deviceScaleFactor: 2, hasTouch: true}]])
    test(`contrast, names and width: ${name}`, async () => {
        const page = await open(`${g.url}/docs`, {key: keys.boss, ...options});
        const fits = async (where) => assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${where} is wider than the screen`);
        await page.locator('.operation').first().waitFor();
        await fits('docs');
        await shot(page, `docs-${name}`);
        await audit(page, `docs, ${name}`);
        for (const view of views) {
            await show(page, view);
            await fits(view);
            await shot(page, `${view}-${name}`);
            await audit(page, `${view}, ${name}`);
        }
        await close(page);
    });

test('by keyboard alone', async () => {
    const page = await open(at('try'), {key: keys.boss});
    await box(page, 'Prompt').waitFor();
    const focused = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.labels?.[0]?.textContent);
    const tabTo = async (name) => {
        for (let i = 0; i < 60; i++) {
            if ((await focused()) === name)
                return;
            await page.keyboard.press('Tab');
        }
        assert.fail(`${name} is not reached by Tab`);
    };
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'To the content');
    await tabTo('Config');
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(ring, 'solid'); // it is seen where one is
    await page.keyboard.press('Enter');
    await heading(page, 'Config');
    assert.equal(await focused(), 'Config'); // the new view's heading
    await tabTo('Reload');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({state: 'detached'});
    assert.equal(await focused(), 'Reload');
    await page.goto(at('try'));
    await heading(page, 'Try');
    await tabTo('Model');
    await page.keyboard.type('fast');
    await tabTo('Prompt');
    await page.keyboard.type('By hand');
    await tabTo('Ask');
    await page.keyboard.press('Enter');
    await see(page, 'You said: By hand');
    await page.goto(at('logs'));
    await page.locator('td').first().waitFor();
    await page.locator('tbody button').first().focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await close(page);
});

test('light and dark by hand, kept', async () => {
    const page = await open(at('try'), {key: keys.boss});
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await ground();
    await page.getByRole('button', {name: 'Theme: light or dark'}).click();
    assert.notEqual(await ground(), light);
    await page.reload();
    assert.notEqual(await ground(), light);
    await close(page);
});
