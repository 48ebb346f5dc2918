import type { z } from "zod";
import type { Caller } from "../apps/api-keys.ts";
import type { TokenCaller } from "../connect/access-tokens.ts";
import type { Scope } from "../connect/scopes.ts";
import type { Tx } from "../platform/db.ts";
import { AppError, type ErrorCode, noLinkedUser } from "../platform/errors.ts";
import { newId, requestIdOf } from "../platform/ids.ts";
import { parseJson, SMALL_JSON } from "../platform/json.ts";
import { readBody } from "./body.ts";
import { authenticate, authenticateToken, readCredential, readExternalUserId } from "./credentials.ts";
import { errorReply, isMessagesApi } from "./errors.ts";
import { fromRequest, type Incoming, type Reply, toResponse } from "./exchange.ts";
import { parseFairly } from "./fair-queue.ts";
import { headersOfEveryReply } from "./headers.ts";
import { claim, type Idempotency } from "./idempotency.ts";
import { countRequest } from "./rate-limit.ts";

/**
 * The declaration of a door of /v1. `endpoint` makes a route handler of it, which assigns a request id, authenticates,
 * parses, calls the handler and writes JSON. The API reference is generated from it.
 */
export type Operation<Params extends z.ZodType, Query extends z.ZodType, Body extends z.ZodType> = {
  method: "GET" | "POST" | "PATCH" | "DELETE";
  /** In OpenAPI's syntax: `/v1/users/{external_user_id}`. */
  path: string;
  summary: string;
  description?: string;
  /** Public operations take no credential. */
  public?: boolean;
  params?: Params;
  query?: Query;
  body?: Body;
  /** Honours Idempotency-Key. With `required`, requests without it get `bad_request`. */
  idempotency?: "optional" | "required";
  /** The answer contains a secret, so the copy that is kept for Idempotency-Key is encrypted. */
  answersSecret?: boolean;
  /** Reads X-Quota-User. */
  forUser?: boolean;
  /** Also accepts access tokens with this scope. Other tokens get `insufficient_scope`. */
  tokenScope?: Scope;
  response: z.ZodType;
  /** Answers with server-sent events when the body says `stream: true`. The text describes the events. */
  streams?: string;
  /** Descriptions of further headers that the door reads, by name. */
  headers?: Readonly<Record<string, string>>;
  errors: readonly ErrorCode[];
};

type BaseCall<Params, Query, Body> = {
  id: string;
  requestId: string;
  params: Params;
  query: Query;
  body: Body;
  idempotency: Idempotency | null;
};
export type Call<Params, Query, Body> = BaseCall<Params, Query, Body> & { caller: Caller; externalUserId: string | null };
/** A call with a user's access token. */
export type TokenCall<Params, Query, Body> = BaseCall<Params, Query, Body> & { caller: TokenCaller };

/** A route handler for Next. `reply` is the same handler for node's server, without a web Request and Response. */
export type Door = ((request: Request) => Promise<Response>) & {
  reply(incoming: Incoming): Promise<Reply>;
  operation?: AnyOperation;
};
export type AnyOperation = Operation<z.ZodType, z.ZodType, z.ZodType>;

/**
 * A door that takes and answers JSON. The value that `handle` returns is the body, in which bigints become JSON
 * integers. Access tokens are handled by `handleToken`.
 */
export function endpoint<
  Params extends z.ZodType = z.ZodUndefined,
  Query extends z.ZodType = z.ZodUndefined,
  Body extends z.ZodType = z.ZodUndefined,
