/**
 * Events and deliveries signed as Quota signs them, for tests of your receiver.
 *
 * @module
 */
import { bytesOf, hmacKey, plainKey, type QuotaEventType, standardContent, standardKey } from "./webhooks.ts";
import { eventSamples, type QuotaEvent } from "./wire.ts";

/** A signed delivery: pass `body` and `headers` to your receiver. */
export interface SignedWebhook {
  body: string;
  headers: Record<string, string>;
}

/** Options of `signWebhook`. */
export interface SignOptions {
  /** The time of sending. The default is now. */
  timestamp?: Date | undefined;
}

/** A webhook secret in the form of Quota's. */
export function makeWebhookSecret(): string {
  return `whsec_${btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))))}`;
}

/** An event with sample data for all fields; `data` replaces some of them. */
export function makeEvent<Type extends QuotaEventType>(
  type: Type,
  data: Partial<Extract<QuotaEvent, { type: Type }>["data"]> = {},
): Extract<QuotaEvent, { type: Type }> {
  const now = new Date().toISOString();
  const id = `evt_${crypto.getRandomValues(new Uint32Array(2)).join("")}`;
  return { id, type, created_at: now, data: { ...eventSamples[type], ...data } } as unknown as Extract<QuotaEvent, { type: Type }>;
}

/**
 * Signs an event, or any body, with both signatures that Quota sends.
 *
 * @example
 * ```ts
 * const secret = makeWebhookSecret();
 * const { body, headers } = await signWebhook(makeEvent("user.connected"), secret);
 * const response = await POST(new Request("https://app.example/webhooks", { method: "POST", body, headers }));
 * ```
 */
export async function signWebhook(event: QuotaEvent | string, secret: string, options: SignOptions = {}): Promise<SignedWebhook> {
  const body = typeof event === "string" ? event : JSON.stringify(event);
  const id = typeof event === "string" ? `evt_${crypto.getRandomValues(new Uint32Array(2)).join("")}` : event.id;
  const timestamp = String(Math.floor((options.timestamp ?? new Date()).getTime() / 1000));
  const mac = async (key: Uint8Array<ArrayBuffer>, content: Uint8Array<ArrayBuffer>) =>
    new Uint8Array(await crypto.subtle.sign("HMAC", await hmacKey(key, "sign"), content));
  const plain = await mac(plainKey(secret), bytesOf(body));
  const standard = await mac(standardKey(secret), standardContent(id, timestamp, bytesOf(body)));
  return {
    body,
    headers: {
      "content-type": "application/json",
      "x-quota-signature": Array.from(plain, (byte) => byte.toString(16).padStart(2, "0")).join(""),
      "webhook-id": id,
      "webhook-timestamp": timestamp,
      "webhook-signature": `v1,${btoa(String.fromCharCode(...standard))}`,
    },
  };
}
