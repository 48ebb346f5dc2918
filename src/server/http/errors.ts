import { publicUrl } from "#env";
import { isDatabaseAway, RETRY_AFTER_SECONDS } from "../platform/away.ts";
import { AppError, rowOf } from "../platform/errors.ts";
import { log } from "../platform/log.ts";
import type { Reply } from "./exchange.ts";
import { headersOfEveryReply } from "./headers.ts";

/**
 * An error of /v1 in OpenAI's shape, from which OpenAI's clients read `code`, `type`, `param` and `message`. Under
 * /v1/messages the body also has `type` and `request_id` beside `error`, by which Anthropic's clients recognize errors.
 */
export function errorReply(error: unknown, requestId: string, headers: Record<string, string>, path = ""): Reply {
  const known = asAppError(error, requestId);
  return {
    status: known.status,
    headers: {
      ...headersOfEveryReply(requestId),
      ...headers,
      ...challenge(known),
      ...known.headers,
      "content-type": "application/json; charset=utf-8",
    },
    body: JSON.stringify(isMessagesApi(path) ? { type: "error", ...errorBody(known), request_id: requestId } : errorBody(known)),
  };
}

/** Whether a path belongs to Anthropic's Messages API. */
export function isMessagesApi(path: string): boolean {
  return /^\/v1\/messages(?:\/|$)/.test(path);
}

/** WWW-Authenticate: RFC 9110 §15.5.2 requires it with 401, RFC 6750 §3 when a token lacks the scope. */
function challenge(error: AppError): Record<string, string> {
  if (error.code === "insufficient_scope") return { "www-authenticate": 'Bearer realm="quota", error="insufficient_scope"' };
  return error.status === 401 ? { "www-authenticate": 'Bearer realm="quota"' } : {};
}

function errorBody(error: AppError) {
  const row = rowOf(error.code);
  const hint = error.hint === undefined ? row.hint : error.hint;
  return {
    error: {
      code: error.upstreamCode ?? error.code,
      message: error.message,
      type: row.type,
      param: error.param,
      ...(hint === null || hint === undefined ? {} : { hint }),
      ...error.members,
      docs_url: `${publicUrl()}/docs/errors#${error.code}`,
    },
  };
}

/** An unexpected error is logged and answered with the request id only, because its message could disclose internals. */
function asAppError(error: unknown, requestId: string): AppError {
  if (error instanceof AppError) {
    if (error.status >= 500) log.warn(error.code, { request_id: requestId, error });
    return error;
  }
  if (isDatabaseAway(error)) {
    log.warn("unavailable", { request_id: requestId, error });
    return new AppError("unavailable", { headers: { "retry-after": String(RETRY_AFTER_SECONDS) } });
  }
  log.error("internal_error", { request_id: requestId, error });
  return new AppError("internal_error", {
    message: `Something went wrong on our side. If it goes on, tell us the request id ${requestId}.`,
  });
}