>(
  operation: Operation<Params, Query, Body>,
  handle: (call: Call<z.output<Params>, z.output<Query>, z.output<Body>>) => Promise<unknown>,
  handleToken?: (call: TokenCall<z.output<Params>, z.output<Query>, z.output<Body>>) => Promise<unknown>,
): Door {
  const errors = [...operation.errors, ...errorsOfTokens(operation), ...errorsOfBodies(operation)];
  return door({ ...operation, errors } as unknown as AnyOperation, async (incoming, { id, requestId, headers }) => {
    const params = operation.params?.safeParse(matchPath(operation.path, incoming.path) ?? {});
    let caller: Caller | TokenCaller | undefined;
    let byToken = false;
    let queueKey = "";
    if (operation.public !== true) {
      const credential = readCredential(incoming);
      byToken = credential.byToken;
      queueKey = credential.hash.toString("base64");
      await countRequest(credential, operation.forUser === true ? incoming.header("x-quota-user") : null, headers);
      caller = byToken ? checkToken(operation, await authenticateToken(credential.hash)) : await authenticate(credential.hash);
    }
    // An id in the path that no resource can have gets the same 404 as an unknown id.
    if (params?.success === false) throw operation.path.includes("{external_user_id}") ? noLinkedUser() : new AppError("not_found");
    const query = parse(operation.query, () => Object.fromEntries(new URLSearchParams(incoming.query)));
    const text = operation.body === undefined ? "" : await readBody(incoming, queueKey);
    const body = await parseFairly(queueKey, text, () => parse(operation.body, () => parseJson(text, SMALL_JSON)));
    const externalUserId = operation.forUser === true ? readExternalUserId(incoming, byToken) : null;
    const key = operation.idempotency === undefined ? null : incoming.header("idempotency-key");
    if (operation.idempotency === "required" && key === null) {
      throw new AppError("bad_request", {
        param: "Idempotency-Key",
        message: "This request moves credits and needs an Idempotency-Key header.",
      });
    }
    const call = {
      id,
      requestId,
      caller,
      externalUserId,
      params: params?.data,
      query,
      body,
      idempotency: null as Idempotency | null,
    };
    const answer = (byToken ? handleToken : handle) as (call: unknown) => Promise<unknown>;
    if (key === null || caller === undefined) return present(await answer(call), headers);
    const claimed = await claim(caller, key, { method: operation.method, path: incoming.path, externalUserId, body: text }, headers, {
      secret: operation.answersSecret === true,
    });
    if (claimed.kind === "replay") return claimed.reply;
    call.idempotency = claimed.idempotency;
    try {
      const body = toJson(await answer(call));
      await claimed.idempotency.keep({ status: 200, headers: JSON_BODY, body });
      return { status: 200, headers: { ...headers, ...JSON_BODY }, body };
    } catch (error) {
      await claimed.idempotency.forget();
      throw error;
    } finally {
      claimed.idempotency.end();
    }
  });
}

/** The errors that access tokens can get from an operation, besides the declared ones. */
function errorsOfTokens(operation: AnyErrors): ErrorCode[] {
  if (operation.public === true) return [];
  const codes: ErrorCode[] = operation.tokenScope === undefined ? ["insufficient_scope"] : ["insufficient_scope", "not_found"];
  return codes.filter((code) => !operation.errors.includes(code));
}
type AnyErrors = Pick<AnyOperation, "public" | "tokenScope" | "errors">;

/** A large body waits in a queue before it is parsed. */
function errorsOfBodies({ body, errors }: { body?: unknown; errors: readonly ErrorCode[] }): ErrorCode[] {
  return body === undefined || errors.includes("overloaded") ? [] : ["overloaded"];
}

/** Throws `insufficient_scope` (RFC 6750 §3.1), and `not_found` when the user has paused the app. */
export function checkToken(operation: { tokenScope?: Scope }, caller: TokenCaller): TokenCaller {
  if (operation.tokenScope === undefined) {
    throw new AppError("insufficient_scope", { message: "This is for your app's API key; no access token may do it." });
  }
  if (!caller.scopes.includes(operation.tokenScope))
    throw new AppError("insufficient_scope", { message: `This needs a token with the scope ${operation.tokenScope}.` });
  if (caller.paused) throw notConnected();
  return caller;
}

function notConnected(): AppError {
  return new AppError("not_found", { message: "The person behind this token is not connected to your app at the moment." });
}

type RequestContext = { id: string; requestId: string; headers: Record<string, string> };

/** Makes a door that assigns a request id, sets CORS headers, and answers thrown errors as JSON. */
export function door(declared: AnyOperation, answer: (incoming: Incoming, context: RequestContext) => Promise<Reply>): Door {
  const made = asDoor(async (incoming) => {
    const id = newId();
    const requestId = requestIdOf(id);
    // Anthropic's clients look for the request id under this name.
    const headers = { ...headersOfEveryReply(requestId), ...(isMessagesApi(declared.path) ? { "request-id": requestId } : {}) };
    try {
      return await answer(incoming, { id, requestId, headers });
    } catch (error) {
      return errorReply(error, requestId, headers, declared.path);
    }
  });
  // A door that takes a credential reads the database, which may be unavailable.
  const errors =
    declared.public === true || declared.errors.includes("unavailable") ? declared.errors : [...declared.errors, "unavailable" as const];
  made.operation = { ...declared, errors };
  return made;
}

