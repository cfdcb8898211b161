export interface LLMMessage {
  role: 'system' | 'developer' | 'user' | 'assistant' | 'tool';
  content: string | null | Array<Record<string, unknown>>;
  name?: string;
  [more: string]: unknown;
}

export interface RequestOptions {
  signal?: AbortSignal;
  /** Of this request, in milliseconds. */
  timeoutMs?: number;
  headers?: Record<string, string>;
}

export interface CompletionOptions extends RequestOptions {
  /** Left out: chosen by the gateway. */
  model?: string;
  provider?: string;
  maxTokens?: number;
  temperature?: number;
  /** Further fields of the surface go through as they are. */
  [more: string]: unknown;
}

export interface LLMGatewayOptions {
  /** Of the gateway; else PENSTOCK_URL, else http://127.0.0.1:8080. */
  url?: string;
  baseUrl?: string;
  baseURL?: string;
  /** A gateway key or a JSON Web Token; else PENSTOCK_KEY. */
  apiKey?: string;
  token?: string;
  headers?: Record<string, string>;
  /** Of each request; 10 minutes. */
  timeoutMs?: number;
  /** Further tries after a retryable error; 0, since the gateway tries again itself. */
  retries?: number;
  fetch?: typeof globalThis.fetch;
  /** What complete() and stream() ask with where their options say nothing. */
  model?: string;
  provider?: string;
  maxTokens?: number;
  temperature?: number;
  /** What the library took besides is the gateway's configuration now. */
  [more: string]: unknown;
}

export interface Completion {
  id: string;
  content: string | null;
  model: string;
  provider: string;
  finishReason: string;
  usage: {promptTokens: number; completionTokens: number; totalTokens: number};
  /** null where no price is known. */
  cost: {promptCost: number | null; completionCost: number | null; totalCost: number | null; currency: 'USD'};
  latency: number;
  cached: boolean;
  requestId: string;
  [more: string]: unknown;
}

export type LLMErrorType =
  | 'rate_limit_error' | 'authentication_error' | 'service_unavailable' | 'timeout_error' | 'context_length_error'
  | 'invalid_request_error' | 'permission_error' | 'model_not_found';

export class LLMGatewayError extends Error {
  constructor(type: LLMErrorType | string, message: string, more?: Partial<LLMGatewayError> & {cause?: unknown});
  type: LLMErrorType | (string & {});
  /** HTTP's; 0: no answer came. */
  status: number;
  retryable: boolean;
  provider?: string;
  requestId?: string;
  retryAfterMs?: number;
}

export class LLMGateway {
  constructor(options?: LLMGatewayOptions);
  initialize(): Promise<this>;
  complete(messages: string | LLMMessage[], options?: CompletionOptions): Promise<Completion>;
  stream(messages: string | LLMMessage[], options?: CompletionOptions): AsyncGenerator<string, Completion, void>;
  health(options?: RequestOptions): Promise<{
    overall: string;
    providers: Record<string, {status: string; latency: number | null; successRate: number | null; errorRate: number | null}>;
  }>;
  status(options?: RequestOptions): Promise<{
    version: string; uptime: number; workers: number; features: Record<string, boolean>; providers: string[];
  }>;
  metrics(options?: RequestOptions & {provider?: string; period?: 'hour' | 'day' | 'week' | 'month'}): Promise<{
    period: string;
    gateway: {
      totalRequests: number; successfulRequests: number; failedRequests: number;
      averageLatency: number | null; totalCost: number | null; uptime: number;
    };
    performance: {
      /** `all` where none was asked for. */
      provider: string; totalRequests: number; averageLatency: number | null; p95Latency: number | null; totalCost: number | null;
      topModels: Array<{model: string; count: number; avgLatency: number | null}>;
    };
  }>;
  test(options?: RequestOptions & {provider?: string}): Promise<{
    results: Array<{provider: string; ok: boolean; latency: number; model?: string; error?: unknown}>;
  }>;
  clearCache(options?: RequestOptions): Promise<{cleared: number}>;
  logs(options?: RequestOptions & {
    startTime?: string | Date; endTime?: string | Date; type?: 'request' | 'response' | 'error'; limit?: number; cursor?: string;
  }): Promise<{logs: Array<Record<string, unknown>>; hasMore: boolean; nextCursor?: string | null}>;
}

export function createLLMGateway(options?: LLMGatewayOptions): LLMGateway;
export default createLLMGateway;
