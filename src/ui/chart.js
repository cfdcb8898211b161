// Charts as plain SVG, drawn anew for the width they have.

import {clock, h, svg} from './dom.js';

const PAD = {left: 52, right: 8, top: 8, bottom: 20};

// 0 and steps of 1, 2, 5 times a power of ten, up to at least `most`.
function ticks(most, count = 3) {
    if (!(most > 0))
        return [0, 1];
    const rough = most / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
    return Array.from({length: Math.ceil(most / step - 1e-9) + 1}, (_, i) => i * step);
}

function frame(label, high) {
    const graph = svg('svg', {class: `chart${high ? ' high' : ''}`, role: 'img', 'aria-label': label});
    const legend = h('ul', {class: 'legend'});
    return {graph, legend, node: h('div', {class: 'stack'}, graph, legend)};
}

function axes(graph, width, height, marks, y, format) {
    for (const v of marks) {
        graph.append(svg('line', {class: 'grid', x1: PAD.left, x2: width - PAD.right, y1: y(v), y2: y(v)}),
            svg('text', {x: PAD.left - 8, y: y(v) + 4, 'text-anchor': 'end'}, format(v)));
    }
}

function keep(node, graph, draw) {
    const watch = new ResizeObserver(() => draw());
    watch.observe(graph);
    return {node, stop: () => watch.disconnect()};
}

const SHORTEST = 60000;

// series: [{name, of(point)}] over points with `at` in ms; what there is is shown, from a minute up to `span` ms.
export function lines({label, series, span: most, format}) {
    const {graph, legend, node} = frame(label);
    let points = [], pointed = null, span = SHORTEST;
    const draw = () => {
        const width = graph.clientWidth || 400, height = graph.clientHeight || 150, now = points.at(-1)?.at ?? Date.now();
        span = Math.min(most, Math.max(SHORTEST, now - (points[0]?.at ?? now)));
        const values = points.flatMap((p) => series.map((s) => s.of(p))).filter(Number.isFinite);
        const marks = ticks(Math.max(0, ...values)), top = marks.at(-1);
        const x = (at) => PAD.left + (width - PAD.left - PAD.right) * (1 - (now - at) / span);
        const y = (v) => PAD.top + (height - PAD.top - PAD.bottom) * (1 - v / top);
        graph.replaceChildren();
        graph.setAttribute('viewBox', `0 0 ${width} ${height}`);
        axes(graph, width, height, marks, y, format);
        const steps = width > 520 ? 4 : 2;
        for (let i = 0; i <= steps; i++) {
            const at = now - span + (span * i) / steps;
            graph.append(svg('text', {x: x(at), y: height - 4, 'text-anchor': i === 0 ? 'start' : i === steps ? 'end' : 'middle'}, clock(at)));
        }
        series.forEach((s, i) => {
            const known = points.filter((p) => Number.isFinite(s.of(p)));
            if (!known.length)
                return;
            const path = known.map((p, n) => `${n ? 'L' : 'M'}${x(p.at).toFixed(1)} ${y(s.of(p)).toFixed(1)}`).join('');
            if (series.length === 1)
                graph.append(svg('path', {class: `area s${i + 1}`, d: `${path}L${x(known.at(-1).at).toFixed(1)} ${y(0)}L${x(known[0].at).toFixed(1)} ${y(0)}Z`}));
            graph.append(svg('path', {class: `line s${i + 1}`, d: path}), svg('circle', {class: `s${i + 1}`, cx: x(known.at(-1).at), cy: y(s.of(known.at(-1))), r: 2.5}));
        });
        const shown = pointed === null ? points.at(-1) : points.reduce((a, b) => (Math.abs(b.at - pointed) < Math.abs(a.at - pointed) ? b : a), points[0]);
        if (pointed !== null && shown)
            graph.append(svg('line', {class: 'cursor', x1: x(shown.at), x2: x(shown.at), y1: PAD.top, y2: y(0)}));
        const told = series.map((s) => [s.name, shown && Number.isFinite(s.of(shown)) ? format(s.of(shown)) : '–']);
        legend.replaceChildren(...told.map(([name, v], i) => h('li', {}, h('i', {class: `s${i + 1}`}), name, h('b', {}, v))),
            pointed !== null && shown ? h('li', {}, clock(shown.at)) : '');
        graph.setAttribute('aria-label', `${label}: ${told.map(([name, v]) => `${name} ${v}`).join(', ')}`);
    };
    graph.addEventListener('pointermove', (e) => {
        const box = graph.getBoundingClientRect(), now = points.at(-1)?.at ?? Date.now();
        const share = (e.clientX - box.left - PAD.left) / (box.width - PAD.left - PAD.right);
        pointed = now - span * (1 - share);
        draw();
    });
    graph.addEventListener('pointerleave', () => {
        pointed = null;
        draw();
    });
    return {...keep(node, graph, draw), update: (list) => { points = list; draw(); }};
}

