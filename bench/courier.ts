import path from "node:path";

/**
 * One server of `npm run bench:webhooks`, without its doors: the courier of the checkout in `root`, with that
 * checkout's tables. Its parent says with messages what is to be done, and hears when it is.
 */
const SERVER_SECRET = "a secret for the benchmark alone";
const [root = "", url = ""] = process.argv.slice(2);
process.env.NEXTAUTH_SECRET = SERVER_SECRET;
process.env.QUOTA_WEBHOOK_ALLOW_LOOPBACK = "1";
process.env.DATABASE_URL = url;

export type CourierOrder =
  /** Migrates, and makes an app with an endpoint at each address. Answers with the app's id. */
  | { kind: "open"; urls: string[] }
  /** Begins to deliver. Answers at once. */
  | { kind: "start" }
  /** Ends as a server does that is asked to. Answers when nothing is under way any more. */
  | { kind: "stop" }
  /** Emits an event and commits it, as a request does. Answers with the time of the commit, in milliseconds since 1970. */
  | { kind: "emit"; appId: string; externalUserId: string };

const from = <Module>(file: string) => import(path.resolve(root, file)) as Promise<Module>;
const { migrate } = await from<typeof import("../prisma/migrate.ts")>("prisma/migrate.ts");
const { database, transaction } = await from<typeof import("../src/server/platform/db.ts")>("src/server/platform/db.ts");
const { makeApp } = await from<typeof import("../src/testing/makers.ts")>("src/testing/makers.ts");
const { newId } = await from<typeof import("../src/server/platform/ids.ts")>("src/server/platform/ids.ts");
const { createEndpoint } = await from<typeof import("../src/server/webhooks/endpoints.ts")>("src/server/webhooks/endpoints.ts");
const { emit } = await from<typeof import("../src/server/webhooks/outbox.ts")>("src/server/webhooks/outbox.ts");
const { startCourier } = await from<typeof import("../src/server/webhooks/courier.ts")>("src/server/webhooks/courier.ts");

const db = await database();
let courier: { stop(): Promise<void> } | undefined;

async function carryOut(order: CourierOrder): Promise<unknown> {
  switch (order.kind) {
    case "open": {
      await migrate(db);
      const { id } = await makeApp(db);
      for (const each of order.urls) await createEndpoint(id, { url: each, events: ["user.connected"] });
      return id;
    }
    case "start":
      courier = startCourier(db, {
        serverSecret: SERVER_SECRET,
        allowLoopback: true,
        timeoutMs: 10_000,
        firstRetryMs: 10_000,
        onDisabled() {},
      });
      return null;
    case "stop":
      await courier?.stop();
      return null;
    case "emit": {
      const data = { user_id: newId(), external_user_id: order.externalUserId, connected_at: new Date().toISOString() };
      await transaction((tx) => emit(tx, order.appId, { type: "user.connected", data }), db);
      return performance.timeOrigin + performance.now();
    }
  }
}

process.on("message", (order: CourierOrder) => {
  void carryOut(order).then((answer) => process.send?.({ answer }));
});
process.send?.({ answer: null });
