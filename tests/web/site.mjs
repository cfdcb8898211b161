// The real daemon with mock providers, and a browser in front of it. PENSTOCK_BIN and CHROMIUM say which.

import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import fs from 'node:fs';
import {createRequire} from 'node:module';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import {chromium} from 'playwright-core';

const axeSource = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const shots = process.env.PENSTOCK_SHOTS ?? fs.mkdtempSync(path.join(os.tmpdir(), 'penstock-shots-'));
export const keys = {boss: 'sk-web-boss', team: 'sk-web-team'};
export const evil = '<img src=x onerror="document.title=1">';

async function freePort() {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const {port} = server.address();
    server.close();
    await once(server, 'close');
    return port;
}

export async function until(what, fn, seconds = 30) {
    for (const end = Date.now() + 1000 * seconds; Date.now() < end; await new Promise((r) => setTimeout(r, 50))) {
        const value = await fn();
        if (value)
            return value;
    }
    throw new Error(`waited ${seconds} s in vain for ${what}`);
}

export class Gateway {
    // more: members over the configuration, of which each is JSON
    static async start(more = {}, listen = [['all']]) {
        const g = new Gateway();
        g.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'penstock-web-'));
        fs.chmodSync(g.dir, 0o755);
        g.file = path.join(g.dir, 'penstock.yaml');
        g.urls = [];
        const addresses = [];
        for (const surfaces of listen) {
            const port = await freePort();
            g.urls.push(`http://127.0.0.1:${port}`);
            addresses.push({address: `127.0.0.1:${port}`, surfaces});
        }
        g.url = g.urls[0];
        g.conf = {
            listen: addresses, workers: 2, state_dir: path.join(g.dir, 'state'), pid_file: path.join(g.dir, 'pid'),
            log: {target: path.join(g.dir, 'log')},
            providers: [
                {name: 'north', kind: 'mock', keys: [{value: 'secret-of-north'}]},
                {name: 'south', kind: 'mock', retry: {max: 0}, breaker: {consecutive_failures: 3, open_for: '5m'}},
                {name: 'idle', kind: 'mock', enabled: false},
            ],
            models: [
                {name: 'fast', targets: [{provider: 'north', model: 'mock'}], prices: {input: 2.5, cached_input: 1.25, output: 10}},
                {name: 'slow', targets: [{provider: 'north', model: 'mock-slow'}], prices: {input: 0.15, output: 0.6}},
                {name: 'shaky', targets: [{provider: 'south', model: 'mock-error-503'}, {provider: 'north', model: 'mock'}]},
                {name: 'torn', targets: [{provider: 'north', model: 'mock-stream-error'}]},
            ],
            routing: {tasks: {summarization: ['slow'], question_answering: ['fast']}},
            tenants: [{id: 'red', budget: {usd: 5, period: 'day'}}],
            auth: {mode: 'keys', keys: [
                {id: 'boss', key: {value: keys.boss}, owner: evil, permissions: ['completion', 'embedding', 'admin']},
                {id: 'team', key: {value: keys.team}, tenant: 'red', permissions: ['completion']},
            ]},
            ...more,
        };
        g.write();
        g.process = spawn(process.env.PENSTOCK_BIN, ['-f', '-c', g.file], {stdio: ['ignore', 'inherit', 'inherit'], env: {PATH: process.env.PATH}});
        await until('the gateway to be ready', async () => {
            assert.equal(g.process.exitCode, null, 'the gateway ended');
            return fetch(`${g.url}/readyz`).then((r) => r.ok, () => false);
        });
        return g;
    }

    write(text = JSON.stringify(this.conf, null, 1)) {
        fs.writeFileSync(this.file, text);
    }

    call(method, to, body, key = keys.boss, more = {}) {
        return fetch(this.url + to, {method, body: body && JSON.stringify(body), headers: {authorization: `Bearer ${key}`, 'content-type': 'application/json', ...more}});
    }

    async chat(model, text, key) {
        const r = await this.call('POST', '/v1/chat/completions', {model, messages: [{role: 'user', content: text}]}, key);
        await r.text();
        return r;
    }

    async stop() {
        this.process.kill('SIGTERM');
        if (this.process.exitCode === null)
            await once(this.process, 'exit');
        fs.rmSync(this.dir, {recursive: true, force: true});
    }
}

let browser = null;
export const closeBrowser = () => browser?.close();

// A page of its own; what its console complains of is gathered in page.complaints.
export async function open(url, {key, ...options} = {}) {
    browser ??= await chromium.launch({executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-dev-shm-usage']});
    const context = await browser.newContext({viewport: {width: 1280, height: 860}, reducedMotion: 'reduce', permissions: ['clipboard-read', 'clipboard-write'], ...options});
    context.setDefaultTimeout(30000);
    if (key)
        await context.addInitScript((k) => sessionStorage.getItem('penstock.key') ?? sessionStorage.setItem('penstock.key', k), key);
    const page = await context.newPage();
    page.complaints = [];
    page.on('console', (m) => m.type() === 'error' && page.complaints.push(`${m.text()} ${m.location().url}`));
    page.on('pageerror', (e) => page.complaints.push(e.stack));
    page.on('request', (r) => r.url().startsWith(new URL(url).origin) || r.url().startsWith('blob:') || page.complaints.push(`asked elsewhere: ${r.url()}`));
    await page.goto(url);
    return page;
}

export async function close(page) {
    await page.context().close();
    assert.deepEqual(page.complaints, []);
}

// What axe-core finds against WCAG 2.2 AA.
export async function audit(page, where) {
    await page.evaluate(`{const module = undefined, exports = undefined; ${axeSource}}`);
    const {violations} = await page.evaluate(() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}));
    const told = violations.map((v) => `${where}: ${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.html} ${n.any.map((a) => a.message).join('; ')}`).slice(0, 4).join('\n   ')}`);
    assert.deepEqual(told, []);
}

export const shot = (page, name) => page.screenshot({path: path.join(shots, `${name}.png`), fullPage: true});
