import { shownId } from "../platform/ids.ts";
import type { guardedAgent } from "./address.ts";
import { bodyOf } from "./deliveries.ts";
import { SECRET_UNREADABLE } from "./endpoints.ts";
import type { Due } from "./lease.ts";
import { unseal } from "./secret.ts";
import { type Attempt, post } from "./send.ts";
import { signatureHeaders } from "./sign.ts";

/** What every attempt needs. */
export type Means = {
  agent: ReturnType<typeof guardedAgent>;
  /** What the endpoints' secrets are sealed with. */
  serverSecret: string;
  /** From the look-up of the name to the end of the answer. */
  timeoutMs: number;
};

/** Sends a delivery once. A secret that can't be read is a failure like any other. */
export async function attemptOf(due: Due, startedAt: Date, { agent, serverSecret, timeoutMs }: Means): Promise<Attempt> {
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

/** What it is signed with: the endpoint's secret and, for a while after that was rotated, the former one. */
function secretsOf(due: Due, now: Date, serverSecret: string): [string, ...string[]] | null {
  const newest = unseal(serverSecret, due.endpointId, due.secret);
  if (newest === null) return null;
  const former =
    due.formerSecret !== null && due.formerSecretUntil !== null && due.formerSecretUntil > now
      ? unseal(serverSecret, due.endpointId, due.formerSecret)
      : null;
  return former === null ? [newest] : [newest, former];
}
