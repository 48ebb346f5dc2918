import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { env } from "../env.ts";
import { type Database, transaction } from "../server/platform/db.ts";
import { newId } from "../server/platform/ids.ts";
import { type Courier, type CourierOptions, startCourier } from "../server/webhooks/courier.ts";
import { listDeliveries } from "../server/webhooks/deliveries.ts";
import { createEndpoint } from "../server/webhooks/endpoints.ts";
import type { EventType, QuotaEvent } from "../server/webhooks/events.ts";
import { emit } from "../server/webhooks/outbox.ts";
import type { DisabledEndpoint } from "../server/webhooks/results.ts";
import { asTheDatabase } from "./database.ts";
import { makeApp } from "./makers.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

const SERVER_SECRET = "a server's secret";

export type Listener = Awaited<ReturnType<ReturnType<typeof withCouriers>["listener"]>>;

/** Starts a receiver of webhooks for the surrounding tests, and stops each test's couriers after it. */
export function withCouriers(db: () => Database) {
  let receiver: Receiver;
  const couriers: Courier[] = [];
  beforeAll(async () => {
    receiver = await startReceiver();
    env.NEXTAUTH_SECRET = SERVER_SECRET;
    env.QUOTA_WEBHOOK_ALLOW_LOOPBACK = true;
  });
  asTheDatabase(db);
  afterEach(async () => {
    await Promise.all(couriers.splice(0).map((courier) => courier.stop()));
  });
  afterAll(() => receiver.close());

  const disabled: DisabledEndpoint[] = [];
  function courier(options: Partial<CourierOptions> = {}): Courier {
    const started = startCourier(db(), {
      serverSecret: SERVER_SECRET,
      allowLoopback: true,
      timeoutMs: 5_000,
      firstRetryMs: 20,
      pollMs: 20,
      onDisabled: (endpoint) => void disabled.push(endpoint),
      ...options,
    });
    couriers.push(started);
    return started;
  }
  const stopAll = () => Promise.all(couriers.splice(0).map((each) => each.stop()));

  /** An app with an endpoint at a path of its own. */
  async function listener(options: { events?: EventType[]; sandbox?: boolean; appId?: string } = {}) {
    const appId = options.appId ?? (await makeApp(db())).id;
    const path = `/${newId()}`;
    const { endpoint, secret } = await createEndpoint(appId, {
      url: receiver.url + path,
      events: options.events ?? ["user.connected"],
      sandbox: options.sandbox ?? false,
    });
    const deliveries = async () => (await listDeliveries(appId, endpoint.id, { take: 100 })).items;
    return {
      appId,
      path,
      id: endpoint.id,
      secret,
      deliveries,
      arrived: () => receiver.at(path),
      statuses: async () => (await deliveries()).map(({ status }) => status),
    };
  }

  return {
    receiver: () => receiver,
    /** Starts a courier that retries and polls after milliseconds. */
    courier,
    /** Stops the couriers that the test has started so far. */
    stopAll,
    listener,
    /** The endpoints whose owners the couriers told that they were disabled, also those of other tests. */
    disabled,
    /** Emits an event of the app in a transaction of its own. */
    tell: (appId: string, event: QuotaEvent = connected()) => transaction((tx) => emit(tx, appId, event), db()),
  };
}

/** An event that a user has connected. */
export const connected = (external_user_id = "user_1"): QuotaEvent => ({
  type: "user.connected",
  data: { user_id: newId(), external_user_id, connected_at: new Date().toISOString() },
});

/** Repeats `check` until it gives what is expected of it, for at most 30 s. */
export const eventually = (check: () => unknown) => expect.poll(check, { timeout: 30_000, interval: 10 });
