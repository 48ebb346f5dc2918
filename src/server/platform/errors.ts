import { dashboardErrors } from "./dashboard-errors.ts";

/**
 * The table of errors: every error that leaves the server on /v1 has a code of this table;
 * docs/errors.md and the API reference are made from it.
 * The dashboard's procedures answer with the same rows, and with those of `dashboardErrors`.
 *
 * `type` follows OpenAI's error types, so that OpenAI clients fill their fields.
 */
export type ErrorRow = {
  status: number;
  type: string;
  /** The public sentence, unless the thrower gives a more exact one. */
  message: string;
  /** What the caller can do next. */
  hint?: string;
  /** When this happens, for the reference. */
  when: string;
};

const rows = {
  bad_request: {
    status: 400,
    type: "invalid_request_error",
    message: "The request has a field that Quota cannot use.",
    when: "The body is not JSON or has more structure than a request can have, or a field is wrong; `param` names it.",
  },
  user_required: {
    status: 400,
    type: "invalid_request_error",
    message: "This API key bills linked users, so every request has to name one.",
    hint: "Send the header X-Quota-User with the external_user_id that Quota returned when the user connected.",
    when: "A key in billing mode `user` was used without `X-Quota-User`.",
  },
  invalid_api_key: {
    status: 401,
    type: "authentication_error",
    message: "Invalid or missing API key.",
    hint: "Send `Authorization: Bearer sk-quota-…` with a key from your dashboard that is neither revoked nor expired.",
    when: "The credential is missing, malformed, unknown, revoked or expired; all look alike.",
  },
  insufficient_credits: {
    status: 402,
    type: "insufficient_quota",
    message: "The wallet does not have enough credits for this request.",
    hint: "Let the person add credits to their wallet, or lower max_tokens.",
    when: "The payer cannot cover the request's worst case with at least 16 output tokens, or owes what a refund or dispute left open.",
  },
  spending_limit_reached: {
    status: 402,
    type: "insufficient_quota",
    message: "The monthly limit that this person set for your app is used up.",
    hint: "The person can raise it in their wallet under Connected apps; it refills on the first day of the month (UTC).",
    when: "The user's own limit for this app cannot cover the request.",
  },
  insufficient_scope: {
    status: 403,
    type: "permission_error",
    message: "This token may not do that.",
    hint: "Send the person through Connect Wallet again and ask for the scope that is missing.",
    when: "The access token lacks a scope.",
  },
  model_not_allowed: {
    status: 403,
    type: "permission_error",
    message: "This model is not allowed here.",
    hint: "The app's settings or the person's consent list the models that may be used.",
    when: "The user or the app did not allow this model.",
  },
  not_found: {
    status: 404,
    type: "invalid_request_error",
    message: "There is nothing here under this name or id.",
    when: "No linked user for this external id (the person has to connect their wallet first), or no such resource. What belongs to another app looks the same.",
  },
  model_not_found: {
    status: 404,
    type: "invalid_request_error",
    message: "There is no such model.",
    hint: "GET /v1/models lists what can be asked for.",
    when: "The model is not in the catalogue.",
  },
  method_not_allowed: {
    status: 405,
    type: "invalid_request_error",
    message: "This path does not answer that method.",
    when: "The path exists, but not with this HTTP method; `Allow` lists the ones it has.",
  },
  request_timeout: {
    status: 408,
    type: "invalid_request_error",
    message: "The rest of the request did not arrive in time. Nothing was billed.",
    hint: "Send it again.",
    when: "Nothing of a request's body arrived for 20 seconds, or the whole request not within two minutes.",
  },
  idempotency_conflict: {
    status: 409,
    type: "invalid_request_error",
    message: "This Idempotency-Key was used with another request, or its first request is still running.",
    hint: "Use a new key for a new request; for a running one, ask again after as long as Retry-After says.",
    when: "Same `Idempotency-Key`, different body, or the first one is still being answered.",
  },
  request_too_large: {
    status: 413,
    type: "invalid_request_error",
    message: "The request body is too large.",
    when: "The body is over the limit, 10 MiB unless configured otherwise.",
  },
  credits_on_hold: {
    status: 429,
    type: "rate_limit_error",
    message: "There are enough credits for this request, but requests that are running hold them.",
    hint: "Wait as long as Retry-After says; nothing has to be added.",
    when: "The payer's other requests hold what this one needs, and none of them ended in time.",
  },
  rate_limit_exceeded: {
    status: 429,
    type: "rate_limit_error",
    message: "Too many requests with this API key or token.",
    hint: "Wait as long as Retry-After says.",
    when: "This server's own limit for the key, or for the user that the request names.",
  },
  rate_limit: {
    status: 429,
    type: "rate_limit_error",
    message: "The model's provider asks to slow down.",
    hint: "Wait as long as Retry-After says, or use another model.",
    when: "The provider answered 429.",
  },
  internal_error: {
    status: 500,
    type: "api_error",
    message: "Something went wrong on our side. Nothing was billed.",
    when: "A fault of this server; the message names the request id and nothing else.",
  },
  upstream_error: {
    status: 502,
    type: "api_error",
    message: "The model's provider failed. Nothing was billed.",
    hint: "Try again; if it goes on, use another model.",
    when: "The provider failed, or could not be reached.",
  },
  provider_unavailable: {
    status: 503,
    type: "api_error",
    message: "This server has no access to the model's provider.",
    hint: "Use another model, or ask the operator to configure the provider.",
    when: "No credentials are configured for this model's provider.",
  },
  payments_unavailable: {
    status: 503,
    type: "api_error",
    message: "This server cannot take payments right now. Nothing was charged.",
    hint: "Try again in a moment; if it goes on, ask the operator to configure payments.",
    when: "Payments are not configured, or the payment provider did not answer.",
  },
  overloaded: {
    status: 503,
    type: "api_error",
    message: "This server has more requests waiting than it can promise to answer. Nothing was billed.",
    hint: "Wait as long as Retry-After says.",
    when: "The queue in front of the ledger or of the tokenizer is full, one key has too many large bodies waiting, or the server is shutting down.",
  },
  unavailable: {
    status: 503,
    type: "api_error",
    message: "This server's database cannot be reached at the moment.",
    hint: "Wait as long as Retry-After says. With an Idempotency-Key nothing is done twice.",
    when: "The database is away, restarts, takes no more connections or does not answer in time.",
  },
  gateway_timeout: {
    status: 504,
    type: "api_error",
    message: "The model's provider did not answer in time. Nothing was billed.",
    when: "The provider did not answer in time.",
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof rows;
export const errorTable: Readonly<Record<ErrorCode, ErrorRow>> = rows;

/** A code of /v1 or of the dashboard. */
export type AnyErrorCode = ErrorCode | keyof typeof dashboardErrors;
/** Each status that the two tables have. */
export type ErrorStatus = (typeof rows & typeof dashboardErrors)[AnyErrorCode]["status"];
const everyRow: Readonly<Record<AnyErrorCode, ErrorRow>> = { ...rows, ...dashboardErrors };

/** The row of a code, of /v1 or of the dashboard. */
export function rowOf(code: AnyErrorCode): ErrorRow {
  return everyRow[code];
}

/** The error that a door or a procedure turns into an answer of its own; every other error becomes `internal_error`, or `unavailable` when the database is away. */
export class AppError extends Error {
  readonly code: AnyErrorCode;
  readonly status: number;
  readonly param: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /** The provider's own code, such as context_length_exceeded; sent instead of `code`. */
  readonly upstreamCode: string | undefined;
  /** What the caller can do next, where the table's hint for this code does not apply; null for no hint. */
  readonly hint: string | null | undefined;
  /** Numbers that are sent beside the message, such as `held`. */
  readonly members: Readonly<Record<string, unknown>>;
  /** For the log, never sent to the caller. */
  readonly detail: unknown;

  constructor(
    code: AnyErrorCode,
    options: {
      message?: string;
      param?: string | null;
      status?: number;
      headers?: Record<string, string>;
      upstreamCode?: string | undefined;
      hint?: string | null;
      members?: Record<string, unknown>;
      detail?: unknown;
      cause?: unknown;
    } = {},
  ) {
    super(options.message ?? rowOf(code).message, { cause: options.cause });
    this.name = "AppError";
    this.code = code;
    this.status = options.status ?? rowOf(code).status;
    this.param = options.param ?? null;
    this.headers = options.headers ?? {};
    this.upstreamCode = options.upstreamCode;
    this.hint = options.hint;
    this.members = options.members ?? {};
    this.detail = options.detail;
  }
}

/** The app has no linked user with this external id. */
export function noLinkedUser(detail?: unknown): AppError {
  return new AppError("not_found", {
    message: "No linked user found for this external ID.",
    hint: "Ask the person to connect their wallet first.",
    detail,
  });
}

/**
 * The catalogue has no model of this id. `param`: the field or path parameter that names it; `nearest`: ids that may be
 * meant. `gateway/available.ts` makes it with the ids of this server.
 */
export function noSuchModel(id: string, param: string | null, nearest: readonly string[]): AppError {
  const meant = nearest.length === 0 ? "" : ` Did you mean ${nearest.map((name) => `"${name}"`).join(" or ")}?`;
  return new AppError("model_not_found", { message: `There is no model "${id.slice(0, 100)}".${meant}`, param });
}