// columns: [{name, parts: {series: value}}]; the first five series have colours of their own, the rest shares one.
export function bars({label, format}) {
    const {graph, legend, node} = frame(label, true);
    let columns = [], names = [];
    const part = (c, i) => (i < 5 ? c.parts[names[i]] ?? 0 : names.slice(5).reduce((sum, n) => sum + (c.parts[n] ?? 0), 0));
    const draw = () => {
        const width = graph.clientWidth || 400, height = graph.clientHeight || 220;
        const shown = Math.min(names.length, 6);
        const sums = columns.map((c) => names.reduce((sum, n) => sum + (c.parts[n] ?? 0), 0));
        const marks = ticks(Math.max(0, ...sums)), top = marks.at(-1);
        const inner = width - PAD.left - PAD.right, step = inner / Math.max(1, columns.length);
        const y = (v) => PAD.top + (height - PAD.top - PAD.bottom) * (1 - v / top);
        graph.replaceChildren();
        graph.setAttribute('viewBox', `0 0 ${width} ${height}`);
        axes(graph, width, height, marks, y, format);
        const every = Math.max(1, Math.ceil(columns.length / Math.floor(inner / 76)));
        columns.forEach((c, n) => {
            const left = PAD.left + step * n, wide = Math.max(1, Math.min(48, step - Math.max(1, step * 0.25)));
            let from = 0;
            for (let i = 0; i < shown; i++) {
                const v = part(c, i);
                if (v > 0)
                    graph.append(svg('rect', {class: `s${i + 1}`, x: left + (step - wide) / 2, width: wide, y: y(from + v), height: Math.max(0.5, y(from) - y(from + v))},
                        svg('title', {}, `${c.name}, ${i < 5 ? names[i] : 'others'}: ${format(v)}`)));
                from += v;
            }
            if (n % every === 0)
                graph.append(svg('text', {x: left + step / 2, y: height - 4, 'text-anchor': 'middle'}, c.name));
        });
        const total = sums.reduce((a, b) => a + b, 0);
        legend.replaceChildren(...names.slice(0, shown).map((n, i) => h('li', {}, h('i', {class: `s${i + 1}`}), i < 5 ? n : `${names.length - 5} others`,
            h('b', {}, format(columns.reduce((sum, c) => sum + part(c, i), 0))))));
        graph.setAttribute('aria-label', `${label}: ${format(total)} in ${columns.length} columns`);
    };
    return {...keep(node, graph, draw), update: (list) => {
        columns = list;
        const weight = new Map();
        for (const c of list)
            for (const [n, v] of Object.entries(c.parts))
                weight.set(n, (weight.get(n) ?? 0) + v);
        names = [...weight].sort((a, b) => b[1] - a[1]).map(([n]) => n);
        draw();
    }};
}

// A share from 0 to 1 as a small bar.
export const share = (x, kind = 's1') => svg('svg', {class: 'part', viewBox: '0 0 72 6', 'aria-hidden': 'true'},
    svg('rect', {class: kind, width: 72 * Math.max(0, Math.min(1, x || 0)), height: 6}));
