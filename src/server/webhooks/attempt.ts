import { shownId } from "../platform/ids.ts";
import type { guardedAgent } from "./address.ts";
import { bodyOf } from "./deliveries.ts";
import { SECRET_UNREADABLE } from "./endpoints.ts";
import type { DueDelivery } from "./lease.ts";
import { unseal } from "./secret.ts";
import { type Attempt, post } from "./send.ts";
import { signatureHeaders } from "./sign.ts";

export type AttemptContext = {
  agent: ReturnType<typeof guardedAgent>;
  /** The endpoints' secrets are encrypted with a key made from it. */
  serverSecret: string;
  /** For one attempt: name look-up, connection, request and response. */
  timeoutMs: number;
};

/** Sends a delivery once. When the endpoint's secret can't be decrypted, that is a failed attempt, without a request. */
export async function attemptDelivery(
  due: DueDelivery,
  startedAt: Date,
  { agent, serverSecret, timeoutMs }: AttemptContext,
): Promise<Attempt> {
  const secrets = secretsOf(due, startedAt, serverSecret);
  const body = bodyOf(due.event);
  return secrets === null
    ? {
        delivered: false,
        requestHeaders: {},
        responseStatus: null,
        responseBody: null,
        error: SECRET_UNREADABLE,
        retryAfterMs: null,
        durationMs: 0,
      }
    : await post(agent, due.url, {
        headers: signatureHeaders(secrets, {
          id: shownId("evt", due.event.id),
          timestampSeconds: Math.floor(startedAt.getTime() / 1000),
          body,
        }),
        body,
        timeoutMs,
      });
}

/** The endpoint's secret and, until `formerSecretUntil`, the one before its rotation. Null when the first can't be decrypted. */
function secretsOf(due: DueDelivery, now: Date, serverSecret: string): [string, ...string[]] | null {
  const newest = unseal(serverSecret, due.endpointId, due.secret);
  if (newest === null) return null;
  const former =
    due.formerSecret !== null && due.formerSecretUntil !== null && due.formerSecretUntil > now
      ? unseal(serverSecret, due.endpointId, due.formerSecret)
      : null;
  return former === null ? [newest] : [newest, former];
}