/** Makes a door of a function from request to reply. A reply without `x-request-id` gets the headers of every reply. */
export function asDoor(answer: (incoming: Incoming) => Promise<Reply>): Door {
  const reply = async (incoming: Incoming) => {
    const made = await answer(incoming);
    return made.headers["x-request-id"] === undefined
      ? { ...made, headers: { ...headersOfEveryReply(requestIdOf(newId())), ...made.headers } }
      : made;
  };
  const handler = async (request: Request) => toResponse(await reply(fromRequest(request)));
  return Object.assign(handler, { reply });
}

/**
 * Answers CORS preflights. Every header that the page names is allowed: the clients of providers send
 * headers of their own (`X-Stainless-*`, `Anthropic-Version`), and new ones with each version. Allowing
 * them is safe, because no door reads cookies: a page has to know the credential to send it. `*` is not enough:
 * it does not cover `Authorization` (Fetch standard §3.3.5).
 */
export const preflight = asDoor(async (incoming) => ({
  status: 204,
  headers: {
    "access-control-allow-methods": "GET, POST, PATCH, DELETE, OPTIONS",
    "access-control-allow-headers": namesOfHeaders(incoming.header("access-control-request-headers")) ?? DOCUMENTED_HEADERS,
    "access-control-max-age": "86400",
    vary: "Access-Control-Request-Headers",
  },
  body: null,
}));

const DOCUMENTED_HEADERS = "Authorization, X-API-Key, X-Quota-User, Content-Type, Idempotency-Key";

/** The value when it is a list of field names (RFC 9110 §5.1), else null: other text of the client's is not reflected. */
function namesOfHeaders(asked: string | null): string | null {
  return asked !== null && asked.length <= LONGEST_HEADER_LIST && /^[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*$/.test(asked)
    ? asked
    : null;
}

const LONGEST_HEADER_LIST = 4_096;

/** JSON with bigints as integers. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "bigint" ? Number(inner) : inner));
}

/** Keeps an answer for its Idempotency-Key, if the request has one, in the transaction that made what the answer reports. */
export async function rememberJson(idempotency: Idempotency | null, tx: Tx, answer: unknown): Promise<void> {
  await idempotency?.remember(tx, { status: 200, headers: JSON_BODY, body: toJson(answer) });
}

const JSON_BODY = { "content-type": "application/json; charset=utf-8" };

function present(value: unknown, headers: Record<string, string>): Reply {
  return { status: 200, headers: { ...headers, ...JSON_BODY }, body: toJson(value) };
}

/**
 * The decoded parameters of a path, or null when the path does not match. `{name}` is one segment, in which %2F is a
 * slash of the value; `{name...}` at the end is one segment or more. The path has to be percent-encoded as it was sent:
 * routers differ in how much of it they decode.
 */
export function matchPath(template: string, pathname: string): Record<string, string> | null {
  const wanted = template.split("/");
  const given = pathname.split("/");
  const params: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    const name = /^\{(\w+)(\.\.\.)?\}$/.exec(part);
    const segment = name?.[2] === undefined ? given[index] : given.slice(index).join("/");
    if (segment === undefined) return null;
    if (segment === "" && part !== "") return null;
    if (name?.[1] === undefined) {
      if (segment !== part) return null;
      continue;
    }
    const value = decode(segment);
    if (value === null) return null;
    params[name[1]] = value;
    if (name[2] !== undefined) return params;
  }
  return given.length === wanted.length ? params : null;
}

function decode(segment: string): string | null {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}

function parse<Schema extends z.ZodType>(schema: Schema | undefined, read: () => unknown): z.output<Schema> | undefined {
  if (schema === undefined) return undefined;
  const parsed = schema.safeParse(read());
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const unknown = issue?.code === "unrecognized_keys" ? issue.keys[0] : undefined;
  const field = unknown ?? (issue === undefined || issue.path.length === 0 ? null : issue.path.join("."));
  throw new AppError("bad_request", {
    param: field,
    message: `${field === null ? "The request" : `\`${field}\``}: ${issue?.message ?? "is not valid"}.`,
  });
}
