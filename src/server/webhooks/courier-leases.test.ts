import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { accept } from "#testing/receiver.ts";
import { connected, eventually, withCouriers } from "#testing/webhooks.ts";
import { transaction } from "../platform/db.ts";
import { newId, shownId } from "../platform/ids.ts";
import type { CourierOptions } from "./courier.ts";
import { sendTestEvent, updateEndpoint } from "./endpoints.ts";
import { takeDue } from "./lease.ts";

onBothDatabases("webhooks", (db) => {
  const { courier, listener, receiver, stopAll, tell } = withCouriers(db);

  describe("deliveries that wait in the queue of their endpoint", () => {
    /** An endpoint whose receiver does not answer until `letGo`; 12 deliveries are leased and 8 of them sent. */
    async function queueOfTwelve(options: Partial<CourierOptions> = {}) {
      const mine = await listener();
      const held: ServerResponse[] = [];
      receiver().behave(mine.path, (_received, outgoing) => void held.push(outgoing));
      for (let index = 0; index < 12; index++) await tell(mine.appId);
      courier(options);
      /** Deliveries that a courier has a lease on, and for how many seconds more. */
      const leases = () =>
        db().prisma.$queryRaw<{ id: string; seconds: number }[]>`
          SELECT id, extract(epoch FROM leased_until - now())::float AS seconds FROM webhook_delivery
          WHERE endpoint_id = ${mine.id}::uuid AND job_id IS NOT NULL AND leased_until > now()`;
      await eventually(async () => [(await leases()).length, mine.arrived().length]).toEqual([12, 8]);
      return {
        ...mine,
        leases,
        letGo() {
          receiver().behave(mine.path, accept);
          for (const outgoing of held.splice(0)) outgoing.writeHead(204).end();
        },
      };
    }

    test("are leased for longer than the longest queue takes", async () => {
      const mine = await queueOfTwelve({ timeoutMs: 10_000 });
      // At most 32 are leased, 8 are sent at a time, and each may take 10 s.
      for (const { seconds } of await mine.leases()) expect(seconds).toBeGreaterThan((32 / 8) * 10);
      mine.letGo();
      await eventually(async () => (await mine.statuses()).every((status) => status === "succeeded")).toBe(true);
    });

    test("are not sent when the endpoint was disabled", async () => {
      let now = Date.now();
      const mine = await queueOfTwelve({ now: () => now });
      await updateEndpoint(mine.appId, mine.id, { enabled: false });
      now += 2_000;
      mine.letGo();
      await eventually(async () => (await mine.leases()).length).toBe(0);
      expect(mine.arrived()).toHaveLength(8);
    });

    test("are sent once when another courier leases them after their lease has expired", async () => {
      let now = Date.now();
      const mine = await queueOfTwelve({ now: () => now });
      const sent = new Set(mine.arrived().map(({ headers }) => headers["webhook-id"]));
      const waiting = (await mine.deliveries()).filter(({ eventId }) => !sent.has(shownId("evt", eventId))).map(({ id }) => id);
      expect(waiting).toHaveLength(4);
      now += 3_600_000;
      await db().prisma.webhookDelivery.updateMany({ where: { id: { in: waiting } }, data: { leasedUntil: new Date(0) } });
      await eventually(async () => (await mine.leases()).length).toBe(12);
      mine.letGo();
      await eventually(async () => (await mine.statuses()).every((status) => status === "succeeded")).toBe(true);
      await stopAll();
      expect(mine.arrived()).toHaveLength(12);
    });
  });

  test.for([204, 500])("recording a %d does not deadlock with disabling or removing the endpoint", async (status, { skip }) => {
    skip(db().kind === "embedded", "it has one connection");
    const mine = await listener();
    const held: ServerResponse[] = [];
    receiver().behave(mine.path, (_received, outgoing) => void held.push(outgoing));
    await tell(mine.appId);
    courier({ firstRetryMs: 3_600_000 });
    await eventually(() => held.length).toBe(1);
    await transaction(async (tx) => {
      // In the order of updateEndpoint and removeEndpoint: the endpoint first, then its deliveries.
      await tx.prisma.$queryRaw`SELECT id FROM webhook_endpoint WHERE id = ${mine.id}::uuid FOR UPDATE`;
      const [us] = await tx.prisma.$queryRaw<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
      held[0]?.writeHead(status).end();
      await eventually(async () => {
        const [waits] = await db().prisma.$queryRaw<{ there: boolean }[]>`
          SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE ${us?.pid}::int = ANY (pg_blocking_pids(pid))) AS there`;
        return waits?.there;
      }).toBe(true);
      // Throws when the courier's transaction, which waits for this one, has locked a delivery.
      await tx.prisma.$queryRaw`SELECT id FROM webhook_delivery WHERE endpoint_id = ${mine.id}::uuid FOR UPDATE NOWAIT`;
    }, db());
    await eventually(async () => (await mine.deliveries())[0]?.attempts).toBe(1);
  });

  test("1,000 events arrive once each, also with two couriers", async () => {
    const mine = await listener();
    const count = 1_000;
    await db().prisma.outboxEvent.createMany({
      data: Array.from({ length: count }, (_each, index) => ({
        id: newId(),
        appId: mine.appId,
        type: "user.connected",
        data: connected(`user_${index}`).data,
      })),
    });
    const seen = new Map<string, number>();
    receiver().behave(mine.path, (received, outgoing, incoming) => {
      seen.set(received.headers["webhook-id"] as string, (seen.get(received.headers["webhook-id"] as string) ?? 0) + 1);
      accept(received, outgoing, incoming);
    });
    courier();
    // The embedded database belongs to one server.
    if (db().kind === "postgres") courier();
    await eventually(() => db().prisma.webhookDelivery.count({ where: { endpointId: mine.id, status: "succeeded" } })).toBe(count);
    expect([seen.size, Math.max(...seen.values())]).toEqual([count, 1]);
  });

  test("a delivery that a dead process has leased is sent after the lease has ended; with the embedded database, at the next start", async () => {
    const mine = await listener();
    await sendTestEvent(mine.appId, mine.id);
    // Like a process that dies right after it leased a delivery.
    const take = () => takeDue(db().sql, { lease: newId(), leaseMs: 3_600_000, most: 1_000, mostOfOne: 1_000, room: new Map() });
    expect((await take()).filter(({ endpointId }) => endpointId === mine.id)).toHaveLength(1);
    expect((await take()).filter(({ endpointId }) => endpointId === mine.id)).toHaveLength(0);
    // The embedded database has one process, so leases at its start are those of a process that died.
    if (db().kind === "postgres") {
      const other = await listener();
      await sendTestEvent(other.appId, other.id);
      courier();
      await eventually(other.statuses).toEqual(["succeeded"]);
      expect(mine.arrived()).toHaveLength(0);
      await db().prisma.webhookDelivery.updateMany({ where: { endpointId: mine.id }, data: { leasedUntil: new Date() } });
    } else courier();
    await eventually(mine.statuses).toEqual(["succeeded"]);
  });

  test("when a courier stops, another one can lease at once what it has not begun to send", async () => {
    const mine = await listener();
    const held: ServerResponse[] = [];
    receiver().behave(mine.path, (_received, outgoing) => void held.push(outgoing));
    for (let index = 0; index < 12; index++) await tell(mine.appId);
    courier();
    await eventually(() => held.length).toBe(8);
    await eventually(() => db().prisma.webhookDelivery.count({ where: { endpointId: mine.id, leaseToken: { not: null } } })).toBe(12);
    const stopped = stopAll();
    receiver().behave(mine.path, accept);
    for (const outgoing of held) outgoing.writeHead(204).end();
    await stopped;
    expect(await db().prisma.webhookDelivery.count({ where: { endpointId: mine.id, leaseToken: { not: null } } })).toBe(0);
    expect(mine.arrived()).toHaveLength(8);
    courier();
    await eventually(async () => (await mine.statuses()).every((status) => status === "succeeded")).toBe(true);
    expect(mine.arrived()).toHaveLength(12);
  });
});
