import { WebhookVerificationError } from "./errors.ts";
import type { QuotaEvent } from "./wire.ts";

/** The types of events. */
export type QuotaEventType = QuotaEvent["type"];

/** The raw body: parsing and serializing it could change its bytes, and so its signature. */
export type WebhookPayload = string | Uint8Array | ArrayBuffer;

/** Headers as a `Headers` object or as in Node's `IncomingMessage`. */
export type WebhookHeaders = Headers | Record<string, string | string[] | undefined>;

/** Options of the verification. */
export interface WebhookOptions {
  /** How old, or how far in the future, a delivery may be. The default is 300 seconds. */
  toleranceSeconds?: number | undefined;
  /**
   * Also accepts deliveries with `X-Quota-Signature` alone, such as from a proxy that drops the other headers. That
   * signature has no time, so a stolen delivery can be sent again at any time: store each `event.id` permanently.
   */
  acceptUndated?: boolean | undefined;
}

/**
 * Whether a delivery was signed with this secret within the tolerance. Needs the headers of
 * Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`), which every
 * delivery has. Compares in constant time.
 */
export async function verifyWebhookSignature(
  payload: WebhookPayload,
  headers: WebhookHeaders,
  secret: string,
  options: WebhookOptions = {},
): Promise<boolean> {
  return (await refusal(payload, headers, secret, options)) === null;
}

/**
 * Verifies a delivery and returns its event.
 *
 * @example
 * ```ts
 * export async function POST(request: Request) {
 *   const event = await constructEvent(await request.text(), request.headers, process.env.QUOTA_WEBHOOK_SECRET!);
 *   if (event.type === "user.disconnected") await forget(event.data.external_user_id);
 *   return new Response(null, { status: 204 });
 * }
 * ```
 *
 * Throws `WebhookVerificationError` when the delivery was not signed with this secret, is too old, or is no event.
 */
export async function constructEvent(
  payload: WebhookPayload,
  headers: WebhookHeaders,
  secret: string,
  options: WebhookOptions = {},
): Promise<QuotaEvent> {
  const refused = await refusal(payload, headers, secret, options);
  if (refused !== null) throw new WebhookVerificationError(refused);
  try {
    const event = JSON.parse(new TextDecoder().decode(bytesOf(payload))) as QuotaEvent;
    if (typeof event.id === "string" && typeof event.type === "string" && typeof event.data === "object") return event;
  } catch {
    // The body was signed but is no JSON.
  }
  throw new WebhookVerificationError("The body is no event.");
}

async function refusal(
  payload: WebhookPayload,
  headers: WebhookHeaders,
  secret: string,
  { toleranceSeconds = 300, acceptUndated = false }: WebhookOptions,
): Promise<string | null> {
  const header = (name: string) => readHeader(headers, name);
  const body = bytesOf(payload);
  const standard = header("webhook-signature");
  if (standard === undefined) {
    const plain = acceptUndated ? header("x-quota-signature") : undefined;
    if (plain === undefined) return "There is no webhook-signature.";
    const key = await hmacKey(plainKey(secret), "verify");
    return (await matches(key, fromHex(plain), body)) ? null : "The signature is not of this secret and body.";
  }
  const id = header("webhook-id");
  const timestamp = header("webhook-timestamp");
  if (!id || !timestamp || !/^\d+$/.test(timestamp)) return "webhook-id or webhook-timestamp is missing.";
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > toleranceSeconds)
    return "The delivery is too old, or this machine's clock is wrong.";
  const key = await hmacKey(standardKey(secret), "verify");
  const signed = standardContent(id, timestamp, body);
  // During a rotation there is one signature of each secret.
  for (const each of standard.split(" ")) {
    if (each.startsWith("v1,") && (await matches(key, fromBase64(each.slice(3)), signed))) return null;
  }
  return "The signature is not of this secret and body.";
}

async function matches(key: CryptoKey, signature: Bytes | null, content: Bytes): Promise<boolean> {
  // `verify` compares in constant time.
  return signature !== null && crypto.subtle.verify("HMAC", key, signature, content);
}

type Bytes = Uint8Array<ArrayBuffer>;

/** @internal */
export function hmacKey(raw: Bytes, use: "sign" | "verify"): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, [use]);
}

/** @internal The key of X-Quota-Signature is the secret's text. */
export function plainKey(secret: string): Bytes {
  return new TextEncoder().encode(secret);
}

/** @internal Standard Webhooks: the key is the base64-decoded text after `whsec_`. */
export function standardKey(secret: string): Bytes {
  const key = fromBase64(secret.replace(/^whsec_/, ""));
  if (key === null) throw new WebhookVerificationError("This is no webhook secret; it begins with whsec_.");
  return key;
}

/** @internal */
export function standardContent(id: string, timestamp: string, body: Bytes): Bytes {
  const head = new TextEncoder().encode(`${id}.${timestamp}.`);
  const content = new Uint8Array(head.length + body.length);
  content.set(head);
  content.set(body, head.length);
  return content;
}

/** @internal */
export function bytesOf(payload: WebhookPayload): Bytes {
  return typeof payload === "string" ? new TextEncoder().encode(payload) : new Uint8Array(payload as ArrayBuffer);
}

function readHeader(headers: WebhookHeaders, name: string): string | undefined {
  if (typeof (headers as Headers).get === "function") return (headers as Headers).get(name) ?? undefined;
  const found = Object.entries(headers as Record<string, string | string[] | undefined>).find(([key]) => key.toLowerCase() === name)?.[1];
  return Array.isArray(found) ? found[0] : found;
}

function fromHex(text: string): Bytes | null {
  if (!/^([0-9a-f]{2})+$/i.test(text)) return null;
  return Uint8Array.from(text.match(/../g) as string[], (pair) => Number.parseInt(pair, 16));
}

function fromBase64(text: string): Bytes | null {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}
