import { errorFor, QuotaApiError, QuotaConnectionError, QuotaTimeoutError } from "./errors.ts";

/** @internal A request for the transport. */
export interface Outgoing {
  url: string;
  method: string;
  headers: Record<string, string>;
  body?: string | undefined;
  signal?: AbortSignal | undefined;
  timeoutMs: number;
  maxRetries: number;
  /** Whether repeating the request is safe whatever happened to the first one. */
  repeatable: boolean;
  fetch: typeof fetch;
}

/** @internal An answer whose body is not read yet; read it through `read`, which applies the time limit. */
export interface Incoming {
  headers: Headers;
  body: ReadableStream<Uint8Array> | null;
  /** Waits for a part of the body, at most `timeoutMs`; aborts the request after that or when the caller's signal fires. */
  read<T>(part: Promise<T>): Promise<T>;
  /** Aborts the request and its body. */
  end(): void;
}

/** Statuses of requests that the server refused before it did anything; these are repeated even when a request must run once. */
const REFUSED = new Set([429, 503]);

/**
 * @internal Sends a request and repeats it after 429, 5xx, a first request that still runs
 * (409 with Retry-After) and network failures, with exponential backoff and full jitter, or
 * after Retry-After. A request that must run once is repeated only when the server refused
 * it. Throws the error of the last attempt.
 */
export async function send(outgoing: Outgoing): Promise<Incoming> {
  for (let attempt = 0; ; attempt++) {
    outgoing.signal?.throwIfAborted();
    try {
      return await sendOnce(outgoing);
    } catch (error) {
      const wait = attempt < outgoing.maxRetries ? waitBefore(error, attempt, outgoing.repeatable) : null;
      if (wait === null) throw error;
      await pause(wait, outgoing.signal);
    }
  }
}

/** @internal Milliseconds to wait before the next attempt; null for no further attempt. */
export function waitBefore(error: unknown, attempt: number, repeatable: boolean): number | null {
  if (error instanceof QuotaApiError) {
    const { status, retryAfterMs } = error;
    const passing = repeatable ? status === 429 || status >= 500 || (status === 409 && retryAfterMs !== undefined) : REFUSED.has(status);
    if (!passing) return null;
    // A wait of more than a minute is better decided by the caller, so the error is thrown.
    if (retryAfterMs !== undefined) return retryAfterMs > 60_000 ? null : retryAfterMs;
  } else if (!(error instanceof QuotaConnectionError) || !repeatable) return null;
  return Math.random() * Math.min(8_000, 500 * 2 ** attempt);
}

async function sendOnce({ url, method, headers, body, signal, timeoutMs, fetch }: Outgoing): Promise<Incoming> {
  const controller = new AbortController();
  let timedOut = false;
  const abort = () => controller.abort(signal?.reason);
  signal?.addEventListener("abort", abort);
  const end = () => {
    signal?.removeEventListener("abort", abort);
    controller.abort();
  };
  const read = async <T>(part: Promise<T>): Promise<T> => {
    const timer = setTimeout(() => {
      timedOut = true;
      controller.abort();
    }, timeoutMs);
    try {
      return await part;
    } catch (cause) {
      // fetch wraps the reason of an abort; callers get their own reason.
      if (signal?.aborted) throw signal.reason;
      if (timedOut) throw new QuotaTimeoutError(`No answer within ${timeoutMs} ms.`, { cause });
      throw new QuotaConnectionError(`The connection to ${new URL(url).host} failed.`, { cause });
    } finally {
      clearTimeout(timer);
    }
  };
  try {
    const response = await read(fetch(url, { method, headers, body: body ?? null, signal: controller.signal, redirect: "manual" }));
    if (response.ok) return { headers: response.headers, body: response.body, read, end };
    throw errorFor(response.status, response.headers, await read(response.text()));
  } catch (error) {
    end();
    throw error;
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    // The signal may have fired while the last answer was read.
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** @internal The whole body as text. */
export async function textOf(incoming: Incoming): Promise<string> {
  try {
    return await incoming.read(new Response(incoming.body).text());
  } finally {
    incoming.end();
  }
}
