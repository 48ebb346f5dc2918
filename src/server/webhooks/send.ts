import { type Dispatcher, request } from "undici";

/** One request to a receiver, and its answer. */
export type Attempt = {
  delivered: boolean;
  requestHeaders: Record<string, string>;
  responseStatus: number | null;
  /** The first 2 kB of the answer, as UTF-8 without NUL. */
  responseBody: string | null;
  /** Why it counts as failed, for the developer; null when it was delivered. */
  error: string | null;
  /** The wait that the receiver asked for (Retry-After), in milliseconds; null when it did not ask. */
  retryAfterMs: number | null;
  durationMs: number;
};

const KEPT_BYTES = 2_048;

/**
 * Posts a body; never throws. `delivered` means: status 2xx, and the whole answer or its
 * first 2 kB within `timeoutMs`, which includes name look-up and connecting. Redirects are
 * not followed.
 */
export async function post(
  agent: Dispatcher,
  url: string,
  message: { headers: Record<string, string>; body: string; timeoutMs: number },
): Promise<Attempt> {
  const startedAt = performance.now();
  const requestHeaders = { "content-type": "application/json; charset=utf-8", "user-agent": "Quota-Webhooks/1", ...message.headers };
  const ended = (how: Pick<Attempt, "responseStatus" | "responseBody" | "error">): Attempt => ({
    delivered: how.error === null,
    requestHeaders,
    retryAfterMs,
    durationMs: Math.round(performance.now() - startedAt),
    ...how,
  });
  // One time limit for name look-up, connecting, headers and body.
  const signal = AbortSignal.timeout(message.timeoutMs);
  let status: number | null = null;
  let retryAfterMs: number | null = null;
  let kept = Buffer.alloc(0);
  try {
    const response = await within(
      signal,
      request(url, {
        method: "POST",
        dispatcher: agent,
        headers: requestHeaders,
        body: message.body,
        signal,
        headersTimeout: message.timeoutMs,
        bodyTimeout: message.timeoutMs,
      }),
    );
    status = response.statusCode;
    if (status === 429 || status === 503) retryAfterMs = retryAfter(response.headers);
    for await (const part of response.body) {
      kept = Buffer.concat([kept, (part as Buffer).subarray(0, KEPT_BYTES - kept.length)]);
      // Leaving the loop closes the connection, so an endless answer is not read.
      if (kept.length >= KEPT_BYTES) break;
    }
    const error =
      status >= 200 && status < 300
        ? null
        : status >= 300 && status < 400
          ? `answered ${status}; redirects are not followed`
          : `answered ${status}`;
    return ended({ responseStatus: status, responseBody: storable(kept), error });
  } catch (error) {
    const reason = signal.aborted ? `no complete answer within ${message.timeoutMs / 1000} s` : reasonOf(error);
    return ended({ responseStatus: status, responseBody: status === null ? null : storable(kept), error: reason });
  }
}

/**
 * The wait of a Retry-After header in milliseconds. RFC 9110 §10.2.3: a number of seconds, or a
 * date. A date is compared with the answer's own `Date`, because the receiver's clock may be wrong.
 * Null for other texts, for 0 and for a date that has passed.
 */
export function retryAfter(headers: Record<string, string | string[] | undefined>, now: number = Date.now()): number | null {
  const said = headers["retry-after"];
  if (typeof said !== "string") return null;
  if (/^\d+$/.test(said)) return said === "0" ? null : Number(said) * 1000;
  const until = httpDate(said);
  const ms = until === null ? 0 : until - (httpDate(headers.date) ?? now);
  return ms > 0 ? ms : null;
}

/** RFC 9110 §5.6.7, in milliseconds since 1970. Null for other texts, also when Date.parse takes them, such as "2". */
function httpDate(text: string | string[] | undefined): number | null {
  if (typeof text !== "string" || !/^(Mon|Tues?|Wed(nes)?|Thu(rs)?|Fri|Sat(ur)?|Sun)(day)?[, ].*\d\d:\d\d:\d\d/.test(text)) return null;
  // The form of C's asctime names no zone, and means UTC.
  const time = Date.parse(text.endsWith("GMT") ? text : `${text} GMT`);
  return Number.isNaN(time) ? null : time;
}

/** Rejects when the signal aborts, also while a name is resolved, which can't be aborted. */
async function within<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  let stop = () => {};
  const late = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    signal.removeEventListener("abort", stop);
    // A rejection after the time limit would be unhandled.
    work.catch(() => {});
  }
}

/** A sentence for the developer. Addresses in error messages are the receiver's, so they may be shown. */
function reasonOf(error: unknown): string {
  const { message, code } = error as { message?: unknown; code?: unknown };
  const known: Record<string, string> = {
    ECONNREFUSED: "the connection was refused",
    ECONNRESET: "the connection was reset",
    UND_ERR_SOCKET: "the connection was closed before the answer was complete",
    ENOTFOUND: "the name can't be resolved",
    EAI_AGAIN: "the name can't be resolved at the moment",
    UND_ERR_CONNECT_TIMEOUT: "no connection in time",
    UND_ERR_HEADERS_OVERFLOW: "the answer's headers are too long",
  };
  const inner = (error as { errors?: unknown[] }).errors?.[0];
  if (inner !== undefined) return reasonOf(inner);
  return (typeof code === "string" && known[code]) || String(message ?? error).slice(0, 300);
}

/** PostgreSQL's text can't hold NUL. */
function storable(bytes: Buffer): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: NUL is what is looked for.
  return bytes.toString("utf8").replace(/\u0000/g, "\uFFFD");
}
