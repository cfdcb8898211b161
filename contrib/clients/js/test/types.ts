// Does index.d.ts say what programs rely on? tsc --noEmit --strict --target es2022 --module nodenext test/types.ts
import createDefault, {createLLMGateway, LLMGateway, LLMGatewayError, type Completion, type LLMMessage} from '../index.js';

const gateway: LLMGateway = createLLMGateway({url: 'http://127.0.0.1:8080', apiKey: 'k', model: 'gpt-4o', providers: {openai: {}}});
const messages: LLMMessage[] = [{role: 'user', content: 'Hi'}];

export async function use(): Promise<number | null> {
  await gateway.initialize();
  const answer: Completion = await gateway.complete(messages, {maxTokens: 10, temperature: 0.5, signal: new AbortController().signal});
  const stream = createDefault().stream('Hi');
  for await (const piece of stream) console.log(piece.length);
  try {
    await gateway.metrics({provider: 'openai', period: 'week'});
    // @ts-expect-error there is no such period
    await gateway.metrics({period: 'year'});
    // @ts-expect-error messages are texts or a list
    await gateway.complete(7);
  } catch (e) {
    if (e instanceof LLMGatewayError && e.retryable) console.log(e.type, e.retryAfterMs ?? 0);
  }
  return answer.content ? answer.cost.totalCost : answer.usage.totalTokens;
}
