import { env, publicUrl } from "#env";
import type { Database } from "../platform/db.ts";
import { log } from "../platform/log.ts";
import { sendLater } from "../platform/mail.ts";
import { serverSecret } from "../platform/server-secret.ts";
import { type Courier, startCourier } from "../webhooks/courier.ts";
import type { DisabledEndpoint } from "../webhooks/results.ts";

/** Delivers webhooks; runs in every server process. */
export async function startDeliveries(db: Database): Promise<Courier> {
  return startCourier(db, {
    serverSecret: await serverSecret(),
    allowLoopback: env.QUOTA_WEBHOOK_ALLOW_LOOPBACK,
    timeoutMs: env.QUOTA_WEBHOOK_TIMEOUT_MS,
    firstRetryMs: env.QUOTA_WEBHOOK_FIRST_RETRY_MS,
    onDisabled: (endpoint) =>
      void mailOwner(db, endpoint).catch((error) => log.warn("an owner could not be told of an endpoint", { error })),
  });
}

/** Mails the app's owner that an endpoint was disabled. */
export async function mailOwner(db: Database, endpoint: DisabledEndpoint): Promise<void> {
  const app = await db.prisma.app.findUnique({
    where: { id: endpoint.appId },
    select: { name: true, owner: { select: { email: true, deletedAt: true } } },
  });
  if (app === null || app.owner.deletedAt !== null) return;
  sendLater({
    to: app.owner.email,
    subject: `A webhook endpoint of ${app.name} was disabled`,
    text: [
      endpoint.reason === "gone"
        ? `The receiver at ${endpoint.url} answered 410 Gone, so Quota sends nothing there any more.`
        : `Every delivery to ${endpoint.url} has failed for five days, so Quota sends nothing there any more.`,
      endpoint.reason === "gone"
        ? "If that was a mistake, enable the endpoint and retry what it missed:"
        : "When the receiver works again, enable the endpoint and retry what it missed:",
      `${publicUrl()}/dashboard/${endpoint.appId}/webhooks`,
    ].join("\n\n"),
  });
}
