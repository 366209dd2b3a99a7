// Requests to the gateway that served this page. An error answer becomes an `ApiError`; who needs a token is asked for
// one, once for all who wait, and the request is sent again.

/** The gateway answered, and said no. `status` 0: nobody answered. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  get notFound(): boolean {
    return this.status === 404;
  }
}

/** Who keeps the token, and asks for one. */
export interface Keeper {
  readonly token: string | undefined;
  /** The gateway refused `used`; resolves with true when there is another. */
  ask(used: string | undefined): Promise<boolean>;
}

let keeper: Keeper | undefined;

/** Tells all requests whose token they send. */
export function useKeeper(it: Keeper): void {
  keeper = it;
}

export interface Options {
  query?: Record<string, string | number | boolean | undefined | null>;
  body?: unknown;
  signal?: AbortSignal;
  /** False: a 401 is an error, and nobody is asked. */
  ask?: boolean;
  /** How long to wait for an answer, in milliseconds. */
  timeout_ms?: number;
}

/** Sends a request, and reads its answer as JSON. Throws `ApiError`. */
export async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const response = await send(method, path, options);
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

/** Sends a request that must succeed, and leaves reading to the caller. Throws `ApiError`. */
export async function send(method: string, path: string, options: Options = {}): Promise<Response> {
  for (;;) {
    const used = keeper?.token;
    const response = await answer(method, path, options, used);
    if (response.ok) return response;
    const error = await errorOf(response);
    if (error.status === 401 && options.ask !== false && keeper !== undefined && (await keeper.ask(used))) continue;
    throw error;
  }
}

async function answer(method: string, path: string, options: Options, token: string | undefined): Promise<Response> {
  const headers: Record<string, string> = {};
  if (token !== undefined) headers.Authorization = `Bearer ${token}`;
  if (options.body !== undefined) headers['Content-Type'] = 'application/json';
  const timeout = AbortSignal.timeout(options.timeout_ms ?? 15_000);
  try {
    return await fetch(path + queryOf(options.query), {
      method,
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]),
      cache: 'no-store',
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, 'Unreachable', 'the gateway does not answer');
  }
}

/** `?a=1&b=2`, without what is absent or empty. */
export function queryOf(query: Options['query']): string {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') parts.set(name, String(value));
  }
  const text = parts.toString();
  return text === '' ? '' : `?${text}`;
}

async function errorOf(response: Response): Promise<ApiError> {
  try {
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    return new ApiError(response.status, error.code, error.message);
  } catch {
    return new ApiError(response.status, 'Unknown', `the gateway answered ${response.status}`);
  }
}

/** What to tell a person about an error. */
export function saying(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
