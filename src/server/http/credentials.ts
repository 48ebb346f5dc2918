import { type Caller, keyHash, verifyKey } from "../apps/api-keys.ts";
import { type TokenCaller, tokenHash, verifyToken } from "../connect/access-tokens.ts";
import { isExternalUserId } from "../connect/linked-users.ts";
import { database } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import type { Incoming } from "./exchange.ts";

export type Credential = {
  /** SHA-256 of what was sent. */
  hash: Buffer<ArrayBuffer>;
  /** A person's access token, not an app's API key. */
  byToken: boolean;
};

/**
 * The credential of a request: an API key in `Authorization: Bearer` or `X-API-Key`,
 * or an access token in the former. Throws `invalid_api_key` when it can't be one of ours.
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

/** The person and the app behind an access token. Throws `invalid_api_key` when it is unknown, expired or ended. */
export async function authenticateToken(hash: Uint8Array): Promise<TokenCaller> {
  const caller = await verifyToken((await database()).sql, hash);
  if (caller === null) throw new AppError("invalid_api_key");
  return caller;
}

/** The app behind a key. Throws `invalid_api_key` when it is unknown, revoked or expired. */
export async function authenticate(hash: Uint8Array): Promise<Caller> {
  const caller = await verifyKey((await database()).sql, hash);
  if (caller === null) throw new AppError("invalid_api_key");
  return caller;
}

/**
 * X-Quota-User, or null when it is absent. Header values are bytes without a
 * character set: what one client sends as `é` another sends as `Ã©`, and guessing
 * could name somebody else. So only ASCII is taken as it stands, and everything
 * else in the one spelling that says what it is, RFC 8187's `UTF-8''%C3%A9lodie`.
 * Throws `bad_request` for an id that no app could have linked: an empty one is a
 * mistake, not an absent header. So is one under another name: without this the
 * developer would pay for a user whom the app did name. With an access token no
 * header counts, for the token is one person's and names its payer itself.
 */
export function readExternalUserId(incoming: Incoming, byToken: boolean): string | null {
  const header = incoming.header("x-quota-user");
  if (byToken && header !== null) throw wrongUser("X-Quota-User goes with an API key. An access token already says whose wallet pays.");
  if (header !== null) return checkExternalUserId(decodeHeader(header), "X-Quota-User");
  const other = byToken ? undefined : OTHER_USER_HEADERS.find((name) => incoming.header(name) !== null);
  if (other !== undefined) throw wrongUser(`The header ${other} names no payer here. Send the user's id as X-Quota-User, or leave it out.`);
  return null;
}

/** What people write for X-Quota-User, and what tells gateways and observers of requests the user. */
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

/** 1 to 255 printable characters, without white space around them: a header could not carry it. */
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
