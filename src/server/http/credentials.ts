import { type Caller, keyHash, verifyKey } from "../apps/api-keys.ts";
import { type TokenCaller, tokenHash, verifyToken } from "../connect/access-tokens.ts";
import { isExternalUserId } from "../connect/linked-users.ts";
import { database } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import type { Incoming } from "./exchange.ts";

export type Credential = {
  /** SHA-256 of the key or token. */
  hash: Buffer<ArrayBuffer>;
  /** The credential is a user's access token, not an app's API key. */
  byToken: boolean;
};

/**
 * The credential of a request: an API key in `Authorization: Bearer` or `X-API-Key`, or an access token in
 * `Authorization: Bearer`. Throws `invalid_api_key` when it has the format of neither.
 */
export function readCredential(incoming: Incoming): Credential {
  const authorization = incoming.header("authorization");
  const bearer = authorization === null ? null : (/^bearer +(\S+)$/i.exec(authorization.trim())?.[1] ?? "");
  const hash = keyHash(bearer ?? incoming.header("x-api-key")?.trim() ?? "");
  if (hash !== null) return { hash, byToken: false };
  const ofToken = tokenHash(bearer ?? "");
  if (ofToken !== null) return { hash: ofToken, byToken: true };
  throw new AppError("invalid_api_key");
}

/** The user and the app of an access token. Throws `invalid_api_key` when the token is unknown, expired or revoked. */
export async function authenticateToken(hash: Uint8Array): Promise<TokenCaller> {
  const caller = await verifyToken((await database()).sql, hash);
  if (caller === null) throw new AppError("invalid_api_key");
  return caller;
}

/** The app of an API key. Throws `invalid_api_key` when the key is unknown, revoked or expired. */
export async function authenticate(hash: Uint8Array): Promise<Caller> {
  const caller = await verifyKey((await database()).sql, hash);
  if (caller === null) throw new AppError("invalid_api_key");
  return caller;
}

/**
 * X-Quota-User, or null when it is absent. Header values are bytes without a character set: clients send `é` as Latin-1
 * or as UTF-8, and a wrong guess could name another user. So a value is either ASCII or encoded by RFC 8187, such as
 * `UTF-8''%C3%A9lodie`. Throws `bad_request` for an id that no app can have linked, an empty one included; for a user's
 * id in a similar header, because without X-Quota-User the developer would pay for that user; and for X-Quota-User
 * beside an access token, which names its payer.
 */
export function readExternalUserId(incoming: Incoming, byToken: boolean): string | null {
  const header = incoming.header("x-quota-user");
  if (byToken && header !== null) throw wrongUser("X-Quota-User goes with an API key. An access token already says whose wallet pays.");
  if (header !== null) return checkExternalUserId(decodeHeader(header), "X-Quota-User");
  const other = byToken ? undefined : OTHER_USER_HEADERS.find((name) => incoming.header(name) !== null);
  if (other !== undefined) throw wrongUser(`The header ${other} names no payer here. Send the user's id as X-Quota-User, or leave it out.`);
  return null;
}

/** Probable misspellings of X-Quota-User, and the headers in which other gateways and monitoring services take a user's id. */
const OTHER_USER_HEADERS: readonly string[] = [
  "x-quota-user-id",
  "x-quota-userid",
  "x-quota-external-user",
  "x-quota-external-user-id",
  "x-quota_user",
  "x_quota_user",
  "quota-user",
  "quota-user-id",
  "x-external-user",
  "x-external-user-id",
  "x-external-userid",
  "external-user-id",
  "external_user_id",
  "x-user",
  "x-user-id",
  "x-userid",
  "x-end-user",
  "x-end-user-id",
  // Google's APIs, LiteLLM, Helicone, Open WebUI.
  "x-goog-quota-user",
  "x-litellm-end-user-id",
  "x-litellm-customer-id",
  "helicone-user-id",
  "x-openwebui-user-id",
];

function wrongUser(message: string): AppError {
  return new AppError("bad_request", { param: "X-Quota-User", message });
}

/** Throws `bad_request` unless the id is 1 to 255 printable characters without white space around them: HTTP would remove it. */
export function checkExternalUserId(id: string, param: string): string {
  if (isExternalUserId(id)) return id;
  throw new AppError("bad_request", { param, message: `${param} must be 1 to 255 printable characters, without white space around them.` });
}

function decodeHeader(value: string): string {
  if (!/^[\x20-\x7e]*$/.test(value)) {
    throw new AppError("bad_request", {
      param: "X-Quota-User",
      message: "X-Quota-User has characters beyond ASCII. Send them as UTF-8''%C3%A9lodie (RFC 8187).",
    });
  }
  const encoded = /^UTF-8''(.*)$/i.exec(value)?.[1];
  if (encoded === undefined) return value;
  try {
    return decodeURIComponent(encoded);
  } catch (cause) {
    throw new AppError("bad_request", {
      param: "X-Quota-User",
      message: "X-Quota-User begins with UTF-8'' and is not percent-encoded UTF-8.",
      cause,
    });
  }
}
