import { type Caller, keyHash, verifyKey } from "../apps/api-keys.ts";
import { database } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import type { Incoming } from "./exchange.ts";

/** The credential of a request: `Authorization: Bearer` or `X-API-Key`. Throws `invalid_api_key` when it can't be one of ours. */
export function readKeyHash(incoming: Incoming): Buffer<ArrayBuffer> {
  const authorization = incoming.header("authorization");
  const key = authorization === null ? incoming.header("x-api-key") : /^bearer +(\S+)$/i.exec(authorization.trim())?.[1];
  const hash = key === undefined || key === null ? null : keyHash(key.trim());
  if (hash === null) throw new AppError("invalid_api_key");
  return hash;
}

/** The app behind a key. Throws `invalid_api_key` when it is unknown, revoked or expired. */
export async function authenticate(hash: Uint8Array): Promise<Caller> {
  const caller = await verifyKey((await database()).sql, hash);
  if (caller === null) throw new AppError("invalid_api_key");
  return caller;
}

const PRINTABLE = /^[^\p{Cc}\p{Cs}]{1,255}$/u;

/**
 * X-Quota-User, or null when it is absent. HTTP header values are bytes, which the
 * runtime reads as Latin-1; they are taken for UTF-8, and for Latin-1 where they
 * can't be. Nothing is percent-decoded: an id may have a percent sign. Throws
 * `bad_request` for an id that no app could have linked: an empty one is a
 * mistake, not an absent header.
 */
export function readExternalUserId(incoming: Incoming): string | null {
  const header = incoming.header("x-quota-user");
  return header === null ? null : checkExternalUserId(decodeHeader(header), "X-Quota-User");
}

export function checkExternalUserId(id: string, param: string): string {
  if (PRINTABLE.test(id)) return id;
  throw new AppError("bad_request", { param, message: `${param} must be 1 to 255 printable characters.` });
}

function decodeHeader(value: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: bytes above ASCII are what is looked for
  if (!/[^\x00-\x7f]/.test(value)) return value;
  const utf8 = Buffer.from(value, "latin1").toString("utf8");
  return utf8.includes("\ufffd") ? value : utf8;
}
