// How a question is put to each of the surfaces that programs use, and what its answer tells.

const maybe = (o) => Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined && v !== ''));
const usageOf = (input, output, cached, reasoning) => (input === undefined && output === undefined ? null : {input, output, cached: cached ?? 0, reasoning: reasoning ?? 0});
const turns = (q) => [...(q.system ? [{role: 'system', content: q.system}] : []), {role: 'user', content: q.prompt}];
const chatUsage = (u) => u && usageOf(u.prompt_tokens, u.completion_tokens, u.prompt_tokens_details?.cached_tokens, u.completion_tokens_details?.reasoning_tokens);
const messagesUsage = (u) => u && usageOf(
    u.input_tokens === undefined ? undefined : u.input_tokens + (u.cache_read_input_tokens ?? 0) + (u.cache_creation_input_tokens ?? 0),
    u.output_tokens, u.cache_read_input_tokens);
const responsesUsage = (u) => u && usageOf(u.input_tokens, u.output_tokens, u.input_tokens_details?.cached_tokens, u.output_tokens_details?.reasoning_tokens);
const geminiUsage = (u) => u && usageOf(u.promptTokenCount, (u.candidatesTokenCount ?? 0) + (u.thoughtsTokenCount ?? 0), u.cachedContentTokenCount, u.thoughtsTokenCount);

// needs: what the address must serve. piece(json) of a stream and whole(json): {text, thought, usage, cost, stop, error}
export const surfaces = {
    chat: {
        needs: 'native',
        label: 'OpenAI chat',
        path: () => '/v1/chat/completions',
        body: (q) => ({...maybe({model: q.model}),
            messages: turns(q),
            ...maybe({temperature: q.temperature, top_p: q.top_p, max_tokens: q.max_tokens, stream: q.stream || undefined, stream_options: q.stream ? {include_usage: true} : undefined})}),
        piece: (j) => ({text: j.choices?.[0]?.delta?.content, thought: j.choices?.[0]?.delta?.reasoning_content, stop: j.choices?.[0]?.finish_reason, usage: chatUsage(j.usage), error: j.error?.message}),
        whole: (j) => ({text: j.choices?.[0]?.message?.content, thought: j.choices?.[0]?.message?.reasoning_content, stop: j.choices?.[0]?.finish_reason, usage: chatUsage(j.usage)}),
    },
    responses: {
        needs: 'native',
        label: 'OpenAI Responses',
        path: () => '/v1/responses',
        body: (q) => ({...maybe({model: q.model}), input: q.prompt, store: false,
            ...maybe({instructions: q.system, temperature: q.temperature, top_p: q.top_p, max_output_tokens: q.max_tokens, stream: q.stream || undefined})}),
        piece: (j) => ({
            text: j.type === 'response.output_text.delta' ? j.delta : undefined,
            thought: j.type === 'response.reasoning_summary_text.delta' ? j.delta : undefined,
            stop: j.response?.status === 'in_progress' ? undefined : j.response?.status,
            usage: responsesUsage(j.response?.usage),
            error: j.type === 'error' ? j.message ?? j.error?.message : j.response?.error?.message,
        }),
        whole: (j) => ({text: (j.output ?? []).flatMap((o) => o.content ?? []).map((c) => c.text ?? '').join(''), stop: j.status, usage: responsesUsage(j.usage)}),
    },
    messages: {
        needs: 'native',
        label: 'Anthropic Messages',
        path: () => '/v1/messages',
        headers: {'anthropic-version': '2023-06-01'},
        needsModel: true,
        body: (q) => ({model: q.model, max_tokens: q.max_tokens ?? 1024,
            ...maybe({system: q.system}), messages: [{role: 'user', content: q.prompt}],
            ...maybe({temperature: q.temperature, top_p: q.top_p, stream: q.stream || undefined})}),
        piece: (j) => ({
            text: j.delta?.text, thought: j.delta?.thinking, stop: j.delta?.stop_reason,
            usage: messagesUsage(j.message?.usage ?? j.usage), error: j.type === 'error' ? j.error?.message : undefined,
        }),
        whole: (j) => ({text: (j.content ?? []).map((c) => c.text ?? '').join(''), thought: (j.content ?? []).map((c) => c.thinking ?? '').join(''), stop: j.stop_reason, usage: messagesUsage(j.usage)}),
    },
    gemini: {
        needs: 'native',
        label: 'Gemini',
        path: (q) => `/v1beta/models/${q.model.split('/').map(encodeURIComponent).join('/')}:${q.stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
        body: (q) => ({contents: [{role: 'user', parts: [{text: q.prompt}]}],
            ...(q.system ? {systemInstruction: {parts: [{text: q.system}]}} : {}),
            generationConfig: maybe({temperature: q.temperature, topP: q.top_p, maxOutputTokens: q.max_tokens})}),
        piece: (j) => ({
            text: parts(j).filter((p) => !p.thought).map((p) => p.text ?? '').join(''),
            thought: parts(j).filter((p) => p.thought).map((p) => p.text ?? '').join(''),
            stop: j.candidates?.[0]?.finishReason, usage: geminiUsage(j.usageMetadata), error: j.error?.message,
        }),
        needsModel: true,
    },
    enterprise: {
        needs: 's1',
        label: 'Enterprise gateway',
        path: () => '/api/v1/llm/chat/completions',
        body: (q) => ({...maybe({model: q.model}), messages: turns(q), ...maybe({temperature: q.temperature, maxTokens: q.max_tokens, stream: q.stream || undefined})}),
        piece: (j) => (j.type === 'done' ? enterprise(j, '') : {text: j.content, error: j.error?.message}),
        whole: (j) => enterprise(j.data, j.data.content),
    },
    query: {
        needs: 's4',
        label: 'Question and cost',
        path: () => '/api/query',
        body: (q) => ({query: q.prompt, ...maybe({model: q.model, task_type: q.task})}),
        whole: (j) => ({text: j.response, cost: j.cost_usd ?? undefined, usage: usageOf(j.input_tokens, j.output_tokens)}),
        hasTask: true,
    },
};
const enterprise = (d, text) => ({text, stop: d.finishReason, cost: d.cost?.totalCost ?? undefined, usage: usageOf(d.usage?.promptTokens, d.usage?.completionTokens)});
const parts = (j) => j.candidates?.[0]?.content?.parts ?? [];
surfaces.gemini.whole = surfaces.gemini.piece;

export function request(q) {
    const s = surfaces[q.surface], body = s.body(q), routing = s.hasTask ? {} : maybe({task: q.task});
    if (Object.keys(routing).length)
        body.routing = routing;
    return {path: s.path(q), options: {body, headers: {...s.headers, ...(q.fresh ? {'cache-control': 'no-cache'} : {})}}};
}
